"""An application with a weight function, which notes where it is asked."""

import os
import threading

from from_environment import make_app, record, recorded

from celery_ranch import lru_task

app = make_app("weighing_app")


def by_data(key, metadata):
    """Return the weight that was noted of the key; fail where a test says so."""
    is_main = threading.current_thread() is threading.main_thread()
    record("asked", f"{key} {os.getpid()} {is_main}")
    data = metadata.custom_data or {}
    if data.get("blocks"):
        # For as long as the tasks of another key take, and a minute at most.
        for _ in range(600):
            if recorded(data["blocks"]):
                break
            threading.Event().wait(0.1)
    return data["weight"]


@lru_task(app, weight_function=by_data)
def note(value, kind):
    record(kind, value)

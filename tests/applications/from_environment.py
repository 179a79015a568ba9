"""What every application here is made from: the settings that a test put in FAIR_APP."""

import json
import os

from celery import Celery
from redis import Redis

settings = json.loads(os.environ["FAIR_APP"])
records = Redis.from_url(settings["records"], decode_responses=True)


def make_app(name, **options):
    """Return an application with the test's settings; tasks decide whether it is fair."""
    app = Celery(name, **options)
    app.conf.update(settings["celery"])
    app.conf.celery_ranch = settings["ranch"]
    return app


def record(kind, value):
    """Note something that the test will ask for by its kind."""
    records.rpush(f"{settings['name']}:{kind}", value)


def recorded(kind):
    """Return everything noted of that kind, in any process."""
    return records.lrange(f"{settings['name']}:{kind}", 0, -1)


def wait_for_leave(task_id):
    """Block until the test lets this task go on (`FairApp.leave`), for a minute at most."""
    # In short waits, because a socket may have a timeout of its own.
    for _ in range(60):
        if records.blpop([f"{settings['name']}:leave:{task_id}"], 1) is not None:
            return
    raise TimeoutError("nobody let this task go on")

"""Tasks to operate on. Each is fair when it is called with a key, and plain without."""

import time

from celery import signals
from celery.backends.base import DisabledBackend
from celery.exceptions import Reject
from from_environment import make_app, record, records, settings

from celery_ranch import configure

app = make_app("operating_app")
configure(app)


@app.task
def add(x, y):
    return x + y


@app.task
def note(value):
    record("noted", value)
    return value


@app.task(bind=True)
def key_of(self, name):
    record(name, getattr(self.request, "lru_key", None) or "")


@app.task
def hold(gate, seconds=60):
    """Run until the test opens the gate."""
    record(f"held:{gate}", "started")
    deadline = time.monotonic() + seconds
    while not records.exists(f"{settings['name']}:open:{gate}"):
        if time.monotonic() > deadline:
            return "nobody opened"
        time.sleep(0.02)
    return "opened"


@app.task
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@app.task
def limited(value):
    record("limited", time.monotonic())


@app.task
def fail(message):
    raise ValueError(message)


@app.task(bind=True, max_retries=1)
def retry_once(self):
    if not self.request.retries:
        raise self.retry(countdown=0.05)


@app.task(acks_late=True)
def reject():
    raise Reject("not for me", requeue=False)


class BrokenBackend(DisabledBackend):
    def mark_as_done(self, *args, **kwargs):
        raise RuntimeError("an error of the framework's own")


@app.task(backend=BrokenBackend(app=app))
def fail_inside():
    return None


IDS = {
    "task_received": lambda told: told["request"].id,
    "task_prerun": lambda told: told["task_id"],
    "task_postrun": lambda told: told["task_id"],
    "task_success": lambda told: told["sender"].request.id,
    "task_failure": lambda told: told["task_id"],
    "task_retry": lambda told: told["request"].id,
    "task_revoked": lambda told: told["request"].id,
    "task_rejected": lambda told: told["message"].headers["id"],
    "task_unknown": lambda told: told["id"],
    "task_internal_error": lambda told: told["task_id"],
}


def listen(name, find_id):
    def on_signal(sender, **told):
        shown = sorted(name for name in told if name != "signal")
        record(f"signals:{find_id({'sender': sender, **told})}", f"{name} {' '.join(shown)}")

    getattr(signals, name).connect(on_signal, weak=False)


for name, find_id in IDS.items():
    listen(name, find_id)

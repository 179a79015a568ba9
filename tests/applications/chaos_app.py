"""Tasks that say of themselves when they start and end, whatever becomes of their worker."""

import os
import signal
import time
import uuid
from contextlib import contextmanager

from from_environment import make_app, records, settings

from celery_ranch import configure

app = make_app("chaos_app")
configure(app)


@contextmanager
def run(task):
    """Record one run as `tests/chaos/ledger.py` reads it; each retry has a number behind its id."""
    number = uuid.uuid4().hex
    retries = task.request.retries
    told_id = f"{task.request.id}:{retries}" if retries else task.request.id
    text = f"{number} {told_id} {task.request.hostname} {os.getpid()}"
    with records.pipeline() as pipe:
        pipe.rpush(f"{settings['name']}:starts", text)
        pipe.hset(f"{settings['name']}:running", number, text)
        pipe.execute()
    yield
    with records.pipeline() as pipe:
        pipe.rpush(f"{settings['name']}:ends", number)
        pipe.hdel(f"{settings['name']}:running", number)
        pipe.execute()


@app.task(bind=True)
def early(self, seconds=0.0):
    with run(self):
        time.sleep(seconds)


@app.task(bind=True, acks_late=True)
def late(self, seconds=0.0):
    with run(self):
        time.sleep(seconds)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def again_if_lost(self, seconds=0.0):
    with run(self):
        time.sleep(seconds)


@app.task(bind=True, max_retries=None)
def retried(self, times):
    with run(self):
        pass
    if self.request.retries < times:
        raise self.retry(countdown=0)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def kill(self, whom):
    """Kill this process, or the worker it belongs to, unless the test forbids it."""
    if records.exists(f"{settings['name']}:harmless"):
        return "harmless"
    os.kill({"process": os.getpid(), "worker": os.getppid()}[whom], signal.SIGKILL)
    # What killed its worker goes on, and must not count as a success before that is known.
    time.sleep(60)

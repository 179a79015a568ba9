"""The application that most tests run workers of; they set where it lives."""

import os
import sys
import time

from celery.exceptions import Reject
from celery.worker.request import Request
from from_environment import make_app, record

from celery_ranch import LRUTask, current_key, lru_task

app = make_app("fair_app")


@lru_task(app)
def note(value, seconds=0.0):
    record("started", value)
    time.sleep(seconds)
    record("ended", value)
    return f"noted {value}"


@lru_task(app, acks_late=True)
def note_late(value, seconds=0.0):
    record("started", value)
    time.sleep(seconds)
    record("ended", value)
    return f"noted {value}"


class FailingRequest(Request):
    """One whose message is acknowledged, or not yet, when Celery fails at something else."""

    def on_accepted(self, pid, time_accepted):
        super().on_accepted(pid, time_accepted)
        raise OSError("the broker is another one by now")


@lru_task(app, Request=FailingRequest)
def note_through_failure(value):
    record("started", value)
    record("ended", value)


@lru_task(app, Request=FailingRequest, acks_late=True)
def note_late_through_failure(value):
    record("started", value)
    record("ended", value)


@lru_task(app, bind=True, max_retries=3)
def retry_twice(self, value):
    record("tries", f"{value}:{self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0.05)
    return self.request.retries


@lru_task(app, ignore_result=True, rate_limit="10/s")
def limited(value):
    record("limited", value)


@lru_task(app, ignore_result=True)
def count(number):
    record("counted", number)


@lru_task(app, bind=True)
def describe(self):
    request = self.request
    return {
        "id": request.id,
        "routing_key": request.delivery_info["routing_key"],
        "redelivered": request.delivery_info["redelivered"],
        "eta": request.eta,
        "expires": request.expires,
        "hostname": request.hostname,
    }


@lru_task(app, bind=True)
def whose(self, value):
    return current_key(), self.request.delivery_info["routing_key"]


@app.task(base=LRUTask)
def add(x, y):
    return x + y


@lru_task(app)
def fail(message):
    raise ValueError(message)


class LengthyError(Exception):
    """One that takes long to be told of."""

    def __repr__(self):
        return "LengthyError()"

    __str__ = __repr__


@lru_task(app, ignore_result=True)
def fail_at_length(size):
    record("pids", os.getpid())
    raise LengthyError(b"x" * size)


@lru_task(app, acks_late=True, reject_on_worker_lost=True)
def kill_its_process():
    os.kill(os.getpid(), 9)


@lru_task(app, acks_late=True)
def reject():
    raise Reject("not for me", requeue=False)


@lru_task(app)
def exit_interpreter():
    sys.exit(3)


@lru_task(app, acks_late=True)
def exit_interpreter_late():
    sys.exit(3)


@app.task
def plain_note(value):
    record("started", value)
    return f"noted {value}"


@app.task
def plain_sleep(seconds):
    time.sleep(seconds)

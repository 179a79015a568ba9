"""Tasks that show what a worker does with them: they wait, overrun, grow and die."""

import gc
import os
import signal
import time

from celery.exceptions import SoftTimeLimitExceeded
from celery.worker.control import inspect_command
from celery.worker.request import Request
from from_environment import make_app, record, recorded, records, settings, wait_for_leave

from celery_ranch import configure

app = make_app("working_app")
configure(app)


@inspect_command()
def stop_looking_for_cycles(state):
    gc.collect()
    gc.disable()


@inspect_command()
def living_requests(state):
    return sum(isinstance(each, Request) for each in gc.get_objects())


@app.task
def note(value):
    record("started", value)
    return f"noted {value}"


@app.task(bind=True)
def wait(self, value):
    record("started", value)
    record("pid", os.getpid())
    wait_for_leave(self.request.id)
    record("ended", value)
    return [value, self.request.delivery_info["redelivered"]]


@app.task(bind=True, acks_late=True)
def wait_late(self, value):
    record("started", value)
    record("pid", os.getpid())
    wait_for_leave(self.request.id)
    record("ended", value)
    return [value, self.request.delivery_info["redelivered"]]


@app.task
def pid(value):
    record("started", value)
    return os.getpid()


@app.task(bind=True, max_retries=2)
def retry_once(self, value, countdown=0.1):
    record("tries", f"{value}:{self.request.retries}")
    if not self.request.retries:
        raise self.retry(countdown=countdown)
    return self.request.retries


@app.task(rate_limit="20/s", ignore_result=True)
def nap_at_a_limited_rate(seconds):
    time.sleep(seconds)
    record("napped", seconds)


@app.task
def started_at():
    return time.time()


def nap(seconds):
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "soft limit"
    return "whole nap"


@app.task
def nap_early(seconds):
    return nap(seconds)


@app.task(acks_late=True)
def nap_late(seconds):
    return nap(seconds)


@app.task(acks_late=True, acks_on_failure_or_timeout=False)
def nap_unforgiven(value, seconds):
    record("started", value)
    time.sleep(seconds)


@app.task
def grow(megabytes):
    """Hold memory until the end of the process."""
    grow.held = [*getattr(grow, "held", []), bytearray(os.urandom(1024)) * 1024 * megabytes]
    return os.getpid()


@app.task(bind=True)
def die(self, value):
    record("started", value)
    wait_for_leave(self.request.id)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True)
def die_late(self, value):
    record("started", value)
    wait_for_leave(self.request.id)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, reject_on_worker_lost=True)
def die_once(value):
    record("started", value)
    if records.incr(f"{settings['name']}:died:{value}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"survived {value}"


@app.task
def sleep_early(value, seconds):
    record("started", value)
    time.sleep(seconds)
    record("ended", value)


@app.task(acks_late=True)
def sleep_late(value, seconds):
    record("started", value)
    # Only the first time, so that who comes back is soon done.
    time.sleep(seconds if recorded("started").count(value) == 1 else 0)
    record("ended", value)


@app.task
def pause_briefly(value):
    record("started", value)
    time.sleep(0.1)

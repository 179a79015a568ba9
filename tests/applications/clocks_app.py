"""Tasks that tell the time, for workers whose clocks libfaketime sets."""

import select
import time

from chaos_app import app as app
from chaos_app import run
from from_environment import records, wait_for_leave


def sleep(seconds):
    """Sleep without an absolute time, which libfaketime 0.9.10 takes for the time of day."""
    select.select([], [], [], seconds)


time.sleep = sleep


@app.task(bind=True)
def moments(self):
    """Return when it started by the store's clock, and by this process's, in seconds."""
    seconds, microseconds = records.time()
    return [seconds + microseconds / 1_000_000, time.time()]


@app.task(bind=True)
def call_moments(self, countdown, expires):
    """Call the task above from here, with what is given in seconds; return its id."""
    queue = self.request.delivery_info["routing_key"]
    return moments.apply_async(countdown=countdown, expires=expires, queue=queue).id


@app.task(bind=True, max_retries=1)
def moments_at_second_try(self):
    if not self.request.retries:
        raise self.retry(countdown=1)
    return moments()


@app.task(bind=True, acks_late=True)
def wait(self):
    with run(self):
        wait_for_leave(self.request.id)

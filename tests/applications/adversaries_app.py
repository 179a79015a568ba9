"""Tasks of tenants who want more than their share."""

import time

from celery.exceptions import Reject
from from_environment import make_app, record, wait_for_leave

from celery_ranch import current_key, lru_task

app = make_app("adversaries_app")
app.conf.task_ignore_result = True


def tenant():
    """Return on whose behalf a task runs: the first part of its key."""
    key = current_key()
    return key if isinstance(key, str) else key[0]


@lru_task(app, bind=True)
def hold(self, kind):
    """Keep a slot until the test lets go of it."""
    record(f"{kind}-held", self.request.id)
    wait_for_leave(self.request.id)


@lru_task(app)
def note(kind, seconds=0.0):
    """Take a while, and note whose task it was."""
    record(kind, tenant())
    time.sleep(seconds)


@lru_task(app, bind=True, max_retries=100)
def retry(self, kind, tries):
    """Try again at once, so many times."""
    record(kind, tenant())
    if self.request.retries < tries:
        raise self.retry(countdown=0)


@lru_task(app, acks_late=True)
def give_back(kind):
    """Go back to the queue each time."""
    record(kind, tenant())
    raise Reject("not now", requeue=True)


@lru_task(app)
def come_again(kind, times):
    """Submit the next task of this key when this one ends, so many times."""
    record(kind, tenant())
    if times:
        come_again.delay(kind, times - 1)

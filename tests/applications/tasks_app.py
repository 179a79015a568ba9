"""Tasks that end in every way Celery has; what happens to each is recorded by its id."""

import os
import signal
import time
from datetime import datetime, timedelta, timezone

from celery import signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.worker.request import Request
from celery.worker.strategy import default
from from_environment import make_app, record, recorded, wait_for_leave

from celery_ranch import configure

app = make_app("tasks_app")
configure(app)

RECORDED_SIGNALS = (
    *("task_received", "task_prerun", "task_postrun", "task_success", "task_failure"),
    *("task_retry", "task_revoked", "task_rejected", "task_internal_error"),
)


def _record_signal(name):
    def receiver(sender, task_id=None, request=None, **_):
        record(f"signals:{task_id or (request or sender.request).id}", name)

    getattr(signals, name).connect(receiver, weak=False)


for name in RECORDED_SIGNALS:
    _record_signal(name)


def ran(task, what=""):
    """Note that a task runs, and what of it the test wants to know."""
    record(f"ran:{task.request.id}", what)


def is_first(task):
    return not task.request.delivery_info["redelivered"]


@app.task(bind=True)
def succeed(self, value=None):
    ran(self, "once")
    return value


@app.task(bind=True)
def fail(self, message):
    ran(self)
    raise ValueError(message)


def _retry_until(self, last, how):
    ran(self, f"{self.request.retries}:{self.request.delivery_info['redelivered']}")
    if self.request.retries == last:
        return self.request.retries
    if how == "eta":
        raise self.retry(eta=datetime.now(timezone.utc) + timedelta(seconds=0.1))
    raise self.retry(countdown=0.1 if how == "countdown" else 0)


retry_until = app.task(_retry_until, bind=True, max_retries=2, name="tasks_app.retry_until")
retry_until_late = app.task(
    _retry_until, bind=True, max_retries=2, acks_late=True, name="tasks_app.retry_until_late"
)


@app.task(bind=True, max_retries=1)
def give_up(self, message=None):
    ran(self)
    raise self.retry(countdown=0, exc=KeyError(message) if message else None)


@app.task(bind=True)
def retry_with_others(self, first, *, more=None):
    ran(self, first)
    if more is None:
        raise self.retry(args=("second",), kwargs={"more": "more"}, countdown=0)
    return [first, more]


@app.task(
    bind=True,
    autoretry_for=(OSError,),
    dont_autoretry_for=(FileNotFoundError,),
    retry_backoff=1,
    retry_backoff_max=1,
    retry_jitter=False,
    max_retries=1,
)
def autoretry(self, is_excepted=False):
    ran(self, time.time())
    raise FileNotFoundError("gone") if is_excepted else OSError("busy")


@app.task(
    bind=True, autoretry_for=(OSError,), retry_backoff=True, retry_backoff_max=1, max_retries=2
)
def autoretry_with_jitter(self):
    ran(self)
    if self.request.retries < 2:
        raise OSError("busy")
    return self.request.retries


@app.task(bind=True, acks_late=True)
def reject_until_third(self):
    ran(self, f"{time.time()}:{self.request.delivery_info['redelivered']}")
    if len(recorded(f"ran:{self.request.id}")) < 3:
        raise Reject("later", requeue=True)
    return "third"


@app.task(bind=True, acks_late=True)
def reject_always(self):
    ran(self, time.time())
    raise Reject("never", requeue=True)


@app.task(bind=True, acks_late=True)
def reject_late(self):
    ran(self)
    raise Reject("not for me", requeue=False)


@app.task(bind=True)
def reject_early(self, requeue):
    ran(self)
    raise Reject("too late for that", requeue=requeue)


@app.task(bind=True)
def ignore(self):
    ran(self)
    raise Ignore


@app.task(bind=True, acks_late=True)
def ignore_late(self):
    ran(self)
    raise Ignore


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=False)
def fail_unacknowledged(self):
    ran(self)
    raise ValueError("rejected")


@app.task(bind=True, acks_late=True)
def fail_acknowledged(self):
    ran(self)
    raise ValueError("acknowledged")


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=False, time_limit=0.7)
def time_out_unacknowledged(self):
    ran(self)
    if is_first(self):
        time.sleep(30)
    return "second"


@app.task(bind=True, acks_late=True, time_limit=0.7)
def time_out_acknowledged(self):
    ran(self)
    time.sleep(30)


@app.task(bind=True, time_limit=0.7)
def time_out(self):
    ran(self)
    time.sleep(30)


@app.task(bind=True, soft_time_limit=0.5)
def time_out_softly(self, tidies):
    ran(self)
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        if tidies:
            return "tidied"
        raise


def _lose_process_once(self):
    ran(self)
    if is_first(self):
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"


lose_process = app.task(
    _lose_process_once, bind=True, acks_late=True, name="tasks_app.lose_process"
)
lose_process_requeued = app.task(
    _lose_process_once,
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    name="tasks_app.lose_process_requeued",
)


@app.task(bind=True, track_started=True)
def started(self):
    ran(self)
    wait_for_leave(self.request.id)
    return "left"


@app.task(bind=True, acks_late=True)
def long_late(self):
    ran(self)
    wait_for_leave(self.request.id)
    return "left"


class HookedRequest(Request):
    """A request of the user's, with each of Celery's hooks."""

    def on_accepted(self, pid, time_accepted):
        record(f"hooks:{self.id}", "accepted")
        super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info, send_failed_event=True, return_ok=False):
        record(f"hooks:{self.id}", "failure")
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def on_retry(self, exc_info):
        record(f"hooks:{self.id}", "retry")
        super().on_retry(exc_info)

    def on_timeout(self, soft, timeout):
        record(f"hooks:{self.id}", f"timeout soft={soft}")
        super().on_timeout(soft, timeout)


def hooked_strategy(task, app, consumer, **options):
    """A strategy of the user's, around Celery's own."""
    handle = default(task, app, consumer, **options)

    def handle_message(message, body, *args, **kwargs):
        record(f"hooks:{message.headers['id']}", "strategy")
        return handle(message, body, *args, **kwargs)

    return handle_message


@app.task(
    bind=True,
    Request=HookedRequest,
    Strategy="tasks_app:hooked_strategy",
    time_limit=1,
    max_retries=1,
)
def hooked(self, how):
    ran(self)
    if how == "fails":
        raise ValueError(how)
    if how == "is retried" and not self.request.retries:
        raise self.retry(countdown=0)
    if how == "takes too long":
        time.sleep(30)
    return how

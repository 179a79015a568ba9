"""Tasks that are called in every way Celery has; fair by `configure` and the setting."""

import time

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded
from from_environment import make_app, record

from celery_ranch import configure, current_key

app = make_app("calling_app")
configure(app)


class Counting(Task):
    """A base that knows nothing of keys."""

    abstract = True
    greeting = "from its own base"

    def __call__(self, *args, **kwargs):
        return [self.greeting, super().__call__(*args, **kwargs)]


@app.task
def add(x, y, tenant=None):
    return x + y


@app.task
def whose_am_i(tenant=None):
    return current_key()


@app.task(base=Counting)
def whose_by_its_base(tenant=None):
    return current_key()


@app.task(shared=False, base=Counting, name="by.another.name")
def named(tenant=None):
    return current_key()


@app.task
def kind_of(value):
    return type(value).__name__


@app.task
def note(value, kind="noted"):
    record(kind, f"{value} {time.time()}")
    return value


@app.task
def note_key(*values, kind):
    record(kind, f"{values[-1]} {current_key()}")
    return values[-1]


@app.task(bind=True)
def describe(self, *args, **kwargs):
    request = self.request
    names = ("shadow", "reply_to", "timelimit", "ignore_result", "eta", "expires", "origin")
    names += ("group", "stamps", "stamped_headers", "headers", "argsrepr", "kwargsrepr", "mine")
    names += ("root_id", "parent_id", "correlation_id", "id", "lru_key", "delivery_info", "retries")
    names += ("utc", "task", "group_index", "compression")
    return {"args": args, **{name: request.get(name) for name in names}}


@app.task
def fail(message):
    raise ValueError(message)


@app.task
def old_errback(task_id, *, kind):
    record(kind, f"old {task_id} {current_key()}")


@app.task
def new_errback(request, exception, traceback, *, kind):
    record(kind, f"new {request.id} {type(exception).__name__} {current_key()}")


@app.task(ignore_result=True)
def keep_nothing(kind):
    record(kind, "ran")
    return "something"


@app.task
def sleep(seconds):
    time.sleep(seconds)


@app.task
def sleep_until_the_soft_limit():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "soft limit"


@app.task(bind=True, max_retries=5)
def try_again(self, times, **options):
    if self.request.retries < times:
        raise self.retry(countdown=0.01, **options)
    return [self.request.retries, current_key(), self.request.delivery_info["routing_key"]]


@app.task
def call_eagerly():
    return [whose_am_i.apply().result, whose_am_i(), current_key()]


@app.task
def call_next():
    return whose_am_i.delay().id

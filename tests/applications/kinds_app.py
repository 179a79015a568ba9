"""Tasks made in every way Celery has; none of them knows that it is fair."""

import time

from celery import Task, shared_task
from from_environment import make_app, record
from pydantic import BaseModel

from celery_ranch import LRUTask, configure, lru_task

app = make_app("kinds_app")
configure(app)


class Handling(Task):
    """A base whose handlers say what they were called for."""

    abstract = True

    def note(self, handler, task_id, args):
        record(f"handlers:{task_id}", f"{handler}:{list(args)}")

    def before_start(self, task_id, args, kwargs):
        self.note("before_start", task_id, args)

    def on_success(self, retval, task_id, args, kwargs):
        self.note("on_success", task_id, args)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.note("on_failure", task_id, args)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.note("on_retry", task_id, args)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.note(f"after_return {status}", task_id, args)


@app.task(base=Handling, bind=True, max_retries=1)
def handled(self, how):
    if how == "fails":
        raise ValueError(how)
    if how == "is retried" and not self.request.retries:
        raise self.retry(countdown=0)
    return how


@app.task(base=Handling, time_limit=0.7)
def handled_too_long():
    time.sleep(30)


class Counting(app.Task):
    """A task of a class, with a state of its own in each process."""

    name = "kinds_app.counting"

    def __init__(self):
        self.runs = 0

    def run(self, step):
        self.runs += step
        return self.runs


app.register_task(Counting())


class Doubling(Task):
    """A base that does something around each call."""

    def __call__(self, *args, **kwargs):
        return 2 * super().__call__(*args, **kwargs)


@app.task(base=Doubling)
def doubled(number):
    return number


@lru_task(app, base=Doubling)
def doubled_by_decorator(number):
    return number


@shared_task(name="kinds_app.shared")
def shared(x, y):
    return x + y


@shared_task(name="kinds_app.shared_fair", base=LRUTask)
def shared_fair(x, y):
    return x + y


@app.task(bind=True)
def whose(self):
    """Return on whose behalf it runs, and who its parent and root are."""
    request = self.request
    return [getattr(request, "lru_key", None), request.parent_id, request.root_id]


@app.task(bind=True)
def parent(self, child_key=None):
    options = {"lru_key": child_key} if child_key else {}
    return whose.apply_async(**options).id


@app.task
def parent_of_fair():
    return shared_fair.lru_delay("other", 1, 2).id


@app.task(bind=True)
def replaced(self):
    raise self.replace(whose.s())


@app.task(bind=True, acks_late=True)
def replaced_late(self):
    raise self.replace(whose.s())


@app.task(time_limit=60)
def annotated():
    time.sleep(30)


@app.task
def own_options():
    task = app.tasks["kinds_app.own_options"]
    return [task.noted, task.default_retry_delay]


class Order(BaseModel):
    number: int
    amount: float = 0.0


class Receipt(BaseModel):
    text: str


@app.task(pydantic=True)
def sell(order: Order) -> Receipt:
    return Receipt(text=f"{type(order).__name__} {order.number}: {order.amount:.2f}")


@app.task(name="named.otherwise", bind=True)
def named(self):
    return self.name


@app.task(ignore_result=True, bind=True)
def unasked(self):
    record(f"handlers:{self.request.id}", "ran")
    return "unasked"

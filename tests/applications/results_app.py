"""Tasks whose results are asked for, and tasks that are revoked."""

from celery import signals
from from_environment import make_app, record, wait_for_leave

from celery_ranch import configure

app = make_app("results_app")
configure(app)


@signals.task_revoked.connect
def record_revoked(request, terminated, expired, **_):
    record(f"revoked:{request.id}", f"terminated={terminated} expired={expired}")


@app.task
def add(x, y=0):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(message):
    raise ValueError(message)


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    wait_for_leave(self.request.id)
    return "all done"


@app.task(bind=True)
def parent(self):
    return add.delay(1, 2).id


@app.task(ignore_result=True)
def unasked(kind):
    record(kind, "ran")


@app.task(ignore_result=True, store_errors_even_if_ignored=True)
def fail_unasked():
    raise ValueError("told all the same")


def _wait(self):
    record("started", self.request.id)
    wait_for_leave(self.request.id)
    record("ended", self.request.id)
    return "left"


wait = app.task(_wait, bind=True, name="results_app.wait")
wait_late = app.task(_wait, bind=True, acks_late=True, name="results_app.wait_late")

"""Tasks that are submitted by hundreds, by a client or from inside a task."""

from celery import group
from from_environment import make_app, record

from celery_ranch import current_key, lru_task, submit

app = make_app("batches_app")


@lru_task(app)
def double(number, run=None):
    if run:
        record(run, f"{number} {current_key()}")
    return 2 * number


@app.task
def total(numbers):
    return sum(numbers)


@lru_task(app, bind=True)
def spread(self, count, run):
    """Call a task for each number in every way there is; return whether all are known children."""
    results = [
        *double.lru_map("mapped", range(count), kwargs={"run": run}),
        *submit(app, [double.s(number, run=run) for number in range(count)]),
    ]
    results.append(group(double.s(number, run=run) for number in range(count)).apply_async())
    return self.request.children == results

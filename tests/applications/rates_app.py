"""Tasks of a limited rate, and what else there is to do meanwhile."""

import time

from from_environment import make_app, record

from celery_ranch import configure

app = make_app("rates_app")
configure(app)


def note(kind, name):
    record(kind, f"{name} {time.time()}")


@app.task(rate_limit="20/s", ignore_result=True)
def twenty(kind, name):
    note(kind, name)


@app.task(rate_limit="10/m", ignore_result=True)
def ten_a_minute(kind, name):
    note(kind, name)


@app.task(ignore_result=True)
def unlimited(kind, name):
    note(kind, name)

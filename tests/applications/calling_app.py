"""Tasks that are called in every way Celery has."""

from from_environment import make_app

from celery_ranch import configure

app = make_app("calling_app")
configure(app)


@app.task
def add(x, y):
    return x + y

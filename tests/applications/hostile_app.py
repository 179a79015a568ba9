"""Tasks that tell what they were called with, for tests that call them with anything."""

from from_environment import make_app, record

from celery_ranch import configure, current_key

app = make_app("hostile_app")
configure(app)


@app.task
def note(value):
    record("noted", value)
    return value


@app.task(bind=True)
def whose(self, generations):
    """Return the key and id that this runs with, and who its child is."""
    child = whose.delay(generations - 1).id if generations else None
    return {"key": current_key(), "id": self.request.id, "child": child}


@app.task
def weigh(text):
    return len(text)


@app.task(ignore_result=True)
def count(number):
    record("counted", number)


@app.task
def measure(nested):
    """Return how many lists or dicts are around the innermost one, which is empty."""
    depth = 0
    while nested:
        (nested,) = nested.values() if isinstance(nested, dict) else nested
        depth += 1
    return depth

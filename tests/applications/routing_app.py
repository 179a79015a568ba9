"""Tasks that tell how they were routed, on queues with exchanges of their own."""

from from_environment import make_app, record, settings
from routed_queues import queues_of

from celery_ranch import configure

app = make_app("routing_app")
app.conf.task_queues = queues_of(settings["name"])
configure(app)


@app.task
def note(value):
    record("started", value)
    return f"noted {value}"


@app.task(bind=True)
def describe(self):
    info = self.request.delivery_info
    return [info["routing_key"], info["exchange"], info["priority"]]

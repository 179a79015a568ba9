"""What waits in an application's default queue, and running it without a worker."""

from __future__ import annotations

import json
from typing import Any

from celery import Celery
from celery.app.trace import build_tracer

from celery_ranch import Ranch
from celery_ranch.envelope import Envelope, unpack
from celery_ranch.scheduling.model import Lease, Outcome, OutcomeKind


class Waiting:
    """The entries that wait in an application's default queue, one after the other."""

    def __init__(self, app: Celery) -> None:
        self.ranch = Ranch(app)
        self.queue = self.ranch.default_queue

    def lease(self) -> Lease:
        """Lease the entry whose turn it is."""
        (lease,) = self.ranch.engine.lease("a worker", [self.queue], 1).leases
        return lease

    def next(self) -> Envelope:
        """Return the message whose turn it is, done with."""
        lease = self.lease()
        done = Outcome(OutcomeKind.COMPLETED, lease.queue, lease.entry_id, lease.number)
        self.ranch.engine.settle("a worker", [done])
        return unpack(lease.message)

    def keys(self) -> dict[str, int]:
        """Return how many entries of each key wait or are delayed."""
        return {
            found.key[0]: found.waiting + found.delayed
            for found in self.ranch.keys(self.queue)
            if found.waiting + found.delayed
        }


def published(app: Celery, queue: str | None = None) -> int:
    """Return how many messages wait at the broker."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        return int(channel._size(queue or app.conf.task_default_queue))


def run(app: Celery, envelope: Envelope) -> Any:
    """Run a message's task as Celery's worker does."""
    args, kwargs, embed = json.loads(envelope.body)
    name = app.conf.task_default_queue
    request = {
        **envelope.headers,
        **embed,
        "args": args,
        "kwargs": kwargs,
        "delivery_info": {
            "exchange": "",
            "routing_key": name,
            "priority": envelope.properties.get("priority"),
        },
        "hostname": "a worker",
        "is_eager": False,
    }
    task = app.tasks[envelope.headers["task"]]
    trace = build_tracer(task.name, task, app=app)
    return trace(envelope.headers["id"], args, kwargs, request)

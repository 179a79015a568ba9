"""A store where no application is at hand: an application made to stand in for it."""

from __future__ import annotations

from typing import Any

from celery import Celery

__all__ = ["stand_in"]

#: A name that never resolves (RFC 2606): what would be sent there is an error, and not lost.
_NO_BROKER = "amqp://no-broker-was-given.invalid//"


def stand_in(
    store: str | None,
    prefix: str | None = None,
    sentinel_master: str | None = None,
    broker: str | None = None,
    result_backend: str | None = None,
    **_: Any,
) -> Celery:
    """Return an application whose entries are in that store, and that has no tasks.

    Args:
        store: The store's URL, as the setting `url` takes it; None if nobody said.
        prefix: What the names of its keys begin with.
        sentinel_master: Which master the sentinels of a sentinel:// URL are asked for.
        broker: Where what is called in place of a task that was dropped is sent.
        result_backend: Where it is said that a task was dropped.
    """
    app = Celery("celery-ranch", set_as_current=False)
    app.conf.broker_url = broker or _NO_BROKER
    app.conf.result_backend = result_backend
    given = {"url": store, "redis_prefix": prefix, "sentinel_master": sentinel_master}
    app.conf.celery_ranch = {name: value for name, value in given.items() if value}
    return app

"""Queues with exchanges of their own, as a worker and its test declare them."""

from kombu import Exchange, Queue
from kombu.common import Broadcast


def queues_of(name):
    """Return the queues of an application of that name; its default one has priorities."""
    return (
        Queue(name, Exchange(name), name, queue_arguments={"x-max-priority": 10}),
        Queue(f"{name}-direct", Exchange(f"{name}-dx", "direct"), "orders"),
        Queue(f"{name}-topic", Exchange(f"{name}-tx", "topic"), "feed.#"),
        Queue(f"{name}-fanout", Exchange(f"{name}-fx", "fanout")),
        Broadcast(f"{name}-all"),
    )

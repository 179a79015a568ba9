"""Restoring the broker's prefetch count where its connection may be used."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

__all__ = ["restore_on_the_loop"]


def restore_on_the_loop(consumer: Any) -> None:
    """Let the consumer's own thread, which calls this, tell the broker what to prefetch.

    After a reconnection Celery prefetches less, and restores the count as
    tasks are acknowledged, in whatever thread or greenlet does that. A broker
    that is asked by AMQP replies, so threads of a pool and the loop would then
    read one connection at once: each takes bytes of the others' frames, and
    all of them wait until the connection breaks (Celery 5.4 to 5.7, py-amqp
    5.4, for tasks of any kind).

    `_restore_prefetch_count_after_connection_restart` is private to Celery
    (checked on 5.4 to 5.7); `tests/integration/test_private_points.py` fails
    when it moves.
    """
    restore = partial(type(consumer)._restore_prefetch_count_after_connection_restart, consumer)
    loop_thread = threading.get_ident()

    def restore_soon(*args: Any) -> None:
        if threading.get_ident() == loop_thread:
            restore(*args)
        else:
            consumer.call_soon(restore, *args)

    consumer._restore_prefetch_count_after_connection_restart = restore_soon

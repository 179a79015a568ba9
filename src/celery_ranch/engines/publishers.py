"""Numbers for publishes, by which the store knows one that is repeated."""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from celery_ranch.scheduling.model import Publish

__all__ = ["Publishers"]


class Publishers:
    """A process's publishers: as many as publishes were ever under way at once.

    Usable from all threads and greenlets, also after a fork: a child has
    publishers of its own.
    """

    def __init__(self) -> None:
        self._free: deque[Publish] = deque()
        self._pid = os.getpid()

    @contextmanager
    def publish(self) -> Iterator[Publish]:
        """Give a publish, for all attempts at storing one batch.

        Leave the context when no further attempt will be made, also if none
        was answered: an attempt that is still on its way then counts if it
        comes before the publisher's next one and is dropped if it comes after.
        """
        publish = self._next()
        try:
            yield publish
        finally:
            if self._pid == os.getpid():
                self._free.append(publish)

    def _next(self) -> Publish:
        if self._pid != os.getpid():  # forked: these publishers are the parent's
            self._free, self._pid = deque(), os.getpid()
        try:
            last = self._free.pop()
        except IndexError:
            return Publish(secrets.token_urlsafe(9), 1)
        return Publish(last.publisher, last.number + 1)

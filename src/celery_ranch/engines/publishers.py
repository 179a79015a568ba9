"""Numbers for publishes, by which the store knows one that is repeated."""

from __future__ import annotations

import os
import secrets
from collections import deque

from celery_ranch.scheduling.model import Publish

__all__ = ["Publishers", "UnderWay"]


class UnderWay:
    """One publish, for all attempts at storing one batch; a context, too.

    End it when no further attempt will be made, also if none was answered: an
    attempt that is still on its way then counts if it comes before the
    publisher's next one and is dropped if it comes after. One that everybody
    has dropped has ended.
    """

    __slots__ = ("_publishers", "publish")

    def __init__(self, publish: Publish, publishers: Publishers) -> None:
        self.publish = publish
        self._publishers: Publishers | None = publishers

    def __enter__(self) -> Publish:
        return self.publish

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def __del__(self) -> None:
        self.end()

    def end(self) -> None:
        """Let the publisher go on to its next publish; once."""
        publishers, self._publishers = self._publishers, None
        if publishers is not None:
            publishers.take_back(self.publish)


class Publishers:
    """A process's publishers: as many as publishes were ever under way at once.

    Usable from all threads and greenlets, also after a fork: a child has
    publishers of its own.
    """

    def __init__(self) -> None:
        self._free: deque[Publish] = deque()
        self._pid = os.getpid()

    def publish(self) -> UnderWay:
        """Return a publish that no one else has."""
        return UnderWay(self._next(), self)

    def take_back(self, publish: Publish) -> None:
        """Let a publisher be another's, whose publish this was."""
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

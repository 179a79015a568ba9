"""Whether the store is away, said once for the whole worker, and when to try again."""

from __future__ import annotations

import random

from celery.utils.log import get_logger

from celery_ranch.worker.journal import Journal
from celery_ranch.worker.native import native

__all__ = ["BackOff", "Outage"]

logger = get_logger(__name__)

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 10.0


class Outage:
    """Says that the store is away, and that it is back, each exactly once.

    The parts of a worker (leasing, settling, heartbeats) have connections of
    their own and notice at different times. The store is away from the first
    failure of any of them until each that failed has succeeded.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        """Where parts that may be native threads log."""
        self._parts: set[str] = set()
        # Parts are green threads and native ones, and nobody waits while it is held.
        # Reentrant for the sake of signal handlers, as the lease book's.
        self._lock = native("_thread", "RLock")()

    @property
    def is_on(self) -> bool:
        """Whether the store is away."""
        return bool(self._parts)

    def begin(self, part: str, error: Exception) -> None:
        """Note that a part of the worker does not reach the store."""
        with self._lock:
            is_known = bool(self._parts)
            self._parts.add(part)
        if not is_known:
            self.journal.say(
                logger.error,
                "Lost the store (%s). What runs goes on, and what becomes of it is told the store"
                " later; no fair task is leased until it is back",
                error,
            )

    def end(self, part: str) -> None:
        """Note that a part of the worker reaches the store."""
        if part not in self._parts:
            return
        with self._lock:
            self._parts.discard(part)
            is_over = not self._parts
        if is_over:
            self.journal.say(logger.warning, "The store answers again; fair tasks are leased again")


class BackOff:
    """How long to wait before the next try: longer each time, up to ten seconds.

    Each wait is shortened by chance, so that the workers of a fleet do not
    come back to a store all at once.
    """

    def __init__(self) -> None:
        self._seconds = _FIRST_SECONDS

    def next_seconds(self) -> float:
        """Return how long to wait now, from a half to the whole of what it is due."""
        seconds = self._seconds * random.uniform(0.5, 1.0)
        self._seconds = min(self._seconds * 2, _LONGEST_SECONDS)
        return seconds

    def reset(self) -> None:
        """Begin anew with the shortest wait: a try succeeded."""
        self._seconds = _FIRST_SECONDS

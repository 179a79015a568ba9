"""The dead letters of one queue of the memory engine, oldest dropped first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from celery_ranch.engines.memory_backlog import StoredEntry
from celery_ranch.scheduling.model import DeadLetter

__all__ = ["DeadLetters"]


@dataclass(frozen=True, slots=True)
class _Dead:
    """One dead letter."""

    entry: StoredEntry
    reason: str
    died_at_us: int
    number: int
    """The how-manieth it was to die."""


class DeadLetters:
    """What was taken out of circulation, in the order in which it died.

    Args:
        queue: The queue's name.
        limit: How many are kept.
    """

    def __init__(self, queue: str, limit: int) -> None:
        self._queue = queue
        self._limit = limit
        self.deaths = 0
        """How many ever died."""
        self._dead: OrderedDict[str, _Dead] = OrderedDict()

    def __len__(self) -> int:
        return len(self._dead)

    def ids(self) -> Iterator[str]:
        """Return the ids of all dead letters, the oldest first."""
        return iter(self._dead)

    def add(self, entry: StoredEntry, reason: str, now_us: int) -> list[str]:
        """Keep an entry and why it died; return the ids dropped for it."""
        self.deaths += 1
        self._dead[entry.entry_id] = _Dead(entry, reason, now_us, self.deaths)
        too_many = max(0, len(self._dead) - self._limit)
        return [self._dead.popitem(last=False)[0] for _ in range(too_many)]

    def take(self, entry_id: str) -> StoredEntry | None:
        """Take a dead letter out and return its entry, None if there is none."""
        dead = self._dead.pop(entry_id, None)
        return None if dead is None else dead.entry

    def between(self, after: int, till: int, limit: int) -> list[tuple[int, StoredEntry]]:
        """Return the first dead letters that died later than one and not after another."""
        found = (
            (dead.number, dead.entry) for dead in self._dead.values() if after < dead.number <= till
        )
        return list(islice(found, limit))

    def why(self, entry_id: str) -> tuple[str, int] | None:
        """Return why and when an entry died, None if it is no dead letter."""
        dead = self._dead.get(entry_id)
        return None if dead is None else (dead.reason, dead.died_at_us)

    def page(self, offset: int, limit: int) -> tuple[DeadLetter, ...]:
        """Return at most `limit` dead letters, the latest first, `offset` left out."""
        latest_first = islice(reversed(self._dead.values()), offset, offset + limit)
        return tuple(
            DeadLetter(
                entry_id=dead.entry.entry_id,
                key=dead.entry.key,
                queue=self._queue,
                message=dead.entry.message,
                deliveries=dead.entry.deliveries,
                reason=dead.reason,
                died_at_us=dead.died_at_us,
            )
            for dead in latest_first
        )

"""What waits in one queue of the memory engine: due entries and delayed ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from celery_ranch.scheduling.model import KeyPath

__all__ = ["Backlog", "StoredEntry"]


@dataclass(slots=True)
class StoredEntry:
    """An entry as the engine keeps it, wherever it is."""

    entry_id: str
    key: KeyPath
    message: bytes
    expires_at_us: int | None
    sequence: int = 0
    due_at_us: int | None = None
    """Set exactly while it is delayed."""
    is_fresh: bool = True
    """It never waited as due: it takes a new sequence number when it does."""
    deliveries: int = 0
    is_suspect: bool = False
    """A dead worker held it, and it was neither delayed nor dead since."""

    def is_expired(self, now_us: int) -> bool:
        """Return whether its time to run is over."""
        return self.expires_at_us is not None and self.expires_at_us <= now_us


@dataclass(slots=True)
class _KeyBacklog:
    """One key's entries, by sequence number.

    `order` is a heap that may name entries which left; `ready` decides.
    """

    ready: dict[int, StoredEntry] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    delayed: dict[int, StoredEntry] = field(default_factory=dict)


class Backlog:
    """The waiting entries of one queue, in the order that each key has them."""

    def __init__(self) -> None:
        self.waiting = 0
        self.delayed = 0
        self._sequence = 0
        self._keys: dict[KeyPath, _KeyBacklog] = {}
        self._timers: list[tuple[int, int, KeyPath]] = []

    # -- coming and going ------------------------------------------------------

    def add(self, entry: StoredEntry, due_at_us: int | None, now_us: int) -> bool:
        """Put an entry where it belongs; return whether it is due.

        A fresh entry takes a sequence number, one given back keeps its own.
        """
        if entry.is_fresh:
            entry.sequence = self._next_sequence()
        if due_at_us is None or due_at_us <= now_us:
            self._add_ready(entry)
            return True
        entry.due_at_us = due_at_us
        entry.is_suspect = False
        self._of(entry.key).delayed[entry.sequence] = entry
        heappush(self._timers, (due_at_us, entry.sequence, entry.key))
        self.delayed += 1
        return False

    def activate(self, now_us: int) -> StoredEntry | None:
        """Make the delayed entry whose time came first wait as due; return it."""
        due_at_us = self.next_due_at_us()
        if due_at_us is None or due_at_us > now_us:
            return None
        _, sequence, key = heappop(self._timers)
        entry = self._keys[key].delayed[sequence]
        self._drop_delayed(entry)
        if entry.is_fresh:
            entry.sequence = self._next_sequence()
        self._add_ready(entry)
        return entry

    def remove(self, entry: StoredEntry) -> None:
        """Take a waiting or delayed entry away."""
        if entry.due_at_us is not None:
            self._drop_delayed(entry)
        else:
            del self._keys[entry.key].ready[entry.sequence]
            self.waiting -= 1
        self._forget_if_empty(entry.key)

    # -- looking ---------------------------------------------------------------

    def first(self, key: KeyPath) -> StoredEntry:
        """Return the key's due entry with the smallest sequence number."""
        backlog = self._keys[key]
        while backlog.order[0] not in backlog.ready:
            heappop(backlog.order)
        return backlog.ready[backlog.order[0]]

    def waiting_of(self, key: KeyPath) -> int:
        """Return how many entries of the key are due."""
        backlog = self._keys.get(key)
        return 0 if backlog is None else len(backlog.ready)

    def delayed_of(self, key: KeyPath) -> int:
        """Return how many entries of the key are delayed."""
        backlog = self._keys.get(key)
        return 0 if backlog is None else len(backlog.delayed)

    def has_any_of(self, key: KeyPath) -> bool:
        """Return whether anything of the key waits, due or delayed."""
        return key in self._keys

    def next_due_at_us(self) -> int | None:
        """Return when the next delayed entry comes due, None if there is none."""
        while self._timers:
            due_at_us, sequence, key = self._timers[0]
            backlog = self._keys.get(key)
            if backlog is not None and sequence in backlog.delayed:
                return due_at_us
            heappop(self._timers)
        return None

    def entries_of(self, key: KeyPath) -> Iterator[StoredEntry]:
        """Return the key's due entries by number, then the delayed by due time."""
        backlog = self._keys.get(key)
        if backlog is None:
            return
        yield from (backlog.ready[sequence] for sequence in sorted(backlog.ready))
        yield from sorted(
            backlog.delayed.values(), key=lambda entry: (entry.due_at_us or 0, entry.sequence)
        )

    def backlogged(self) -> Iterator[KeyPath]:
        """Return each key with entries that wait, due or delayed."""
        return iter(self._keys)

    # -- within ------------------------------------------------------------------

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _of(self, key: KeyPath) -> _KeyBacklog:
        return self._keys.setdefault(key, _KeyBacklog())

    def _add_ready(self, entry: StoredEntry) -> None:
        entry.is_fresh = False
        backlog = self._of(entry.key)
        backlog.ready[entry.sequence] = entry
        heappush(backlog.order, entry.sequence)
        self.waiting += 1

    def _drop_delayed(self, entry: StoredEntry) -> None:
        entry.due_at_us = None
        del self._keys[entry.key].delayed[entry.sequence]
        self.delayed -= 1

    def _forget_if_empty(self, key: KeyPath) -> None:
        backlog = self._keys[key]
        if not backlog.ready and not backlog.delayed:
            del self._keys[key]

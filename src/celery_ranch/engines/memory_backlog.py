"""What waits in one queue of the memory engine: due entries and delayed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from celery_ranch.scheduling.model import KeyPath

__all__ = ["Backlog", "StoredEntry", "absolute_us"]


def absolute_us(at_us: int | None, in_us: int | None, now_us: int) -> int | None:
    """Return a time given as such or from now, None if neither was given."""
    return at_us if in_us is None else now_us + in_us


@dataclass(slots=True)
class StoredEntry:
    """An entry as the engine keeps it, wherever it is."""

    entry_id: str
    key: KeyPath
    message: bytes
    expires_at_us: int | None
    level: int
    cost: int | None
    sequence: int = 0
    due_at_us: int | None = None
    """Set exactly while it is delayed."""
    is_fresh: bool = True
    """It never waited as due: it takes a new sequence number when it does."""
    deliveries: int = 0
    since_us: int = 0
    """From when on it could have run."""
    is_suspect: bool = False
    """A dead worker held it, and it was neither delayed nor dead since."""

    def is_expired(self, now_us: int) -> bool:
        """Return whether its time to run is over."""
        return self.expires_at_us is not None and self.expires_at_us <= now_us


@dataclass(slots=True)
class _Line:
    """What of one key is due at one level, by sequence number.

    `order` is a heap that may name entries which left; `ready` decides.
    """

    ready: dict[int, StoredEntry] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def add(self, entry: StoredEntry) -> None:
        self.ready[entry.sequence] = entry
        heappush(self.order, entry.sequence)

    def first(self) -> StoredEntry:
        while self.order[0] not in self.ready:
            heappop(self.order)
        return self.ready[self.order[0]]


@dataclass(slots=True)
class _KeyBacklog:
    """One key's entries: a line for each level, and by number what is delayed."""

    lines: dict[int, _Line] = field(default_factory=dict)
    delayed: dict[int, StoredEntry] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        return sum(len(line.ready) for line in self.lines.values())


class Backlog:
    """The waiting entries of one queue, in the order that each key has them."""

    def __init__(self) -> None:
        self.waiting = 0
        self.delayed = 0
        self._sequence = 0
        self._below: Counter[KeyPath] = Counter()
        self._keys: dict[KeyPath, _KeyBacklog] = {}
        self._timers: list[tuple[int, int, KeyPath]] = []

    # -- coming and going ------------------------------------------------------

    def add(self, entry: StoredEntry, due_at_us: int | None, now_us: int) -> bool:
        """Put an entry where it belongs; return whether it is due.

        A fresh entry takes a sequence number, one given back keeps its own.
        """
        if entry.is_fresh:
            entry.sequence = self.next_sequence()
        self._count(entry.key, 1)
        if due_at_us is None or due_at_us <= now_us:
            self._add_ready(entry)
            return True
        self._delay(entry, due_at_us)
        return False

    def file(self, entry: StoredEntry, due_at_us: int | None) -> None:
        """Put an entry where it belongs under another key; it keeps its number."""
        self._count(entry.key, 1)
        if due_at_us is None:
            self._add_ready(entry)
        else:
            self._delay(entry, due_at_us)

    def activate(self, keeps_number: Callable[[KeyPath], bool]) -> StoredEntry:
        """Make the delayed entry whose time comes first wait as due; return it.

        It takes a new number, unless it had waited before or its key's entries
        are to keep them.
        """
        if self.next_timer() is None:
            raise LookupError("nothing is delayed")
        _, sequence, key = heappop(self._timers)
        entry = self._keys[key].delayed[sequence]
        self._drop_delayed(entry)
        if entry.is_fresh and not keeps_number(key):
            entry.sequence = self.next_sequence()
        self._add_ready(entry)
        return entry

    def remove(self, entry: StoredEntry) -> None:
        """Take a waiting or delayed entry away."""
        if entry.due_at_us is not None:
            self._drop_delayed(entry)
        else:
            del self._keys[entry.key].lines[entry.level].ready[entry.sequence]
            self.waiting -= 1
        self._count(entry.key, -1)
        self._forget_if_empty(entry.key)

    def take_ready(self, key: KeyPath, level: int, number: int, limit: int) -> list[StoredEntry]:
        """Take away the first of a key's due entries at a level whose numbers are smaller."""
        taken: list[StoredEntry] = []
        while len(taken) < limit and self.waiting_of(key, level):
            entry = self.first(key, level)
            if entry.sequence >= number:
                break
            self.remove(entry)
            taken.append(entry)
        return taken

    def next_sequence(self) -> int:
        """Return a number larger than any before."""
        self._sequence += 1
        return self._sequence

    # -- looking ---------------------------------------------------------------

    def first(self, key: KeyPath, level: int) -> StoredEntry:
        """Return the key's due entry at a level with the smallest sequence number."""
        return self._keys[key].lines[level].first()

    def has_ready(self, entry: StoredEntry) -> bool:
        """Return whether an entry waits as due."""
        backlog = self._keys.get(entry.key)
        line = None if backlog is None else backlog.lines.get(entry.level)
        return line is not None and line.ready.get(entry.sequence) is entry

    def position(self, entry: StoredEntry) -> int:
        """Return how many due entries of its key and level go before one."""
        ready = self._keys[entry.key].lines[entry.level].ready
        return sum(sequence < entry.sequence for sequence in ready)

    def delayed_before(self, key: KeyPath, number: int) -> list[StoredEntry]:
        """Return a key's delayed entries whose numbers are smaller, by due time and number."""
        backlog = self._keys.get(key)
        delayed = [] if backlog is None else backlog.delayed.values()
        older = (entry for entry in delayed if entry.sequence < number)
        return sorted(older, key=lambda entry: (entry.due_at_us or 0, entry.sequence))

    def below(self, path: KeyPath) -> int:
        """Return how many entries of a node and below it wait, due or delayed."""
        return self._below[path]

    def waiting_of(self, key: KeyPath, level: int | None = None) -> int:
        """Return how many entries of the key are due, at one level or all."""
        backlog = self._keys.get(key)
        if backlog is None:
            return 0
        if level is None:
            return backlog.waiting
        return len(backlog.lines[level].ready) if level in backlog.lines else 0

    def delayed_of(self, key: KeyPath) -> int:
        """Return how many entries of the key are delayed."""
        backlog = self._keys.get(key)
        return 0 if backlog is None else len(backlog.delayed)

    def has_any_of(self, key: KeyPath) -> bool:
        """Return whether anything of the key waits, due or delayed."""
        return key in self._keys

    def next_timer(self) -> tuple[int, int] | None:
        """Return (due time, sequence) of the next delayed entry, None if there is none."""
        while self._timers:
            due_at_us, sequence, key = self._timers[0]
            backlog = self._keys.get(key)
            if backlog is not None and sequence in backlog.delayed:
                return due_at_us, sequence
            heappop(self._timers)
        return None

    def entries_of(self, key: KeyPath) -> Iterator[StoredEntry]:
        """Return the key's due entries by level and number, then the delayed by due time."""
        backlog = self._keys.get(key)
        if backlog is None:
            return
        for _, line in sorted(backlog.lines.items()):
            yield from (line.ready[sequence] for sequence in sorted(line.ready))
        yield from sorted(
            backlog.delayed.values(), key=lambda entry: (entry.due_at_us or 0, entry.sequence)
        )

    def backlogged(self) -> Iterator[KeyPath]:
        """Return each key with entries that wait, due or delayed."""
        return iter(self._keys)

    # -- within ------------------------------------------------------------------

    def _of(self, key: KeyPath) -> _KeyBacklog:
        return self._keys.setdefault(key, _KeyBacklog())

    def _add_ready(self, entry: StoredEntry) -> None:
        entry.is_fresh = False
        self._of(entry.key).lines.setdefault(entry.level, _Line()).add(entry)
        self.waiting += 1

    def _delay(self, entry: StoredEntry, due_at_us: int) -> None:
        entry.due_at_us = due_at_us
        entry.is_suspect = False
        self._of(entry.key).delayed[entry.sequence] = entry
        heappush(self._timers, (due_at_us, entry.sequence, entry.key))
        self.delayed += 1

    def _drop_delayed(self, entry: StoredEntry) -> None:
        entry.due_at_us = None
        del self._keys[entry.key].delayed[entry.sequence]
        self.delayed -= 1

    def _forget_if_empty(self, key: KeyPath) -> None:
        backlog = self._keys[key]
        if not backlog.waiting and not backlog.delayed:
            del self._keys[key]

    def _count(self, key: KeyPath, more: int) -> None:
        for size in range(1, len(key) + 1):
            self._below[key[:size]] += more
            if not self._below[key[:size]]:
                del self._below[key[:size]]

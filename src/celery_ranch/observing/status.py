"""What goes on in an application's fair queues, at one moment: figures to be rendered.

`observer.Observer` computes them; the command line, metrics and pages show them. Times are
in seconds, counts are of entries unless it is said otherwise, and what is not
known is None, never 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from celery_ranch.scheduling.model import KeyPath

__all__ = [
    "Flow",
    "KeyLevelStatus",
    "KeyStatus",
    "LevelStatus",
    "LevelTotals",
    "LimitStatus",
    "OtherKeys",
    "QueueStatus",
    "Spread",
    "Status",
    "Times",
    "Totals",
    "WorkerStatus",
]


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took, over many times: what half, 95 and 99 of a hundred took at most.

    Figures come from bins and are true to about a fifth of themselves; None where
    nothing was counted.
    """

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What came, and what workers ended, within the window; None where keys are not told apart."""

    enqueued_per_second: float | None = None
    """Entries stored; None until two moments can be compared."""
    finished_per_second: float | None = None
    """Tasks that ended, those that failed included."""
    failed_per_second: float | None = None
    """Of these, tasks that failed."""
    wait: Spread = Spread()
    """From when an entry could have run until it started, in seconds."""
    run: Spread = Spread()
    """From a task's start until its end, in seconds."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, ever."""

    count: int = 0
    seconds: float = 0.0
    """All of it together."""
    within: tuple[int, ...] = ()
    """How many took less than each of `totals.BOUNDS`."""


@dataclass(frozen=True, slots=True)
class LevelTotals:
    """What workers ended of one level of a queue, ever."""

    level: int
    finished: int
    """Tasks that ended, those that failed included."""
    failed: int
    wait: Times
    """From when an entry could have run until it started."""
    run: Times
    """From a task's start until its end."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a queue has ever seen: figures that only grow while its store is kept."""

    stored: int = 0
    """Entries that were stored."""
    levels: tuple[LevelTotals, ...] = ()
    """Those of which something ended."""


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit of a key, and how full it is."""

    kind: str
    """"concurrency", "rate" or "backlog"."""
    most: float
    """How many may be in service, may start at once (a rate's burst), or may wait."""
    used: float
    """How many are, did and are not regained yet, or do."""
    is_reached: bool
    """Whether the key is held back by it now; for a backlog, whether there is no room."""
    per_second: float | None = None
    """Of a rate: how many starts are regained in a second."""


@dataclass(frozen=True, slots=True)
class KeyLevelStatus:
    """A key where it stands at one level."""

    level: int
    waiting: int
    """Entries that are due, those below it included."""
    lead: float
    """How far it is ahead of its siblings' virtual time, in tasks or seconds as cost is counted.

    Who was just served is ahead by what that cost it; the smallest lead goes
    next. Negative where it was charged too much at first.
    """
    is_racing: bool
    """Whether it stands for its turn: it has something eligible and nothing holds it back."""


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One key of a queue, or a part of a path, with all that is below it."""

    key: KeyPath
    waiting: int
    """Entries that are due."""
    delayed: int
    leased: int
    """Entries leased and not finished."""
    oldest_wait: float | None
    """For how long the first entry in its line could have run; None if nothing is known to wait."""
    share: float
    entitled: float | None
    """Which part of what its siblings and it received together was due to it, 0 to 1."""
    received: float | None
    """Which part of that it received."""
    levels: tuple[KeyLevelStatus, ...]
    limits: tuple[LimitStatus, ...]
    is_paused: bool
    children: int
    """How many keys are known directly below it."""
    last_leased: float | None
    """How long ago something of it was leased last; None if never, or forgotten."""
    flow: Flow = Flow()


@dataclass(frozen=True, slots=True)
class OtherKeys:
    """All keys of a queue that are not shown, in one line."""

    keys: int
    """How many outermost keys wait that are not shown; estimated if they are very many."""
    waiting: int
    delayed: int
    leased: int
    received: float | None = None
    """Which part of what the queue's keys received went to them."""


@dataclass(frozen=True, slots=True)
class LevelStatus:
    """One level of a queue."""

    level: int
    waiting: int
    leased: int
    keys: int
    """How many outermost keys stand for their turn at it."""
    flow: Flow = Flow()


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue."""

    queue: str
    waiting: int
    """Entries that are due, those of paused keys included."""
    delayed: int
    leased: int
    """Entries leased and not finished."""
    dead: int
    workers: int
    """Workers that serve it and beat in time."""
    next_due: float | None
    """In how many seconds something comes due."""
    oldest_wait: float | None
    """The longest of the waits of the keys that were looked at; some other may wait longer."""
    evenness: float | None
    """Jain's index of what keys received, each over what it was entitled to.

    1: all got what was due to them. Of keys that had work waiting throughout the window;
    None where fewer than two of them had, or too little ran to tell.
    """
    flow: Flow
    levels: tuple[LevelStatus, ...]
    """Those with work, or that were served in the window."""
    keys: tuple[KeyStatus, ...]
    """The first ones by backlog, by oldest wait and by lead, and what is above them;
    most waiting first."""
    other: OtherKeys
    totals: Totals = Totals()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker, by its own last report and by what the store knows of it."""

    worker: str
    is_alive: bool
    """Whether it beat in time; the leases of one that did not are taken back."""
    beat_age: float
    """How long ago it beat, in seconds."""
    leased: int
    """Leases that the store says it has, finished ones included."""
    queues: tuple[str, ...] = ()
    host: str = ""
    pid: int | None = None
    version: str = ""
    """Of celery-ranch."""
    capacity: int | None = None
    """How many tasks its pool runs at once."""
    slots_taken: int | None = None
    """Entries that count against it: running, or leased to run."""
    lookahead: int | None = None
    """How many entries it likes to have at hand beyond its capacity."""
    stocked: int | None = None
    """How many of those it has."""
    run_seconds: float | None = None
    """Its running estimate of what a task takes."""


@dataclass(frozen=True, slots=True)
class Status:
    """All that is shown, at one moment."""

    at: float
    """When, by the store's clock, in seconds since the epoch."""
    window_seconds: float
    """Of how long a time rates, spreads and parts received are; it ends now."""
    queues: tuple[QueueStatus, ...]
    workers: tuple[WorkerStatus, ...]
    more_queues: int = 0
    """How many queues are not shown."""
    more_workers: int = 0
    """How many workers are not shown."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as dicts, lists, texts and numbers, by the names above."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the same as JSON in one line; tuples become lists.

        Example:
            >>> status = Status(at=0.5, window_seconds=60.0, queues=(), workers=())
            >>> status.to_json().startswith('{"at": 0.5, "window_seconds": 60.0, "queues": []')
            True
        """
        return json.dumps(self.to_dict())

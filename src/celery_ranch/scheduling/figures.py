"""What engines tell of queues, nodes and workers to whoever watches them.

Each of these is measured in a time that does not grow with the number of keys
or entries; which keys are worth measuring is for the watcher to choose.
"""

from __future__ import annotations

from dataclasses import dataclass

from celery_ranch.scheduling.limits import NO_LIMITS, Limits
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.nodes import Block
from celery_ranch.scheduling.service import WorkerFacts

__all__ = [
    "MAX_MEASURED",
    "LevelFigures",
    "NodeFigures",
    "StandFigures",
    "Survey",
    "WorkerFigures",
]

#: How many nodes are measured in one call.
MAX_MEASURED = 100


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """One level of a queue."""

    level: int
    waiting: int
    in_service: int
    racing: int
    """How many outermost nodes stand for their turn."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A queue, and some of its keys that may be worth measuring."""

    now_us: int
    """The time of the store."""
    stored: int
    """How many entries the queue ever stored."""
    known: int
    """How many nodes it remembers."""
    levels: tuple[LevelFigures, ...]
    keys: tuple[KeyPath, ...]
    """Of entries drawn by chance, of the first and the last in turn, and of a part of all
    nodes the blocked ones and those with most waiting; a key may be there twice."""
    sampled: tuple[KeyPath, ...]
    """Drawn by chance from the outermost nodes that stand for their turn, each as likely."""
    cursor: int
    """Where to go on among all nodes; 0: from the start."""


@dataclass(frozen=True, slots=True)
class StandFigures:
    """Where a node stands at one level."""

    level: int
    waiting: int
    """Entries that are due, those below it included."""
    lead: int
    """Its start tag less its siblings' virtual time, in charges (see `model.charge`)."""
    is_racing: bool
    """Whether it stands for its turn."""
    racing_below: int
    """How many of its children do, below it."""


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """One node as it stands."""

    key: KeyPath
    share: float
    blocks: Block
    in_service: int
    delayed: int
    """How many entries of it and below it are delayed."""
    children: int
    last_leased_at_us: int | None
    waiting_since_us: int | None
    """From when on the first of its own entries that are due could have run."""
    stands: tuple[StandFigures, ...]
    limits: Limits = NO_LIMITS
    arrival_us: int = 0
    """Its theoretical arrival time, if it has a rate (see `scheduling.limits`)."""


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker, as the store knows it."""

    worker: str
    until_us: int | None
    """Until when its leases are valid; None if it has not leased, or was reaped."""
    held: int
    """How many leases it has."""
    reported_at_us: int | None
    """When it reported last; None if that is long ago."""
    facts: WorkerFacts | None
    """What it said then."""

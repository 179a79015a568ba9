"""Taking away what waits at a key: what is told of it, and of its slices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from celery_ranch.scheduling.model import KeyPath

__all__ = ["Aside", "CarriedOut", "DeadCursor", "DeadSwept", "Move", "Moved", "Progress"]


@dataclass(frozen=True, slots=True)
class Move:
    """Where entries are to wait instead."""

    queue: str
    key: KeyPath | None = None
    """Whose they are there; None: each stays its own key's."""


class Moved(str, Enum):
    """What became of one entry that was to be moved."""

    FILED = "filed"
    """It waits under its new key."""
    SAME = "same"
    """It waits there already; nothing changed."""
    ELSEWHERE = "elsewhere"
    """No entry of that id waits, or its key is being withdrawn; nothing changed."""


class Progress(str, Enum):
    """How far a withdrawal has come."""

    SWEEPING = "sweeping"
    """Entries are being taken aside, or filed under their new key."""
    ASIDE = "aside"
    """All are aside, and the reply has some of them to be dealt with."""
    OVER = "over"
    """Nothing is left of it."""
    ELSEWHERE = "elsewhere"
    """Somebody else works on it, or it is over since long; nothing changed."""


@dataclass(frozen=True, slots=True)
class Aside:
    """An entry that was taken aside."""

    entry_id: str
    number: int
    """Its place among the others: the sequence number that it had."""
    message: bytes
    record: object
    """All that is known of it, for `Engine.arrive` of the same kind of engine alone."""


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """The reply to one slice of a withdrawal."""

    progress: Progress
    taken: int = 0
    """How many entries it has taken until now."""
    entries: tuple[Aside, ...] = ()
    move: Move | None = None
    """Where they go; None: they were cancelled."""
    token: str = ""
    """What the queue that they go to knows this withdrawal by."""


@dataclass(frozen=True, slots=True)
class DeadCursor:
    """How far dead letters were gone through, in the order in which they died."""

    after: int = 0
    """The how-manieth to die was looked at last."""
    till: int = -1
    """The how-manieth to die is the last one meant; -1: the latest now."""


@dataclass(frozen=True, slots=True)
class DeadSwept:
    """The reply to one slice of dead letters."""

    count: int
    """How many were put back, or dropped."""
    cursor: DeadCursor | None
    """Where to go on; None: all were looked at."""

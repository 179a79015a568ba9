"""What the scheduler speaks of: keys, entries, leases, outcomes, snapshots.

Times are integer microseconds since the Unix epoch (``_at_us``) or from now
(``_in_us``), as the store's clock tells them. Shares are floats that users
give; what the rule charges for them are integers (see `charge`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from celery_ranch.errors import InvalidKeyError, InvalidShareError

__all__ = [
    "DeadLetter",
    "EngineSettings",
    "Enqueued",
    "Entry",
    "KeyDetails",
    "KeyPath",
    "KeySnapshot",
    "Lease",
    "Leased",
    "Outcome",
    "OutcomeKind",
    "Publish",
    "QueueSnapshot",
    "Reaped",
    "Withdrawal",
    "charge",
    "key_path",
    "requeue_delay_us",
    "valid_share",
]

KeyPath: TypeAlias = "tuple[str, ...]"

#: What serving one entry of cost 1 adds to a start tag at share 1. Large
#: enough that share 100 is still charged in whole units to four digits.
CHARGE_UNIT = 1_000_000

#: The largest cost there is, in millionths: a million seconds, say.
MAX_COST = 10**12

#: The first tag value that is not used: tags are rebased before they get
#: here, so every number stays an exact integer below 2^53.
TAG_LIMIT = 2**52

#: The levels there are: the first one is served first.
LEVELS = range(11)
DEFAULT_LEVEL = 5
#: How much credit a level needs to be served before its turn (see `levels`).
WHOLE_CREDIT = 1_000_000

MAX_KEY_PARTS = 8
MAX_KEY_PART_BYTES = 512
MAX_BATCH = 1_000
ACTIVATION_BUDGET = 256
#: How many abandoned withdrawals of a queue one call tells of.
MOST_ABANDONED = 10

#: For how long after its last publish a publisher is remembered at least:
#: longer than anybody repeats a call whose reply was lost.
PUBLISHER_MEMORY_MS = 900_000

_KEY_ALLOWED = (
    f"a non-empty str of at most {MAX_KEY_PART_BYTES} bytes in UTF-8, alone or in a tuple"
)


def key_path(key: Any) -> KeyPath:
    """Return a key as the path it stands for, or refuse it.

    Args:
        key: A text, or a tuple of texts, outermost first.

    Raises:
        InvalidKeyError: A part is empty, not text or too long, or there are
            too many.

    Example:
        >>> key_path("acme"), key_path(("acme", "alice"))
        (('acme',), ('acme', 'alice'))
    """
    parts = key if isinstance(key, tuple) else (key,)
    if not parts or len(parts) > MAX_KEY_PARTS:
        raise InvalidKeyError(key, f"1 to {MAX_KEY_PARTS} parts")
    for part in parts:
        if not isinstance(part, str) or not part:
            raise InvalidKeyError(key, _KEY_ALLOWED)
        try:
            size = len(part.encode("utf-8"))
        except UnicodeEncodeError:
            raise InvalidKeyError(key, _KEY_ALLOWED + ", without lone surrogates") from None
        if size > MAX_KEY_PART_BYTES:
            raise InvalidKeyError(key, _KEY_ALLOWED)
    return parts


def valid_share(share: Any) -> float:
    """Return a share as a float, or refuse it.

    Raises:
        InvalidShareError: It is not a number from 0.01 to 100.

    Example:
        >>> valid_share(2)
        2.0
    """
    is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not is_number or not 0.01 <= share <= 100:
        raise InvalidShareError(share, "a number from 0.01 to 100")
    return float(share)


def charge(share: float, cost: int = CHARGE_UNIT) -> int:
    """Return what serving one entry adds to its key's start tag.

    Args:
        share: The key's share.
        cost: What the entry costs, in millionths; 0 is charged nothing.

    Example:
        >>> charge(1.0), charge(100.0), charge(0.01), charge(1.0, 2_500_000), charge(1.0, 0)
        (1000000, 10000, 100000000, 2500000, 0)
    """
    return max(1, math.floor(cost / share + 0.5)) if cost else 0


def requeue_delay_us(deliveries: int) -> int:
    """Return how long an entry given back after a start waits, in microseconds.

    It doubles from a tenth of a second with each delivery, up to a minute,
    so that a task which always gives itself back cannot spin.

    Example:
        >>> requeue_delay_us(1), requeue_delay_us(2), requeue_delay_us(50)
        (100000, 200000, 60000000)
    """
    return int(min(100_000 * 2 ** min(deliveries - 1, 20), 60_000_000))


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is told once, when it is opened."""

    lease_us: int = 30_000_000
    """How long a worker's leases outlive its last heartbeat."""
    max_deliveries: int = 10
    """How often an entry may be delivered and come back before it is dead."""
    dead_letter_limit: int = 10_000
    """How many dead letters a queue keeps; the oldest are dropped."""
    idle_key_us: int = 3_600_000_000
    """How long an idle key's last-served number is remembered."""
    level_floor: int = 0
    """What a level that waits is sure to get of its queue's dispatches, in millionths."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a task and the facts it is scheduled by.

    `message` is opaque to every engine. Of `due_at_us` and `due_in_us` at
    most one is given, likewise of the expiries; the relative ones are counted
    from the moment the store takes the entry.
    """

    entry_id: str
    key: KeyPath
    queue: str
    message: bytes
    due_at_us: int | None = None
    due_in_us: int | None = None
    expires_at_us: int | None = None
    expires_in_us: int | None = None
    level: int = DEFAULT_LEVEL
    """Its strict class; what is in a lower one is served first."""
    cost: int | None = CHARGE_UNIT
    """What running it costs its key, in millionths; None: the seconds it takes."""
    is_exempt: bool = False
    """Whether it is stored also where its key's backlog is full."""


@dataclass(frozen=True, slots=True)
class Publish:
    """What all attempts at storing one batch have in common.

    A publisher makes one publish at a time and gives each a greater number
    than the one before. So an attempt whose number is not above that of the
    publisher's last stored batch repeats what was stored, or comes too late.
    """

    publisher: str
    """A name that nobody else has: random, of letters, digits, '-' and '_'."""
    number: int
    """From 1, below 2^53."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a batch: if any id was taken, none of it was stored."""

    stored: int
    """How many entries this attempt stored: all of the batch, or 0."""
    taken: tuple[str, ...] = ()
    """Ids that other entries have, in the store or earlier in the batch."""
    is_repeated: bool = False
    """An earlier attempt at this publish had stored the batch; nothing changed."""
    full: KeyPath | None = None
    """The node whose backlog has no room for the batch."""
    limit: int = 0
    """How much may wait there."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to run an entry, until it is settled or reaped."""

    entry_id: str
    key: KeyPath
    queue: str
    number: int
    """Which hand-over this is: outcomes name it, so a stale one is noticed."""
    deliveries: int
    """How often the entry was started and came back before this lease."""
    message: bytes
    is_expired: bool = False
    """It must not run: it is handed over to be announced as expired."""
    is_suspect: bool = False
    """A dead worker held it, and may have died of it: say that it started before it can."""
    level: int = DEFAULT_LEVEL
    cost: int | None = CHARGE_UNIT
    """What running it costs its key, in millionths; None: the seconds it takes."""
    waited_us: int = 0
    """How long it could have run before: since it was stored, came due, or was given back
    after a start."""


@dataclass(frozen=True, slots=True)
class Leased:
    """The reply to one lease call."""

    leases: tuple[Lease, ...]
    has_more: bool
    """The activation budget ran out: call again without waiting."""
    next_due_in_us: int | None
    """Until the next delayed entry comes due, by the store's clock."""


class OutcomeKind(str, Enum):
    """What a worker reports of a lease."""

    STARTED = "started"
    ACKNOWLEDGED = "acknowledged"
    FINISHED = "finished"
    COMPLETED = "completed"
    """Acknowledged and finished at once."""
    RELEASED = "released"
    REQUEUED = "requeued"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One report of one lease."""

    kind: OutcomeKind
    queue: str
    entry_id: str
    number: int
    reason: str = ""
    """Why it is dead, for the person who looks at it."""
    due_in_us: int = 0
    """For a released entry: how long it is to wait before it is eligible."""
    run_us: int | None = None
    """With the end of a run: how long it took. None: it was not measured, or never ran."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What is being taken away: cancelled, or moved."""

    queue: str
    number: int
    """By which its queue knows it."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What reaping did with the entries of workers that stopped beating."""

    released: int = 0
    requeued: int = 0
    freed: int = 0
    dead: int = 0
    has_more: bool = False
    abandoned: tuple[Withdrawal, ...] = ()
    """Withdrawals that nobody works on any more, a few of each queue."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry taken out of circulation, and why."""

    entry_id: str
    key: KeyPath
    queue: str
    message: bytes
    deliveries: int
    reason: str
    died_at_us: int


@dataclass(frozen=True, slots=True)
class KeySnapshot:
    """One key of one queue as it stands."""

    key: KeyPath
    waiting: int
    delayed: int
    share: float
    is_paused: bool
    last_leased_at_us: int | None
    """When an entry of the key was last leased; None if never, or forgotten."""
    in_service: int = 0
    """How many of its entries, and of those below it, are leased and not finished."""
    tags: tuple[str, ...] = ()
    """Sorted, each a name, an equals sign and a value."""


@dataclass(frozen=True, slots=True)
class KeyDetails:
    """All that is remembered of one key of one queue."""

    snapshot: KeySnapshot
    """As of an idle key where nothing of it is stored."""
    share_by_hand: float = 1.0
    """What its share would be if there were no weight function."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Its custom data, by name: JSON."""


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """One queue as it stands."""

    queue: str
    waiting: int
    """Entries that are due, those of paused keys included."""
    delayed: int
    leased: int
    """Entries leased and not finished."""
    dead: int
    workers: int
    """Workers whose leases are valid."""
    next_due_in_us: int | None

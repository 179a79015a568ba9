"""Why an entry waits: where it is, what holds it back, and what goes before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.turns import Ahead, Precision

__all__ = ["Blocker", "BlockerKind", "EntryState", "Explanation"]


class EntryState(str, Enum):
    """Where an entry is."""

    WAITING = "waiting"
    """It is due."""
    DELAYED = "delayed"
    """Its time has not come, or nobody has looked since it came."""
    LEASED = "leased"
    """A worker has it and has not started it."""
    STARTED = "started"
    """It runs, and is acknowledged when it ends."""
    ACKNOWLEDGED = "acknowledged"
    """It runs and was acknowledged: the entry is gone, its slot is taken."""
    FINISHED = "finished"
    """It has run and is not acknowledged yet."""
    DEAD = "dead"
    """It is a dead letter."""
    WITHDRAWN = "withdrawn"
    """It was cancelled with its key, and is about to be announced, or is being moved."""
    UNKNOWN = "unknown"
    """No entry of that id is in the store."""


class BlockerKind(str, Enum):
    """What holds a node back, with all that waits below it."""

    PAUSED = "paused"
    CONCURRENCY = "concurrency"
    """As many of its entries are leased and not finished as may be."""
    RATE = "rate"
    """Its rate does not let another start yet."""
    WITHDRAWN = "being withdrawn"
    """What waited there is being taken away; it goes on when all of that is aside."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something that holds a node on an entry's path back."""

    kind: BlockerKind
    key: KeyPath
    running: int | None = None
    """With `CONCURRENCY`: how many are leased and not finished."""
    limit: int | None = None
    """With `CONCURRENCY`: how many may be."""
    until_us: int | None = None
    """With `RATE`: when it lets another start."""

    def sentence(self, now_us: int) -> str:
        """Return it as part of a sentence."""
        name = "/".join(self.key)
        if self.kind is BlockerKind.CONCURRENCY:
            return f"{name} is at its concurrency limit ({self.running} of {self.limit} running)"
        if self.kind is BlockerKind.RATE:
            in_us = (self.until_us or now_us) - now_us
            return f"the rate of {name} lets another start in {_span(in_us)}"
        return f"{name} is {self.kind.value}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where one entry is and why, at one instant. Times are microseconds.

    As a text it is a sentence.

    Example:
        >>> print(Explanation("1", "celery", EntryState.WAITING, 0, 0, workers=2, key=("acme",),
        ...                   level=5, position=3, ahead=123, precision=Precision.ABOUT))
        waiting: 3 of its key's tasks and about 120 of others go first
    """

    entry_id: str
    queue: str
    state: EntryState
    at_us: int
    """When it was looked at, by the store's clock."""
    handed_over: int
    """How many entries the queue has handed to workers by then."""
    workers: int
    """How many workers serve the queue."""
    key: KeyPath = ()
    level: int | None = None
    cost: int | None = None
    """In millionths; None: measured, or not known any more."""
    deliveries: int | None = None
    """How often it was started and came back; None: not known any more."""
    since_us: int | None = None
    """From when on it could have run, or can."""
    expires_at_us: int | None = None
    due_at_us: int | None = None
    """Of one that is delayed."""
    worker: str | None = None
    """Who has it."""
    leased_at_us: int | None = None
    """When; None also where the store does not know any more."""
    died_at_us: int | None = None
    reason: str = ""
    """Why it is dead."""
    blockers: tuple[Blocker, ...] = ()
    """What holds back an entry that waits or is delayed, outermost first."""
    position: int | None = None
    """How many of its key at its level go before one that waits."""
    better: int | None = None
    """How many entries of better levels wait and are not held back."""
    ahead: int | None = None
    """How many entries of all keys go before one that waits."""
    precision: Precision = Precision.EXACT
    """How sure `better` and `ahead` are."""
    is_level_sure: bool = False
    """Whether its level's part of all turns lets it go before some of better levels."""
    starts_in_us: int | None = None
    """When it is expected to start, from `at_us` on; None: unknown."""

    def with_turn(self, position: int, ahead: Ahead, level_floor: int) -> Explanation:
        """Return this of an entry that waits, with what goes before it.

        Args:
            position: How many of its key go before it.
            ahead: How many of all.
            level_floor: What each level is sure of, in millionths of all turns.
        """
        total = ahead.total(level_floor)
        is_shared = bool(level_floor and (ahead.better or ahead.worse_levels))
        is_estimated = is_shared or self.cost is None
        return replace(
            self,
            position=position,
            better=ahead.better,
            ahead=total,
            precision=Precision.ABOUT if is_estimated else ahead.precision,
            is_level_sure=total < ahead.better + ahead.same,
        )

    def expected_after(self, earlier: Explanation) -> Explanation:
        """Return this with when the entry is expected to start.

        Workers are taken to go on as fast as they did since an earlier look
        at any entry of the same queue. It stays unknown where the entry does
        not wait, is paused or at a concurrency limit, or where nothing was
        handed over in between.
        """
        took_us, served = self.at_us - earlier.at_us, self.handed_over - earlier.handed_over
        kinds = {blocker.kind for blocker in self.blockers}
        is_known = earlier.queue == self.queue and took_us > 0 and served > 0
        if self.ahead is None or not is_known or kinds - {BlockerKind.RATE}:
            return replace(self, starts_in_us=None)
        by_turns = -(-(self.ahead + 1) * took_us // served)
        by_rates = [(blocker.until_us or 0) - self.at_us for blocker in self.blockers]
        return replace(self, starts_in_us=max([by_turns, *by_rates]))

    def __str__(self) -> str:
        return f"{_SENTENCES[self.state]}{'; '.join(self._parts())}"

    def _parts(self) -> Iterator[str]:
        if self.state is EntryState.WAITING:
            yield self._turn()
        elif self.state is EntryState.DELAYED:
            due_in_us = (self.due_at_us or 0) - self.at_us
            yield f"due in {_span(due_in_us)}" if due_in_us > 0 else "due now"
        elif self.state is EntryState.DEAD:
            ago = _span(self.at_us - (self.died_at_us or self.at_us))
            yield f"{self.reason or 'nobody said why'}, {ago} ago"
        elif self.worker is not None:
            since = self.leased_at_us
            yield self.worker + (f", for {_span(self.at_us - since)}" if since is not None else "")
        yield from (blocker.sentence(self.at_us) for blocker in self.blockers)
        if self.state in (EntryState.WAITING, EntryState.DELAYED):
            if self.expires_at_us is not None and self.expires_at_us <= self.at_us:
                yield "it has expired and will not run"
            if not self.workers:
                yield "no worker serves its queue"
        if self.starts_in_us is not None:
            yield f"it should start in about {_span(self.starts_in_us)}"

    def _turn(self) -> str:
        position, others = self.position or 0, (self.ahead or 0) - (self.position or 0)
        how = {Precision.AT_MOST: "at most ", Precision.ABOUT: "about "}.get(self.precision, "")
        if not others and not position:
            return "it is next" if not self.blockers else "it would be next"
        own = f"{position} of its key's tasks"
        if not others:
            goes = "goes" if position == 1 else "go"
            return f"{own} {goes} first"
        rest = f"{how}{others} of others"
        if self.better:
            rest += f", {self.better} waiting with a better priority"
            rest += " (its own is sure of some turns)," if self.is_level_sure else ","
        return f"{own} and {rest} go first" if position else f"{rest} go first"


_SENTENCES = {
    EntryState.WAITING: "waiting: ",
    EntryState.DELAYED: "delayed: ",
    EntryState.LEASED: "leased, not started: ",
    EntryState.STARTED: "running: ",
    EntryState.ACKNOWLEDGED: "running: ",
    EntryState.FINISHED: "finished, not acknowledged: ",
    EntryState.DEAD: "dead: ",
    EntryState.WITHDRAWN: "withdrawn: it was cancelled with its key, or is being moved",
    EntryState.UNKNOWN: "unknown: no entry of this id waits, runs or is dead",
}


def _span(us: int) -> str:
    """Return a time as people say it.

    Example:
        >>> _span(40_000), _span(12_300_000), _span(600_000_000), _span(90_000_000_000)
        ('0.04 s', '12 s', '10 min', '25 h')
    """
    seconds = max(0, us) / 1_000_000
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"

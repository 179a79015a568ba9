"""What this worker holds: its leases, and what is still to be said of them.

A `Holding` is one lease and how far its request has come. The `LeaseBook`
keeps them and collects outcomes until somebody drains them for the store; at
most one outcome per lease waits there, because a later one includes what an
earlier one said. What was drained is remembered until the store has confirmed
it, so no outcome is lost with a connection. Pools of threads report from their
own threads, so every change takes the book's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic

from celery.worker.request import Request

from celery_ranch.scheduling.model import Lease, Outcome, OutcomeKind
from celery_ranch.worker.native import native

__all__ = ["Holding", "LeaseBook"]

#: For how much of its time a lease is this worker's for sure, whether it beats
#: or not: the beat before it was at most a sixth earlier.
_SURE_OF_LEASE = 5 / 6

_STARTED = OutcomeKind.STARTED
_ACKNOWLEDGED = OutcomeKind.ACKNOWLEDGED
_FINISHED = OutcomeKind.FINISHED
_COMPLETED = OutcomeKind.COMPLETED

#: What the second of two outcomes becomes when the first is not sent yet.
_MERGED = {
    (_ACKNOWLEDGED, _FINISHED): _COMPLETED,
    (_FINISHED, _ACKNOWLEDGED): _COMPLETED,
}


@dataclass(eq=False, slots=True)
class Holding:
    """One lease of this worker and how far its request has come."""

    lease: Lease
    request: Request | None = None
    is_started: bool = False
    is_acknowledged: bool = False
    is_finished: bool = False
    is_parked: bool = False
    """Whether it is with Celery, but waits there for its type's rate limit."""
    is_passed_on: bool = False
    """Whether the store has said that the lease is not this worker's any more."""
    taken_at: float = 0.0
    """When it was leased, by `time.monotonic`, in seconds."""
    started_at: float = 0.0
    """When a process of the pool took it, by `time.monotonic`, in seconds."""
    reason: str = ""
    """Why it goes to the dead letters."""
    due_in_us: int = 0
    """For how long it is to wait when it is released."""
    run_us: int | None = None
    """How long it ran, once that is known; 0 if it never will."""

    @property
    def takes_a_slot(self) -> bool:
        """Whether it counts against the worker's capacity."""
        return not (self.is_finished or self.is_parked or self.lease.is_expired)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said of it."""
        return self.is_finished and self.is_acknowledged

    def outcome(self, kind: OutcomeKind) -> Outcome:
        """Return the report of this lease."""
        lease = self.lease
        return Outcome(
            kind,
            lease.queue,
            lease.entry_id,
            lease.number,
            self.reason,
            self.due_in_us,
            self.run_us,
        )


def _identity(lease: Lease | Outcome) -> tuple[str, str, int]:
    return lease.queue, lease.entry_id, lease.number


class LeaseBook:
    """All leases of one worker, and the outcomes that wait to be sent.

    Args:
        on_outcome: Called, in whatever thread, after an outcome was added;
            it makes sure that somebody drains the book soon.
        lease_seconds: How long leases outlive a beat, in seconds.
    """

    def __init__(self, on_outcome: Callable[[], None], lease_seconds: float = inf) -> None:
        self._on_outcome = on_outcome
        # Whoever took a lease had beaten not long before.
        self._sure_seconds = lease_seconds * _SURE_OF_LEASE
        self._kept_until = 0.0
        # Native, because the heartbeat's thread is, and a green lock would
        # lose one that waits for it in another thread. Reentrant, because a
        # cold shutdown drains the pool within a signal's handler (Celery 5.5).
        self._lock = native("_thread", "RLock")()
        # By entry id too: a store that a failover set back gives numbers out again.
        self._holdings: dict[tuple[str, str, int], Holding] = {}
        self._pending: dict[Holding, OutcomeKind] = {}
        self._unsaid: list[Outcome] = []
        self._unconfirmed: set[Outcome] = set()
        self._slots_taken = 0
        self.is_leasing = False
        """Whether a lease was asked for and its reply is not entered yet."""
        self.drains = 0
        """How often it was drained: while this stands still, nothing was said."""

    @property
    def slots_taken(self) -> int:
        """How many leases are handed over and not finished, expired ones aside."""
        return self._slots_taken

    @property
    def has_outcomes(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._pending or self._unsaid)

    def holdings(self) -> tuple[Holding, ...]:
        """Return what is held now."""
        with self._lock:
            return tuple(self._holdings.values())

    def owned(self) -> frozenset[tuple[str, str, int]]:
        """Return (queue, entry id, lease number) of everything held or not confirmed."""
        with self._lock:
            every: list[Lease | Outcome] = [*self._unsaid, *self._unconfirmed]
            every += [h.lease for h in (*self._holdings.values(), *self._pending)]
        return frozenset(_identity(each) for each in every)

    def take(self, leases: Iterable[Lease]) -> list[Holding]:
        """Enter new leases."""
        now = monotonic()
        taken = [Holding(lease, taken_at=now) for lease in leases]
        with self._lock:
            for holding in taken:
                self._holdings[_identity(holding.lease)] = holding
                self._slots_taken += holding.takes_a_slot
        return taken

    def keep(self, held: Collection[tuple[str, str, int]], known: Iterable[Holding]) -> None:
        """Note what the store says this worker holds of what was known before it was asked."""
        for holding in known:
            if _identity(holding.lease) not in held:
                holding.is_passed_on = True

    def keep_until(self, moment: float) -> None:
        """Nothing passes on before that moment, by `time.monotonic`."""
        self._kept_until = moment

    def is_kept(self, holding: Holding) -> bool:
        """Whether the lease is this worker's still, as far as can be known here.

        Others may have it when this worker was frozen, or could not beat, for
        longer than leases last, and when it was given back.
        """
        until = max(self._kept_until, holding.taken_at + self._sure_seconds)
        is_given_up = holding.is_finished or holding.is_passed_on
        return not is_given_up and monotonic() <= until

    def start(self, holding: Holding, now: float, *, acknowledged: bool) -> None:
        """A process of the pool took it; `now` is `time.monotonic()`.

        With early acknowledgement the message is done with by that. Celery's
        own acknowledgement may come a tick of the loop later, which is too
        late for a task that blocks the loop.
        """
        with self._lock:
            if holding.is_started or holding.is_over:
                return
            holding.is_started = True
            holding.started_at = now
            if acknowledged and not holding.is_acknowledged:
                holding.is_acknowledged = True
                self._say(holding, _ACKNOWLEDGED)
            elif not holding.is_acknowledged:
                self._say(holding, _STARTED)
        self._on_outcome()

    def park(self, holding: Holding) -> None:
        """It waits with Celery; meanwhile it takes no slot."""
        with self._lock:
            self._slots_taken -= holding.takes_a_slot
            holding.is_parked = True

    def unpark(self, holding: Holding) -> None:
        """It is to run now; this changes nothing if it was not parked."""
        with self._lock:
            if holding.is_parked:
                holding.is_parked = False
                self._slots_taken += holding.takes_a_slot

    def expect_start(self, holding: Holding) -> None:
        """Say that it started before it does, because it may kill this worker by that."""
        with self._lock:
            if holding.is_started or holding.is_over:
                return
            self._say(holding, _STARTED)
        self._on_outcome()

    def acknowledge(self, holding: Holding) -> None:
        """The message is done with."""
        with self._lock:
            if holding.is_acknowledged:
                return
            holding.is_acknowledged = True
            self._say(holding, _ACKNOWLEDGED)
        self._on_outcome()

    def finish(self, holding: Holding) -> bool:
        """The slot is free again; return whether that was news."""
        with self._lock:
            if holding.is_finished:
                return False
            self._free(holding)
            self._say(holding, _FINISHED)
        self._on_outcome()
        return True

    def release(self, holding: Holding, due_in_us: int = 0) -> None:
        """Give back what never started; one acknowledged only frees its slot."""
        self._give_back(holding, OutcomeKind.RELEASED, due_in_us=due_in_us)

    def requeue(self, holding: Holding) -> None:
        """Give back what was started."""
        self._give_back(holding, OutcomeKind.REQUEUED)

    def bury(self, holding: Holding, reason: str) -> None:
        """Send it to the dead letters."""
        self._give_back(holding, OutcomeKind.DEAD, reason=reason)

    def drain(self) -> list[Outcome]:
        """Return the outcomes that wait, oldest first; `confirm` or `restore` them."""
        with self._lock:
            self.drains += 1
            pending, self._pending = self._pending, {}
            drained, self._unsaid = self._unsaid, []
            drained += [holding.outcome(kind) for holding, kind in pending.items()]
            self._unconfirmed.update(drained)
        return drained

    def confirm(self, outcomes: Iterable[Outcome]) -> None:
        """Forget what arrived at the store."""
        with self._lock:
            self._unconfirmed.difference_update(outcomes)

    def restore(self, outcomes: Sequence[Outcome]) -> None:
        """Take back what may not have arrived; it is drained again, before the rest.

        Saying an outcome twice is harmless: the second changes nothing.
        """
        with self._lock:
            self._unconfirmed.difference_update(outcomes)
            self._unsaid = [*outcomes, *self._unsaid]

    def _give_back(
        self, holding: Holding, kind: OutcomeKind, reason: str = "", due_in_us: int = 0
    ) -> None:
        with self._lock:
            if holding.is_over:
                return
            holding.reason, holding.due_in_us = reason, due_in_us
            was_acknowledged = holding.is_acknowledged
            self._free(holding)
            holding.is_acknowledged = True
            self._say(holding, _FINISHED if was_acknowledged else kind)
        self._on_outcome()

    def _free(self, holding: Holding) -> None:
        self._slots_taken -= holding.takes_a_slot
        holding.is_finished, holding.is_parked = True, False

    def _say(self, holding: Holding, kind: OutcomeKind) -> None:
        earlier = self._pending.pop(holding, None)
        if earlier is not None:
            kind = _MERGED.get((earlier, kind), kind)
        self._pending[holding] = kind
        if holding.is_over:
            self._holdings.pop(_identity(holding.lease), None)

"""Tasks through the memory engine in virtual time: the rule alone, without a worker's delays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from types import MappingProxyType

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.model import (
    CHARGE_UNIT,
    EngineSettings,
    Entry,
    KeyPath,
    Lease,
    Outcome,
    OutcomeKind,
    requeue_delay_us,
)

__all__ = ["Attempt", "Offer", "run_virtually", "seconds"]

QUEUE = "celery"
WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Offer:
    """One task that somebody submits."""

    key: KeyPath
    submit_us: int
    run_us: int
    gives_itself_back: bool = False
    """Whether each run ends with the task put back, until it is dead."""
    follows: int | None = None
    """The place of the offer that it is submitted `submit_us` after the end of."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a task, in microseconds of virtual time."""

    offer: int
    """Its task's place among the offers."""
    key: KeyPath
    due_us: int
    """From when on it could have run."""
    started_us: int
    ended_us: int


def run_virtually(
    offers: Iterable[Offer],
    slots: int,
    *,
    by_seconds: bool = False,
    until_us: int | None = None,
    shares: Mapping[KeyPath, float] = MappingProxyType({}),
) -> list[Attempt]:
    """Return how tasks ran on so many slots, each of which leases when it is free.

    Args:
        offers: The tasks.
        slots: How many run at once.
        by_seconds: Whether tasks cost the seconds that they take, or 1 each.
        until_us: When to stop starting tasks; None: when all have run.
        shares: Of nodes that have another than 1.
    """
    run = _Run(list(offers), slots, by_seconds, until_us)
    run.set_shares(shares)
    return run.attempts()


def seconds(us: int) -> float:
    """Return microseconds as seconds."""
    return us / 1_000_000


class _Run:
    """One run: what is going to happen, by time."""

    def __init__(
        self,
        offers: list[Offer],
        slots: int,
        by_seconds: bool,
        until_us: int | None,
    ) -> None:
        self._engine = MemoryEngine(EngineSettings(lease_us=2**50))
        self._offers = offers
        self._cost = None if by_seconds else CHARGE_UNIT
        self._until_us = until_us
        self._free = slots
        self._due_us: dict[int, int] = {}
        self._followers: dict[int, list[int]] = {}
        self._events: list[tuple[int, int, int, Lease | None]] = []
        """(time, counter, place of the offer, the lease that ends; None: it is submitted)."""
        self._counter = 0
        for place, offer in enumerate(offers):
            if offer.follows is None:
                self._at(offer.submit_us, place)
            else:
                self._followers.setdefault(offer.follows, []).append(place)

    def set_shares(self, shares: Mapping[KeyPath, float]) -> None:
        """Give nodes their shares."""
        for key, share in shares.items():
            self._engine.set_share(QUEUE, key, share, now_us=0)

    def attempts(self) -> list[Attempt]:
        """Let everything happen; return the runs in the order of their starts."""
        done: list[Attempt] = []
        while self._events:
            now_us = self._events[0][0]
            while self._events and self._events[0][0] == now_us:
                _, _, place, lease = heappop(self._events)
                if place < 0:
                    continue
                if lease is None:
                    self._submit(place, now_us)
                else:
                    self._end(place, lease, now_us)
            if self._until_us is None or now_us < self._until_us:
                done += self._start(now_us)
        return done

    def _at(self, time_us: int, place: int, lease: Lease | None = None) -> None:
        self._counter += 1
        heappush(self._events, (time_us, self._counter, place, lease))

    def _submit(self, place: int, now_us: int) -> None:
        self._due_us[place] = now_us
        entry = Entry(str(place), self._offers[place].key, QUEUE, b"", cost=self._cost)
        self._engine.enqueue([entry], now_us=now_us)

    def _end(self, place: int, lease: Lease, now_us: int) -> None:
        offer = self._offers[place]
        kind = OutcomeKind.REQUEUED if offer.gives_itself_back else OutcomeKind.COMPLETED
        outcome = Outcome(kind, QUEUE, lease.entry_id, lease.number, run_us=offer.run_us)
        self._engine.settle(WORKER, [outcome], now_us=now_us)
        self._free += 1
        self._due_us[place] = now_us + requeue_delay_us(lease.deliveries + 1)
        for follower in self._followers.get(place, ()):
            self._at(now_us + self._offers[follower].submit_us, follower)

    def _start(self, now_us: int) -> list[Attempt]:
        leased = self._engine.lease(WORKER, [QUEUE], self._free, now_us=now_us)
        started = []
        for lease in leased.leases:
            place = int(lease.entry_id)
            offer = self._offers[place]
            outcome = Outcome(OutcomeKind.STARTED, QUEUE, lease.entry_id, lease.number)
            self._engine.settle(WORKER, [outcome], now_us=now_us)
            end_us = now_us + offer.run_us
            self._at(end_us, place, lease)
            started.append(Attempt(place, offer.key, self._due_us[place], now_us, end_us))
        self._free -= len(started)
        if leased.next_due_in_us is not None:
            self._at(now_us + leased.next_due_in_us, -1)
        return started

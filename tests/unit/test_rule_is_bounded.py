"""Keys that wait side by side are never further apart than one entry each.

For keys f and m that both stay eligible over an interval, with what each
received counted in charges (entries per share, in whole units):

    at dispatch            |received_f - received_m| <= charge_f + charge_m
    completed, D at once   |received_f - received_m| <= (D + 1) (charge_f + charge_m)

Every interval is covered: of each pair the largest and the smallest
difference since both became eligible are kept, and compared with each other.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.model import (
    EngineSettings,
    Entry,
    Lease,
    Outcome,
    OutcomeKind,
    charge,
    requeue_delay_us,
)

IS_LONG = bool(os.environ.get("RANCH_LONG"))
STEPS = 100_000 if IS_LONG else 6_000
QUEUE = "celery"
SECOND = 1_000_000


@dataclass(slots=True)
class _Spread:
    """The range of a pair's difference since both became eligible."""

    smallest: int
    largest: int

    def note(self, difference: int) -> None:
        self.smallest = min(self.smallest, difference)
        self.largest = max(self.largest, difference)


class _Ledger:
    """What each key received, and how far apart each pair came while both waited."""

    def __init__(self, names: list[str]) -> None:
        self.received = dict.fromkeys(names, 0)
        self.charges = dict.fromkeys(names, charge(1.0))
        self.worst = 0.0
        """The widest spread seen, in multiples of what one entry each charges."""
        self._spreads: dict[tuple[str, str], _Spread] = {}

    def add(self, name: str) -> None:
        """Count one entry more, in every interval that is open."""
        self.received[name] += self.charges[name]
        for pair, spread in self._spreads.items():
            if name in pair:
                f, m = pair
                spread.note(self.received[f] - self.received[m])
                width = spread.largest - spread.smallest
                self.worst = max(self.worst, width / (self.charges[f] + self.charges[m]))

    def open(self, eligible: set[str]) -> None:
        """Open intervals for the pairs now eligible, close those of all others."""
        for pair in list(self._spreads):
            if not eligible.issuperset(pair):
                del self._spreads[pair]
        for f, m in combinations(sorted(eligible), 2):
            difference = self.received[f] - self.received[m]
            self._spreads.setdefault((f, m), _Spread(difference, difference))

    def reshare(self, name: str, new_charge: int) -> None:
        """Start the key's intervals anew: what it receives is charged otherwise."""
        self.charges[name] = new_charge
        for pair in [pair for pair in self._spreads if name in pair]:
            del self._spreads[pair]


class _History:
    """One random history of an engine, at most `at_once` entries leased."""

    def __init__(self, source: random.Random, at_once: int, tag_limit: int = 2**52) -> None:
        told = EngineSettings(max_deliveries=10**9, idle_key_us=5 * SECOND)
        self.engine = MemoryEngine(told, tag_limit=tag_limit)
        self.random = source
        self.at_once = at_once
        self.now_us = 1_000 * SECOND
        self.stored = 0
        self.names = [f"k{i}" for i in range(source.randint(2, 6))]
        self.ready = dict.fromkeys(self.names, 0)
        self.paused: set[str] = set()
        self.delayed: list[tuple[int, str]] = []
        self.held: list[Lease] = []
        self.dispatched = _Ledger(self.names)
        self.completed = _Ledger(self.names)
        for name in self.names:
            self.reshare(name)

    def step(self, *, may_return: bool) -> None:
        """Do something at random; entries are given back only where that is allowed."""
        self.now_us += self.random.choice([0, 100_000])
        act = self.random.random()
        name = self.random.choice(self.names)
        if act < 0.25:
            self.store(name, self.random.choice([1, 2, 10]))
        elif act < 0.65:
            self.lease(self.random.randint(1, self.at_once))
        elif act < 0.95:
            self.settle(may_return=may_return)
        elif act < 0.97:
            self.paused.add(name)
            self.engine.pause(QUEUE, (name,))
        elif act < 0.99:
            self.paused.discard(name)
            self.engine.resume(QUEUE, (name,))
        elif act < 0.993:
            self.reshare(name)
        else:
            self.engine.reap(1_000, now_us=self.now_us)
            self.engine.heartbeat("w", now_us=self.now_us)
        self.note_eligible()

    def reshare(self, name: str) -> None:
        share = round(10 ** self.random.uniform(-2, 2), 4)
        self.engine.set_share(QUEUE, (name,), share)
        for ledger in (self.dispatched, self.completed):
            ledger.reshare(name, charge(share))

    def store(self, name: str, count: int) -> None:
        batch = [Entry(f"e{self.stored + i}", (name,), QUEUE, b"") for i in range(count)]
        self.stored += count
        self.engine.enqueue(batch, now_us=self.now_us)
        self.ready[name] += count

    def lease(self, limit: int) -> None:
        limit = min(limit, self.at_once - len(self.held))
        for due_us, name in self.delayed:
            self.ready[name] += due_us <= self.now_us
        self.delayed = [item for item in self.delayed if item[0] > self.now_us]
        self.note_eligible()
        for leased in self.engine.lease("w", [QUEUE], limit, now_us=self.now_us).leases:
            name = leased.key[0]
            self.held.append(leased)
            self.ready[name] -= 1
            self.dispatched.add(name)
            self.note_eligible()

    def settle(self, *, may_return: bool) -> None:
        if not self.held:
            return
        leased = self.held.pop(self.random.randrange(len(self.held)))
        kinds = [OutcomeKind.COMPLETED]
        if may_return:
            kinds += [OutcomeKind.RELEASED, OutcomeKind.REQUEUED]
        kind = self.random.choice(kinds)
        name = leased.key[0]
        outcome = Outcome(kind, QUEUE, leased.entry_id, leased.number)
        assert self.engine.settle("w", [outcome], now_us=self.now_us) == ()
        if kind is OutcomeKind.COMPLETED:
            self.completed.add(name)
        elif kind is OutcomeKind.RELEASED:
            self.ready[name] += 1
        else:
            delay_us = requeue_delay_us(leased.deliveries + 1)
            self.delayed.append((self.now_us + delay_us, name))

    def note_eligible(self) -> None:
        eligible = {n for n in self.names if self.ready[n] and n not in self.paused}
        self.dispatched.open(eligible)
        self.completed.open(eligible)


@given(st.randoms(use_true_random=False), st.integers(1, 16), st.integers(1, 200))
@settings(max_examples=3_000 if IS_LONG else 60, deadline=None)
def test_no_short_history_breaks_the_bound_at_dispatch(
    source: random.Random, at_once: int, steps: int
) -> None:
    history = _History(source, at_once)
    for _ in range(steps):
        history.step(may_return=True)
        assert history.dispatched.worst <= 1


@pytest.mark.parametrize("at_once", [1, 2, 5, 16])
def test_keys_that_wait_are_at_most_one_entry_each_apart_at_dispatch(at_once: int) -> None:
    history = _History(random.Random(at_once), at_once)
    for _ in range(STEPS):
        history.step(may_return=True)
    assert history.dispatched.worst <= 1


def test_the_bound_at_dispatch_holds_across_the_end_of_the_range() -> None:
    history = _History(random.Random(7), 4, tag_limit=2**30)
    for _ in range(STEPS):
        history.step(may_return=True)
    assert history.dispatched.worst <= 1


@pytest.mark.parametrize("at_once", [1, 2, 5, 16])
def test_completed_service_is_at_most_what_is_leased_at_once_further_apart(at_once: int) -> None:
    history = _History(random.Random(at_once), at_once)
    for _ in range(STEPS):
        history.step(may_return=False)
    assert history.completed.worst <= at_once + 1


def test_random_histories_come_close_to_the_bound_at_dispatch() -> None:
    worst = []
    for seed in range(20):
        history = _History(random.Random(seed), 16)
        for _ in range(500):
            history.step(may_return=True)
        worst.append(history.dispatched.worst)
    assert sum(one >= 0.9 for one in worst) >= 10


def test_random_histories_drift_further_apart_in_completed_service() -> None:
    """Else the second bound would say no more than the first."""
    history = _History(random.Random(1), 16)
    for _ in range(STEPS):
        history.step(may_return=False)
    assert history.completed.worst > 1.5

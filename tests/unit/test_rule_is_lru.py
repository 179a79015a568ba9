"""With equal shares and cost 1 the rule leases exactly the key least recently leased from.

The engine is driven through random histories beside a model that knows
nothing of tags and virtual time: it remembers of each key when it was leased
from last, or when it first came to be eligible.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

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
    requeue_delay_us,
)

IS_LONG = bool(os.environ.get("RANCH_LONG"))
DECISIONS = 1_000_000 if IS_LONG else 100_000
QUEUE = "celery"
SECOND = 1_000_000
LEASE_US = 30 * SECOND
IDLE_US = SECOND
KEYS = [f"k{i}" for i in range(30)]


@dataclass
class _Entry:
    """What the model knows of an entry."""

    key: str
    place: int
    due_us: int = 0
    is_fresh: bool = True


@dataclass
class _Lru:
    """Least recently leased from goes first; before them who never was, by arrival."""

    leased: dict[str, int] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    ready: dict[str, dict[str, _Entry]] = field(default_factory=dict)
    delayed: dict[str, _Entry] = field(default_factory=dict)
    events: int = 0

    def next_event(self) -> int:
        self.events += 1
        return self.events

    def put(self, name: str, entry: _Entry, now_us: int) -> None:
        """Let an entry wait."""
        if entry.due_us > now_us:
            self.delayed[name] = entry
        else:
            entry.is_fresh = False
            self.ready.setdefault(entry.key, {})[name] = entry
            self.note_arrival(entry.key)

    def activate(self, now_us: int) -> None:
        due = [(e.due_us, e.place, name) for name, e in self.delayed.items() if e.due_us <= now_us]
        for _, _, name in sorted(due):
            entry = self.delayed.pop(name)
            if entry.is_fresh:
                entry.place = self.next_event()
            self.put(name, entry, now_us)

    def note_arrival(self, key: str) -> None:
        """Remember when a key nobody leased from came to be eligible first."""
        if self.ready.get(key) and key not in self.paused and key not in self.leased:
            self.arrived.setdefault(key, self.next_event())

    def choose(self) -> tuple[str, str] | None:
        """Return the key whose turn it is and its entry; note the turn."""
        eligible = [key for key, ready in self.ready.items() if ready and key not in self.paused]
        if not eligible:
            return None
        key = min(eligible, key=lambda key: (self.leased.get(key, 0), self.arrived.get(key, 0)))
        self.leased[key] = self.next_event()
        return key, min(self.ready[key], key=lambda name: self.ready[key][name].place)

    def forget(self, key: str) -> None:
        self.leased.pop(key, None)
        self.arrived.pop(key, None)


class _History:
    """One random history of the engine and of the model, compared turn by turn."""

    def __init__(self, source: random.Random, tag_limit: int) -> None:
        told = EngineSettings(lease_us=LEASE_US, idle_key_us=IDLE_US, max_deliveries=10**9)
        self.engine = MemoryEngine(told, tag_limit=tag_limit)
        self.lru = _Lru()
        self.random = source
        self.now_us = 1_000 * SECOND
        self.stored = 0
        self.held: list[tuple[str, Lease, _Entry]] = []
        self.leased_at_us: dict[str, int] = {}
        self.decisions = 0
        self.forgotten = 0
        self.acts: list[tuple[int, Callable[[], None]]] = [
            (30, self.store),
            (22, self.lease),
            (30, self.settle),
            (6, self.cancel),
            (3, self.pause),
            (6, self.resume),
            (3, self.reap),
            (1, self.beat),
        ]

    def step(self) -> None:
        self.now_us += self.random.choice([0, 0, 20_000, 200_000])
        (act,) = self.random.choices([a for _, a in self.acts], [weight for weight, _ in self.acts])
        act()
        if self.random.random() < 0.002:
            self.drain()

    def key(self) -> str:
        """Return a key; some are much busier than others."""
        return KEYS[min(self.random.randrange(len(KEYS)) for _ in range(3))]

    def store(self) -> None:
        key = self.key()
        for _ in range(self.random.choice([1, 1, 1, 3])):
            due_us = self.now_us + self.random.choice([0, 0, 0, 100_000, 3 * SECOND])
            name = f"e{self.stored}"
            self.stored += 1
            self.engine.enqueue(
                [Entry(name, (key,), QUEUE, b"", due_at_us=due_us)], now_us=self.now_us
            )
            self.lru.put(name, _Entry(key, self.lru.next_event(), due_us), self.now_us)

    def lease(self, limit: int = 0) -> None:
        limit = limit or self.random.randint(1, 4)
        worker = self.random.choice(["w1", "w2"])
        reply = self.engine.lease(worker, [QUEUE], limit, now_us=self.now_us)
        assert not reply.has_more
        self.lru.activate(self.now_us)
        for leased in reply.leases:
            assert self.lru.choose() == (leased.key[0], leased.entry_id)
            entry = self.lru.ready[leased.key[0]].pop(leased.entry_id)
            self.held.append((worker, leased, entry))
            self.leased_at_us[entry.key] = self.now_us
        if len(reply.leases) < limit:
            assert self.lru.choose() is None
        self.decisions += len(reply.leases)

    def settle(self) -> None:
        if self.held:
            kind = self.random.choices(
                [OutcomeKind.COMPLETED, OutcomeKind.RELEASED, OutcomeKind.REQUEUED], [6, 2, 1]
            )[0]
            self.settle_one(kind, self.random.randrange(len(self.held)))

    def settle_one(self, kind: OutcomeKind, index: int) -> None:
        worker, leased, entry = self.held.pop(index)
        due_in_us = 0
        if kind is OutcomeKind.RELEASED:
            due_in_us = self.random.choice([0, 0, 500_000])
        outcome = Outcome(kind, QUEUE, leased.entry_id, leased.number, due_in_us=due_in_us)
        assert self.engine.settle(worker, [outcome], now_us=self.now_us) == ()
        if kind is OutcomeKind.REQUEUED:
            due_in_us = requeue_delay_us(leased.deliveries + 1)
        if kind is not OutcomeKind.COMPLETED:
            entry.due_us = self.now_us + due_in_us
            self.lru.put(leased.entry_id, entry, self.now_us)

    def cancel(self) -> None:
        key = self.key()
        names = [name for name, _ in self.engine.pending(QUEUE, (key,))]
        if names:
            name = self.random.choice(names)
            assert self.engine.cancel(QUEUE, name, now_us=self.now_us) is not None
            self.lru.delayed.pop(name, None)
            self.lru.ready.get(key, {}).pop(name, None)

    def pause(self) -> None:
        key = self.key()
        self.engine.pause(QUEUE, (key,))
        self.lru.paused.add(key)

    def resume(self) -> None:
        key = self.key()
        self.engine.resume(QUEUE, (key,))
        self.lru.paused.discard(key)
        self.lru.note_arrival(key)

    def beat(self) -> None:
        self.engine.heartbeat(self.random.choice(["w1", "w2"]), now_us=self.now_us)

    def reap(self) -> None:
        """Take back what a worker held that was quiet for long, and forget idle keys."""
        self.engine.reap(10_000, now_us=self.now_us)
        still_held = self.engine.held("w1") | self.engine.held("w2")
        for item in list(self.held):
            _, leased, entry = item
            if (QUEUE, leased.entry_id, leased.number) not in still_held:
                self.held.remove(item)
                entry.due_us = self.now_us
                self.lru.put(leased.entry_id, entry, self.now_us)
        known = {snapshot.key[0] for snapshot in self.engine.keys(QUEUE, 0, 10_000)[1]}
        for key in set(KEYS) - known:
            self.check_is_idle(key)
            self.forgotten += key in self.lru.leased
            self.lru.forget(key)

    def check_is_idle(self, key: str) -> None:
        assert not self.lru.ready.get(key)
        assert all(entry.key != key for entry in self.lru.delayed.values())
        assert key not in self.lru.paused
        if key in self.lru.leased:
            assert self.now_us - self.leased_at_us[key] >= IDLE_US

    def drain(self) -> None:
        """Let the queue become idle, so that a new epoch begins."""
        for key in KEYS:
            self.engine.resume(QUEUE, (key,))
            self.lru.paused.discard(key)
            self.lru.note_arrival(key)
        self.lease(100_000)
        while self.held:
            self.settle_one(OutcomeKind.COMPLETED, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed, tag_limit", [(1, 2**52), (2, 2**24), (3, 2**52)])
def test_the_key_least_recently_leased_from_is_leased_next(seed: int, tag_limit: int) -> None:
    history = _History(random.Random(seed), tag_limit)
    while history.decisions < DECISIONS:
        history.step()
    assert history.forgotten > DECISIONS // 100


@given(
    st.randoms(use_true_random=False), st.integers(1, 300), st.sampled_from([2**23, 2**24, 2**52])
)
@settings(max_examples=2_000 if IS_LONG else 60, deadline=None)
def test_no_short_history_serves_anybody_else_first(
    source: random.Random, steps: int, tag_limit: int
) -> None:
    history = _History(source, tag_limit)
    for _ in range(steps):
        history.step()

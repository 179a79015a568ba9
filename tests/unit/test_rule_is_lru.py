"""With equal shares and cost 1 the rule leases exactly the key least recently leased from.

The engine is driven through random histories beside a model that knows
nothing of tags and virtual time: it remembers of each key at each level when
it was leased from last, or when it first came to be eligible.
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
DECISIONS = 1_000_000 if IS_LONG else 50_000
QUEUE = "celery"
SECOND = 1_000_000
LEASE_US = 30 * SECOND
IDLE_US = SECOND
KEYS = [f"k{i}" for i in range(30)]
LEVELS = (3, 7)


@dataclass
class _Entry:
    """What the model knows of an entry."""

    key: str
    place: int
    level: int
    due_us: int = 0
    is_fresh: bool = True


@dataclass
class _Lru:
    """Least recently leased from goes first; before them who never was, by arrival.

    So it is at each level, as if there were no other; the first level goes first.
    """

    leased: dict[tuple[int, str], int] = field(default_factory=dict)
    arrived: dict[tuple[int, str], int] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    ready: dict[tuple[int, str], dict[str, _Entry]] = field(default_factory=dict)
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
            self.ready.setdefault((entry.level, entry.key), {})[name] = entry
            self.note_arrival(entry.key)

    def activate(self, now_us: int) -> None:
        due = [(e.due_us, e.place, name) for name, e in self.delayed.items() if e.due_us <= now_us]
        for _, _, name in sorted(due):
            entry = self.delayed.pop(name)
            if entry.is_fresh:
                entry.place = self.next_event()
            self.put(name, entry, now_us)

    def note_arrival(self, key: str) -> None:
        """Remember when a key nobody leased from came to be eligible first, at each level."""
        for level in LEVELS:
            line = (level, key)
            if self.ready.get(line) and key not in self.paused and line not in self.leased:
                self.arrived.setdefault(line, self.next_event())

    def choose(self) -> tuple[str, str] | None:
        """Return the key whose turn it is and its entry; note the turn."""
        eligible = [
            line for line, ready in self.ready.items() if ready and line[1] not in self.paused
        ]
        if not eligible:
            return None
        line = min(
            eligible,
            key=lambda line: (line[0], self.leased.get(line, 0), self.arrived.get(line, 0)),
        )
        self.leased[line] = self.next_event()
        return line[1], min(self.ready[line], key=lambda name: self.ready[line][name].place)

    def has_ready(self, key: str) -> bool:
        return any(self.ready.get((level, key)) for level in LEVELS)

    def was_leased(self, key: str) -> bool:
        return any((level, key) in self.leased for level in LEVELS)

    def forget(self, key: str) -> None:
        for level in LEVELS:
            self.leased.pop((level, key), None)
            self.arrived.pop((level, key), None)


class _History:
    """One random history of the engine and of the model, compared turn by turn."""

    def __init__(
        self, source: random.Random, tag_limit: int, levels: tuple[int, ...] = LEVELS
    ) -> None:
        told = EngineSettings(lease_us=LEASE_US, idle_key_us=IDLE_US, max_deliveries=10**9)
        self.engine = MemoryEngine(told, tag_limit=tag_limit)
        self.lru = _Lru()
        self.random = source
        self.levels = levels
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
            level = self.random.choice(self.levels)
            stored = Entry(name, (key,), QUEUE, b"", due_at_us=due_us, level=level)
            self.engine.enqueue([stored], now_us=self.now_us)
            self.lru.put(name, _Entry(key, self.lru.next_event(), level, due_us), self.now_us)

    def lease(self, limit: int = 0) -> None:
        limit = limit or self.random.randint(1, 4)
        worker = self.random.choice(["w1", "w2"])
        reply = self.engine.lease(worker, [QUEUE], limit, now_us=self.now_us)
        assert not reply.has_more
        self.lru.activate(self.now_us)
        for leased in reply.leases:
            assert self.lru.choose() == (leased.key[0], leased.entry_id)
            entry = self.lru.ready[leased.level, leased.key[0]].pop(leased.entry_id)
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
            for level in LEVELS:
                self.lru.ready.get((level, key), {}).pop(name, None)

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
            self.forgotten += self.lru.was_leased(key)
            self.lru.forget(key)

    def check_is_idle(self, key: str) -> None:
        assert not self.lru.has_ready(key)
        assert all(entry.key != key for entry in self.lru.delayed.values())
        assert key not in self.lru.paused
        if self.lru.was_leased(key):
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
@pytest.mark.timeout(1_800 if IS_LONG else 300)
@pytest.mark.parametrize(
    "seed, tag_limit, levels",
    [(1, 2**52, (3,)), (2, 2**24, (7,)), (3, 2**52, LEVELS), (4, 2**24, LEVELS)],
)
def test_the_key_least_recently_leased_from_is_leased_next(
    seed: int, tag_limit: int, levels: tuple[int, ...]
) -> None:
    history = _History(random.Random(seed), tag_limit, levels)
    while history.decisions < DECISIONS:
        history.step()
    assert history.forgotten > DECISIONS // 100


@given(
    st.randoms(use_true_random=False),
    st.integers(1, 300),
    st.sampled_from([2**23, 2**24, 2**52]),
    st.sampled_from([LEVELS, (3,)]),
)
@settings(max_examples=2_000 if IS_LONG else 60, deadline=None)
def test_no_short_history_serves_anybody_else_first(
    source: random.Random, steps: int, tag_limit: int, levels: tuple[int, ...]
) -> None:
    history = _History(source, tag_limit, levels)
    for _ in range(steps):
        history.step()

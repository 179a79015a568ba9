"""Random histories of a tree of keys, beside a model of who may be served.

The model knows what waits, what is paused, at a limit or held back by a rate,
and nothing of tags: so it says which siblings race, and ledgers what they get.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.limits import NO_LIMITS, Limits, Rate
from celery_ranch.scheduling.model import (
    CHARGE_UNIT,
    EngineSettings,
    Entry,
    KeyPath,
    Lease,
    Outcome,
    OutcomeKind,
    charge,
    requeue_delay_us,
)
from celery_ranch.scheduling.nodes import OWN
from celery_ranch.scheduling.race import rescaled_lead
from tests.bounds import Charged, Child, Completed, Dispatched, Ledger

__all__ = ["History", "random_nodes"]

QUEUE = "celery"
SECOND = 1_000_000
LEVELS = (3, 7)
COSTS = (1, CHARGE_UNIT // 3, CHARGE_UNIT, CHARGE_UNIT, 2_500_000, 40_000_000)
RUNS_US = (1, 1_000, SECOND, SECOND, 30 * SECOND)
RATES = (None, None, Rate(150_000), Rate(400_000, 3))


def random_nodes(source: random.Random) -> list[KeyPath]:
    """Return the paths of a random tree of up to three parts, parents first."""
    nodes: list[KeyPath] = []

    def grow(parent: KeyPath, least: int) -> None:
        for name in "abcd"[: source.randint(least, 4 - len(parent))]:
            nodes.append((*parent, name))
            if len(parent) < 2 and source.random() < 0.5:
                grow((*parent, name), 1)

    grow((), 2)
    return nodes


@dataclass(slots=True)
class _Entry:
    """What the model knows of an entry that waits or is leased."""

    leaf: KeyPath
    level: int
    cost: int | None
    due_us: int | None = None
    thought: int = 0


@dataclass
class History:
    """One random history of an engine, and what it comes to in the ledgers.

    Args:
        source: Where chance comes from.
        at_once: How many entries are leased at once.
        is_measured: Whether costs are measured; else each entry says its own.
        may_return: Whether entries are given back and expire: then what was
            charged for was not all served.
        costs: What entries say that they cost, in millionths.
        runs_us: How long they take where that is measured, if `runs_us_of`
            says nothing of their key.
    """

    source: random.Random
    at_once: int
    is_measured: bool = False
    may_return: bool = False
    costs: tuple[int, ...] = COSTS
    runs_us: tuple[int, ...] = RUNS_US
    runs_us_of: dict[KeyPath, tuple[int, ...]] = field(default_factory=dict)
    shares_within: tuple[float, float] = (0.01, 100.0)
    tag_limit: int = 2**52
    level_floor: int = 0
    now_us: int = 1_000 * SECOND
    shares: dict[KeyPath, float] = field(default_factory=dict)
    limits: dict[KeyPath, Limits] = field(default_factory=dict)
    paused: set[KeyPath] = field(default_factory=set)

    def __post_init__(self) -> None:
        told = EngineSettings(
            max_deliveries=10**9, idle_key_us=5 * SECOND, level_floor=self.level_floor
        )
        self.engine = MemoryEngine(told, tag_limit=self.tag_limit)
        self.nodes = random_nodes(self.source)
        self.inner = {node[:-1] for node in self.nodes}
        self.entries: dict[str, _Entry] = {}
        self.held: list[tuple[Lease, _Entry]] = []
        self.stored = 0
        self.ready: Counter[Child] = Counter()
        self.in_service: Counter[KeyPath] = Counter()
        self.arrival_us: dict[KeyPath, int] = {}
        self.held_back: dict[KeyPath, int] = {}
        self.racing: set[Child] = set()
        self.racing_below: Counter[Child] = Counter()
        self.dispatched = Dispatched()
        self.completed = Completed(self.at_once, self.charge_of)
        self.charged = Charged(self.at_once, self.charge_of)
        self.ledgers: tuple[Ledger, ...] = (self.dispatched, self.completed, self.charged)
        self.acts = [
            (25, self.store),
            (40, self.lease),
            (30, self.settle),
            (2, self.cancel),
            (2, self.pause),
            (4, self.resume),
            (0.5, self.reshare),
            (1, self.limit),
            (0.5, self.reap),
        ]

    def run(self, steps: int) -> History:
        """Do that many things at random."""
        acts, weights = [act for _, act in self.acts], [weight for weight, _ in self.acts]
        for _ in range(steps):
            self.now_us += self.source.choice([0, 0, 50_000, 200_000])
            self.source.choices(acts, weights)[0]()
        return self

    def charge_of(self, path: KeyPath, cost: int) -> int:
        """Return what a cost charges a node at its present share."""
        return charge(self.shares.get(path, 1.0), cost)

    def leaf(self, key: KeyPath) -> KeyPath:
        """Return under what the entries of a key wait."""
        return (*key, OWN) if key in self.inner else key

    # -- what is done -------------------------------------------------------------

    def store(self) -> None:
        key, level = self.source.choice(self.nodes), self.source.choice(LEVELS)
        for _ in range(self.source.choice([1, 2, 6])):
            cost = None if self.is_measured else self.source.choice(self.costs)
            due_us = self.now_us + 100_000 if self.source.random() < 0.1 else None
            expires = 1 if self.may_return and self.source.random() < 0.05 else None
            self.put(key, level, cost, due_us, expires)

    def put(
        self,
        key: KeyPath,
        level: int,
        cost: int | None,
        due_us: int | None = None,
        expires_us: int | None = None,
    ) -> None:
        """Store an entry, unless a backlog is full."""
        self.stored += 1
        entry = _Entry(self.leaf(key), level, cost, due_us)
        name = f"e{self.stored}"
        stored = Entry(name, key, QUEUE, b"", due_us, None, expires_us, level=level, cost=cost)
        reply = self.engine.enqueue([stored], now_us=self.now_us)
        assert bool(reply.stored) is not self.is_full(key)
        if reply.stored:
            self.entries[name] = entry
            self.let_wait(entry)

    def lease(self, limit: int = 0) -> None:
        limit = limit or self.source.randint(1, self.at_once)
        limit = min(limit, self.at_once - len(self.held))
        for entry in self.entries.values():
            if entry.due_us is not None and entry.due_us <= self.now_us:
                entry.due_us = None
                self.let_wait(entry)
        for path in [p for p, start_us in self.held_back.items() if start_us <= self.now_us]:
            del self.held_back[path]
            self.look_at(path)
        leases = self.engine.lease("w", [QUEUE], limit, now_us=self.now_us).leases
        handed_over = [(leased, self.hand_over(leased)) for leased in leases]
        self.held += [item for item in handed_over if not item[0].is_expired]
        if sum(not leased.is_expired for leased in leases) < limit:
            assert not any(self.racing_below[level, ()] for level in LEVELS)
        for leased, entry in handed_over:
            if leased.is_expired:
                self.end(leased, entry, OutcomeKind.COMPLETED)

    def hand_over(self, leased: Lease) -> _Entry:
        """Count an entry that was leased, in the ledgers and against limits."""
        entry = self.entries.pop(leased.entry_id)
        assert {(entry.level, path) for path in _way(entry.leaf)} <= self.racing
        if not self.level_floor:
            assert entry.level == min(lv for lv in LEVELS if self.racing_below[lv, ()])
        self.ready[entry.level, entry.leaf] -= 1
        if not leased.is_expired:
            entry.thought = self.thought_to_cost(leased) if entry.cost is None else entry.cost
        for path in _way(entry.leaf):
            self.in_service[path] += 1
            if leased.is_expired:
                continue
            child = (entry.level, path)
            self.dispatched.add(child, self.charge_of(path, entry.thought))
            for ledger in (self.completed, self.charged):
                ledger.outstanding(child, entry.thought)
            rate = self.limits.get(path, NO_LIMITS).rate
            if rate is not None:
                at_us = max(self.now_us, self.arrival_us.get(path, 0))
                self.arrival_us[path] = at_us + rate.interval_us
        self.judge(_way(entry.leaf))
        self.look_at(entry.leaf)
        return entry

    def settle(self) -> None:
        if self.held:
            leased, entry = self.held.pop(self.source.randrange(len(self.held)))
            kinds = [OutcomeKind.COMPLETED]
            if self.may_return or self.is_measured:
                kinds += [OutcomeKind.RELEASED, OutcomeKind.REQUEUED]
            self.end(leased, entry, self.source.choice(kinds))

    def end(self, leased: Lease, entry: _Entry, kind: OutcomeKind) -> None:
        """Let a lease end; what was released never ran, and what was expired did not."""
        run_us = None
        if entry.cost is None and kind is not OutcomeKind.RELEASED and not leased.is_expired:
            run_us = self.source.choice(self.runs_us_of.get(leased.key, self.runs_us))
        outcome = Outcome(kind, QUEUE, leased.entry_id, leased.number, run_us=run_us)
        assert self.engine.settle("w", [outcome], now_us=self.now_us) == ()
        for path in _way(entry.leaf):
            self.in_service[path] -= 1
            if not leased.is_expired:
                cost = entry.cost if entry.cost is not None else run_us or 0
                for ledger in (self.completed, self.charged):
                    ledger.ended((entry.level, path), entry.thought, cost)
        self.judge(_way(entry.leaf))
        self.look_at(entry.leaf)
        if kind is not OutcomeKind.COMPLETED:
            if kind is OutcomeKind.REQUEUED:
                entry.due_us = self.now_us + requeue_delay_us(leased.deliveries + 1)
            self.entries[leased.entry_id] = entry
            self.let_wait(entry)

    def cancel(self) -> None:
        if self.entries:
            entry_id = self.source.choice(list(self.entries))
            assert self.engine.cancel(QUEUE, entry_id, now_us=self.now_us) is not None
            entry = self.entries.pop(entry_id)
            self.ready[entry.level, entry.leaf] -= entry.due_us is None
            self.look_at(entry.leaf)

    def pause(self) -> None:
        path = self.source.choice(self.nodes)
        self.engine.pause(QUEUE, path)
        self.paused.add(path)
        self.look_at(path)

    def resume(self) -> None:
        if self.paused:
            path = self.source.choice(sorted(self.paused))
            self.engine.resume(QUEUE, path)
            self.paused.discard(path)
            self.look_at(path)

    def reshare(self) -> None:
        path = self.source.choice(self.nodes)
        was, (least, most) = self.shares.get(path, 1.0), self.shares_within
        share = round(10 ** self.source.uniform(math.log10(least), math.log10(most)), 4)
        self.engine.set_share(QUEUE, path, share, now_us=self.now_us)
        self.shares[path] = share
        for level in LEVELS:
            child = (level, path)
            self.dispatched.last[child] = rescaled_lead(
                self.dispatched.last[child], charge(was), charge(share)
            )
            if child in self.racing:
                for ledger in self.ledgers:
                    ledger.leave(child)
                    ledger.enter(child)

    def limit(self) -> None:
        path, choose = self.source.choice(self.nodes), self.source.choice
        limits = Limits(choose([None, None, 1, 2, 3]), choose(RATES), choose([None, None, 5, 20]))
        self.engine.set_limits(QUEUE, path, limits, now_us=self.now_us)
        if limits != self.limits.get(path, NO_LIMITS):
            self.limits[path] = limits
            if limits.rate is not None and path in self.arrival_us:
                latest_us = self.now_us + limits.rate.interval_us * limits.rate.burst
                self.arrival_us[path] = min(self.arrival_us[path], latest_us)
            self.judge([path])
            self.look_at(path)

    def reap(self) -> None:
        """Let what is idle be forgotten."""
        self.engine.heartbeat("w", now_us=self.now_us)
        self.engine.reap(1_000, now_us=self.now_us)
        assert [*self.engine.check(QUEUE)] == []

    # -- who may be served ----------------------------------------------------------

    def is_full(self, key: KeyPath) -> bool:
        """Return whether the backlog of some node on a key's way has no room."""
        return any(
            (most := self.limits.get(path, NO_LIMITS).backlog) is not None
            and most <= sum(entry.leaf[: len(path)] == path for entry in self.entries.values())
            for path in _way(key)
        )

    def let_wait(self, entry: _Entry) -> None:
        if entry.due_us is None:
            self.ready[entry.level, entry.leaf] += 1
            self.look_at(entry.leaf)

    def judge(self, paths: Iterable[KeyPath]) -> None:
        """Hold nodes back whose rates let none start now."""
        for path in paths:
            rate = self.limits.get(path, NO_LIMITS).rate
            if rate is None:
                self.arrival_us.pop(path, None)
            start_us = 0
            if rate is not None:
                start_us = self.arrival_us.get(path, 0) - rate.interval_us * (rate.burst - 1)
            self.held_back.pop(path, None)
            if start_us > self.now_us:
                self.held_back[path] = start_us

    def look_at(self, leaf: KeyPath) -> None:
        """Let each node on a way race, or not, now that something changed there."""
        for path in reversed([*_way(leaf)]):
            most = self.limits.get(path, NO_LIMITS).concurrency
            is_full = most is not None and self.in_service[path] >= most
            is_blocked = is_full or path in self.paused or path in self.held_back
            for child in ((level, path) for level in LEVELS):
                has_work = self.ready[child] or self.racing_below[child]
                if (may_race := bool(has_work and not is_blocked)) is (child in self.racing):
                    continue
                self.racing_below[child[0], path[:-1]] += 1 if may_race else -1
                (self.racing.add if may_race else self.racing.remove)(child)
                for ledger in self.ledgers:
                    (ledger.enter if may_race else ledger.leave)(child)

    def thought_to_cost(self, leased: Lease) -> int:
        """Return with what cost the engine served an entry whose cost is measured."""
        queue = self.engine._queues[QUEUE]
        held = queue.leases.find("w", leased.number, leased.entry_id)
        assert held is not None
        assert held.charged is not None
        return held.charged


def _way(leaf: KeyPath) -> Iterator[KeyPath]:
    """Yield each node from the root to a leaf."""
    return (leaf[:size] for size in range(1, len(leaf) + 1))

"""The same random history gives the same replies and the same state in every engine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.limits import UNLIMITED, Limits, Rate
from celery_ranch.scheduling.model import (
    CHARGE_UNIT,
    TAG_LIMIT,
    EngineSettings,
    Entry,
    KeySnapshot,
    Lease,
    Outcome,
    OutcomeKind,
    Publish,
    Withdrawal,
)
from celery_ranch.scheduling.policies import Depth, Tag, Weighed
from celery_ranch.scheduling.withdrawals import DeadCursor, Move
from tests.conformance.states import state_in_memory, state_in_redis
from tests.redis_invariants import check_queue

IS_LONG = bool(os.environ.get("RANCH_LONG"))

QUEUES = ("q", "r {1}")
KEYS = (
    ("a",),
    ("a", "x"),
    ("a", "y"),
    ("b",),
    ("b", "x", "1"),
    ("b", "y\x1f\x1e1", "2"),
    ("dé d",),
)
#: Keys, and what none of the entries has as its key: a node between, one below.
PATHS = (*KEYS, ("b", "x"), ("a", "y", "deep"))
TAGS = ("tier=premium", "tier=free", "is=slow")
TARGETS = (*PATHS, *map(Tag, TAGS), Depth(1), Depth(2), Depth(3))
#: What is noted of keys: none, a little, half of what there is room for.
TEXTS = (None, "1", '"é"', '"' + "x" * 4_000 + '"')
WORKERS = ("w1", "w2", "w 3")
SHARES = (None, 0.01, 0.3, 1.0, 3.0, 100.0)
RATES = (None, None, Rate(UNLIMITED), Rate(100_000), Rate(2_000_000, 3), Rate(30_000_000, 2))
LEVELS = (5, 5, 5, 0, 10)
COSTS = (CHARGE_UNIT, None, 2_500_000, 1)
RUNS_US = (None, None, 0, 1, 80_000, 2_500_000)
LEASE_US = 9_000_000
START_US = 1_760_000_000_000_000

SETTINGS = EngineSettings(
    lease_us=LEASE_US,
    max_deliveries=2,
    dead_letter_limit=3,
    idle_key_us=10**15,
    level_floor=0,
)

queues = st.sampled_from(QUEUES)
keys = st.sampled_from(KEYS)
paths = st.sampled_from(PATHS)
targets = st.sampled_from(TARGETS)
share_targets = st.sampled_from((*TARGETS, *map(Weighed, PATHS)))
counts = st.sampled_from([None, None, UNLIMITED, 1, 2, 20])
limits = st.builds(Limits, counts, st.sampled_from(RATES), counts)
workers = st.sampled_from(WORKERS)
helpers = st.sampled_from(["h", "i"])
#: Mostly none: what is withdrawn is cancelled then.
moves = st.none() | st.builds(Move, queues, st.none() | paths)
delays = st.sampled_from([-5, 0, 1, 100_000, 2_000_000, 30_000_000])
maybe_delays = st.none() | delays
entries = st.builds(
    Entry,
    entry_id=st.sampled_from([f"e{n}" for n in range(12)]),
    key=keys,
    queue=queues,
    message=st.binary(max_size=8),
    due_in_us=st.none() | maybe_delays,
    expires_in_us=st.none() | st.none() | maybe_delays,
    level=st.sampled_from(LEVELS),
    cost=st.sampled_from(COSTS),
    is_exempt=st.booleans(),
)
#: Few of each, so that numbers are repeated, late, and new.
publishes = st.none() | st.builds(Publish, st.sampled_from(["p", "q"]), st.integers(1, 12))


class EnginesAgree(RuleBasedStateMachine):
    """Tells both engines the same and compares what they say."""

    settings = SETTINGS
    tag_limit = TAG_LIMIT
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"test-{secrets.token_hex(8)}:"
        self.memory = MemoryEngine(self.settings, tag_limit=self.tag_limit)
        self.redis = RedisEngine(
            self.url, prefix=self.prefix, settings=self.settings, tag_limit=self.tag_limit
        )
        self.client = redis.Redis.from_url(self.url)
        self.now_us = START_US
        self.leases: list[tuple[str, Lease]] = []
        self.engines = (self.memory, self.redis)
        self.withdrawals: list[tuple[Withdrawal, list[str]]] = []
        self.fresh_ids = 0
        self.steps = 0

    def teardown(self) -> None:
        self.check_redis()
        for name in list(self.client.scan_iter(match=f"{self.prefix}*", count=1_000)):
            self.client.delete(name)
        self.client.close()
        self.redis.close()

    def both(self, verb: str, *args: Any, **named: Any) -> Any:
        expected = getattr(self.memory, verb)(*args, **named)
        assert getattr(self.redis, verb)(*args, **named) == expected
        return expected

    def now(self, verb: str, *args: Any) -> Any:
        return self.both(verb, *args, now_us=self.now_us)

    @initialize()
    def let_reaping_run_from_the_start(self) -> None:
        self.now("reap", 1)

    @rule(
        us=st.sampled_from([-2_000_000, 0, 1, 99_999, 100_000, 2_000_000, LEASE_US // 3, LEASE_US])
    )
    def pass_time(self, us: int) -> None:
        self.now_us += us

    @rule(batch=st.lists(entries, min_size=1, max_size=6), publish=publishes)
    def enqueue(self, batch: list[Entry], publish: Publish | None) -> None:
        self.both("enqueue", batch, publish=publish, now_us=self.now_us)

    @rule(batch=st.lists(entries, min_size=1, max_size=6), publish=publishes)
    def enqueue_under_new_ids(self, batch: list[Entry], publish: Publish | None) -> None:
        self.fresh_ids += 1
        named = [
            replace(entry, entry_id=f"{self.fresh_ids}-{place}")
            for place, entry in enumerate(batch)
        ]
        self.both("enqueue", named, publish=publish, now_us=self.now_us)

    @rule(
        count=st.integers(120, 300),
        queue=queues,
        key=keys,
        due_in_us=maybe_delays,
        expires_in_us=maybe_delays,
        level=st.sampled_from(LEVELS),
    )
    def flood(self, count: int, queue: str, key: Any, **facts: Any) -> None:
        self.fresh_ids += 1
        flood = Entry("", key, queue, b"", **facts)
        ids = [f"{self.fresh_ids}-{place}" for place in range(count)]
        self.now("enqueue", [replace(flood, entry_id=entry_id) for entry_id in ids])

    @rule(
        worker=workers,
        names=st.lists(queues, min_size=1, max_size=2, unique=True),
        limit=st.integers(1, 16),
    )
    def lease(self, worker: str, names: list[str], limit: int) -> None:
        leased = self.now("lease", worker, names, limit)
        self.leases += [(worker, lease) for lease in leased.leases]

    @rule(
        worker=workers,
        reports=st.lists(
            st.tuples(
                st.integers(0, 30),
                st.sampled_from(OutcomeKind),
                st.sampled_from([0, 0, 0, 0, 1]),
                delays,
                st.sampled_from(RUNS_US),
            ),
            min_size=1,
            max_size=8,
        ),
    )
    def settle(self, worker: str, reports: list[Any]) -> None:
        outcomes = []
        for back, kind, wrong_by, delay, run_us in reports:
            known = [lease for holder, lease in self.leases[-31:] if holder == worker]
            if known:
                lease = known[-1 - back % len(known)]
                number = lease.number + wrong_by
                outcomes.append(
                    Outcome(kind, lease.queue, lease.entry_id, number, "why not", delay, run_us)
                )
        self.now("settle", worker, outcomes)

    @rule(worker=workers, run_us=st.sampled_from(RUNS_US))
    def complete_all(self, worker: str, run_us: int | None) -> None:
        held = sorted(self.both("held", worker))
        outcomes = [Outcome(OutcomeKind.COMPLETED, *lease, run_us=run_us) for lease in held]
        self.now("settle", worker, outcomes)

    @rule(limit=st.sampled_from([1, 2, 1_000]))
    def reap(self, limit: int) -> None:
        self.now("reap", limit)
        # Which nodes a small limit looks at is up to the engine, and in which order:
        # let all be looked at, and those above them again when they are forgotten.
        for _ in range(4):
            self.now("reap", 1_000)

    @rule(queue=queues, of=share_targets, share=st.sampled_from(SHARES))
    def set_share(self, queue: str, of: Any, share: float | None) -> None:
        self.now("set_share", queue, of, share)

    @rule(queue=queues, of=targets, limits=limits)
    def set_limits(self, queue: str, of: Any, limits: Limits) -> None:
        self.now("set_limits", queue, of, limits)

    @rule(queue=queues, path=paths, tag=st.sampled_from(TAGS), is_only=st.booleans())
    def tag(self, queue: str, path: Any, tag: str, is_only: bool) -> None:
        self.both("add_tag", queue, path, tag, is_only=is_only)

    @rule(queue=queues, path=paths, tag=st.sampled_from(TAGS))
    def untag(self, queue: str, path: Any, tag: str) -> None:
        self.both("remove_tag", queue, path, tag)

    @rule(
        queue=queues,
        path=paths,
        name=st.sampled_from(["x", "an é"]),
        text=st.sampled_from(TEXTS),
    )
    def note(self, queue: str, path: Any, name: str, text: str | None) -> None:
        self.both("set_data", queue, path, name, text)

    @rule(queue=queues, path=paths, tag=st.sampled_from([*TAGS, "tier="]))
    def look(self, queue: str, path: Any, tag: str) -> None:
        self.both("details", queue, path)
        self.both("tagged", queue, tag)

    @rule(queue=queues, path=paths, is_paused=st.booleans())
    def pause(self, queue: str, path: Any, is_paused: bool) -> None:
        self.both("pause" if is_paused else "resume", queue, path)

    @rule(names=st.lists(queues, min_size=1, max_size=2, unique=True))
    def wait_or_wake(self, names: list[str]) -> None:
        if self.both("wait", names, 0):
            self.both("wake", names)

    @rule(queue=queues, key=keys, place=st.integers(0, 5))
    def cancel(self, queue: str, key: Any, place: int) -> None:
        backlog = self.both("pending", queue, key, place, 1)
        self.now("cancel", queue, backlog[0][0] if backlog else "e1")

    @rule(queue=queues, path=paths, helper=helpers, move=moves)
    def withdraw(self, queue: str, path: Any, helper: str, move: Move | None) -> None:
        begun = [
            engine.withdraw(queue, path, helper, move=move, now_us=self.now_us)
            for engine in self.engines
        ]
        assert begun[0] == begun[1]
        if begun[0] is not None:
            self.withdrawals.append((begun[0], []))

    @rule(queue=queues, key=keys, place=st.integers(0, 5), helper=helpers, move=moves)
    def move_entry(self, queue: str, key: Any, place: int, helper: str, move: Move | None) -> None:
        backlog = self.both("pending", queue, key, place, 1)
        if move is not None:
            entry_id = backlog[0][0] if backlog else "e1"
            begun = self.now("move_entry", queue, entry_id, helper, move)
            if isinstance(begun, Withdrawal):
                self.withdrawals.append((begun, []))

    @rule(
        back=st.integers(0, 3),
        helper=helpers,
        limit=st.sampled_from([1, 2, 40, 1_000]),
        is_done=st.booleans(),
    )
    def carry_out(self, back: int, helper: str, limit: int, is_done: bool) -> None:
        if not self.withdrawals:
            return
        withdrawal, done = self.withdrawals[-1 - back % len(self.withdrawals)]
        replies = [
            engine.carry_out(withdrawal, helper, limit, done=done, now_us=self.now_us)
            for engine in self.engines
        ]
        entries = [[(e.entry_id, e.number, e.message) for e in reply.entries] for reply in replies]
        assert entries[0] == entries[1]
        assert replace(replies[0], entries=()) == replace(replies[1], entries=())
        done[:] = [entry_id for entry_id, _, _ in entries[0]]
        if replies[0].entries and (move := replies[0].move):
            taken = [
                engine.arrive(
                    move.queue, reply.token, reply.entries, key=move.key, now_us=self.now_us
                )
                for engine, reply in zip(self.engines, replies, strict=True)
            ]
            assert taken[0] == taken[1]
            is_done = is_done and not taken[0]
        if not is_done:
            done.clear()

    @rule(
        queue=queues, key=st.none() | paths, is_retried=st.booleans(), limit=st.sampled_from([1, 9])
    )
    def sweep_dead(self, queue: str, key: Any, is_retried: bool, limit: int) -> None:
        cursor: DeadCursor | None = DeadCursor()
        while cursor is not None:
            swept = [
                engine.sweep_dead(
                    queue, key, limit, is_retried=is_retried, cursor=cursor, now_us=self.now_us
                )
                for engine in self.engines
            ]
            assert swept[0] == swept[1]
            cursor = swept[0].cursor

    @rule(queue=queues, place=st.integers(0, 2), is_retried=st.booleans(), worker=workers)
    def bring_back_the_dead(self, queue: str, place: int, is_retried: bool, worker: str) -> None:
        self.now("heartbeat", worker)
        letters = self.both("dead_letters", queue, place, 1)
        entry_id = letters[0].entry_id if letters else "e1"
        if is_retried:
            self.now("retry_dead", queue, entry_id)
        else:
            self.both("delete_dead", queue, entry_id)

    @invariant()
    def state_is_the_same(self) -> None:
        self.both("queues")
        for queue in QUEUES:
            self.now("snapshot", queue)
            self.both("dead_letters", queue)
            assert _all_keys(self.redis, queue) == _all_keys(self.memory, queue)
            assert state_in_redis(
                self.client, self.prefix, queue, self.tag_limit
            ) == state_in_memory(self.memory, queue)
        for worker in WORKERS:
            self.both("held", worker)
        self.steps += 1
        if self.steps % 10 == 0:
            self.check_redis()

    def explain(self, queue: str, entry_id: str, most: int = 1_000) -> None:
        self.both("explain", queue, entry_id, most=most, now_us=self.now_us)

    def check_redis(self) -> None:
        for queue in QUEUES:
            for place, key in enumerate(KEYS):
                waiting = self.both("pending", queue, key, 0, 20)
                # Any of them, by and by, and looking at few siblings as at many.
                for entry_id, _ in waiting[self.steps % 20 :][:1] or waiting[-1:]:
                    self.explain(queue, entry_id, (1, 2, 5, 1_000)[place % 4])
            for entry_id in [lease.entry_id for _, lease in self.leases[-4:]]:
                self.explain(queue, entry_id)
            for letter in self.both("dead_letters", queue, 0, 1):
                self.explain(queue, letter.entry_id)
            known = list(_all_keys(self.memory, queue))
            self.both("measure", queue, known)
            one, other = (e.survey(queue) for e in (self.redis, self.memory))
            assert (one.stored, one.known) == (other.stored, other.known)
            # A level that was ever come to is kept in Redis.
            assert [each for each in one.levels if any(astuple(each)[1:])] == [
                each for each in other.levels if any(astuple(each)[1:])
            ]
            check_queue(self.client, self.prefix, queue)
            assert [*self.redis.check(queue, 3)] == [*self.memory.check(queue)] == []


class EnginesAgreeOnForgetting(EnginesAgree):
    """Keys are forgotten after two seconds."""

    settings = replace(SETTINGS, idle_key_us=2_000_000)


class EnginesAgreeOnLevels(EnginesAgree):
    """No level starves."""

    settings = replace(SETTINGS, level_floor=90_909)

    @initialize()
    def let_several_levels_wait(self) -> None:
        for queue in QUEUES:
            for level in (0, 5, 10):
                self.flood(120, queue, ("a",), level=level)


class EnginesAgreeOnWithdrawals(EnginesAgree):
    """Something is being withdrawn from the start, some of it leased before."""

    @initialize()
    def withdraw_all(self) -> None:
        for queue in QUEUES:
            for key in KEYS:
                due = Entry("", key, queue, b"")
                self.enqueue_under_new_ids([due, due, replace(due, due_in_us=100_000)], None)
            self.lease("w1", [queue], 5)
            for path in {key[:1]: None for key in KEYS}:
                self.withdraw(queue, path, "h", None)


class EnginesAgreeAtTheEndOfTheRange(EnginesAgree):
    """Tags are shifted every few leases, because leasing is dear."""

    tag_limit = 2**30

    @initialize()
    def make_leasing_dear(self) -> None:
        for queue in QUEUES:
            for depth in range(1, 4):
                self.now("set_share", queue, Depth(depth), 0.01)


def _all_keys(engine: Any, queue: str) -> dict[Any, KeySnapshot]:
    found: dict[Any, KeySnapshot] = {}
    cursor = 0
    while True:
        cursor, page = engine.keys(queue, cursor)
        found |= {snapshot.key: snapshot for snapshot in page}
        if not cursor:
            return found


@pytest.mark.timeout(3_600 if IS_LONG else 600)
@pytest.mark.parametrize(
    "machine",
    [
        EnginesAgree,
        EnginesAgreeOnForgetting,
        EnginesAgreeOnLevels,
        EnginesAgreeOnWithdrawals,
        EnginesAgreeAtTheEndOfTheRange,
    ],
)
def test_every_history_gives_the_same_replies_in_both_engines(
    machine: type[EnginesAgree], redis_url: str
) -> None:
    class OnThisServer(machine):  # type: ignore[misc,valid-type]
        url = redis_url

    profile = settings(
        max_examples=1_000 if IS_LONG else 40,
        stateful_step_count=100 if IS_LONG else 40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    make: Callable[[], RuleBasedStateMachine] = OnThisServer
    run_state_machine_as_test(make, settings=profile)

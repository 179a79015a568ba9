"""What `check` finds in a real Redis of nodes that are no keys alone: parents, races, limits."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import EngineSettings, Entry
from tests.conformance.histories import QUEUE
from tests.redis_invariants import check_queue

HOUR_US = 3_600_000_000
JOIN = "\x1f"


class Store:
    """A queue whose keys lie below others, and the means to break it."""

    def __init__(self, client: Any, engine: RedisEngine) -> None:
        self.client = client
        self.engine = engine
        engine.add_tag(QUEUE, ("acme", "alice"), "tier=gold")
        engine.set_data(QUEUE, ("acme",), "cores", "4")
        engine.set_limits(QUEUE, ("slow",), limits_of(rate="1/h"))
        engine.set_limits(QUEUE, ("full", "one"), limits_of(concurrency=1))
        engine.enqueue(
            [
                *self._entries(("acme",), 2),
                *self._entries(("acme", "alice"), 3),
                *self._entries(("acme", "bob"), 2, due_in_us=HOUR_US),
                *self._entries(("acme", "bob"), 1, level=9),
                *self._entries(("slow",), 2, level=0),
                *self._entries(("full", "one"), 2, level=1),
            ]
        )
        assert len(engine.lease("w", [QUEUE], 3).leases) == 3

    @staticmethod
    def _entries(key: tuple[str, ...], count: int, **facts: Any) -> list[Entry]:
        names = (f"{'-'.join(key)}-{n}-{facts.get('level', 5)}" for n in range(count))
        late = "-late" if facts.get("due_in_us") else ""
        return [Entry(name + late, key, QUEUE, b"", **facts) for name in names]

    def name(self, kind: str) -> str:
        return f"{self.engine.prefix}{{{QUEUE}}}:{kind}"

    def rewrite(self, kind: str, field: str, packed: str, at: int, by: float) -> None:
        """Add to one number of a packed record."""
        record = bytearray(self.client.hget(self.name(kind), field))
        (value,) = struct.unpack_from(packed, record, at)
        struct.pack_into(packed, record, at, value + by)
        self.client.hset(self.name(kind), field, bytes(record))

    @property
    def slow_timer(self) -> bytes:
        (timer,) = [
            one
            for one in self.client.zrange(self.name("timers"), 0, -1)
            if one.endswith(f"{JOIN}slow".encode())
        ]
        return bytes(timer)

    def found(self) -> set[tuple[str, str]]:
        return {(one.kind.value, one.name) for one in self.engine.check(QUEUE, 5)}


@pytest.fixture
def store(redis_url: str, redis_prefix: str) -> Iterator[Store]:
    engine = RedisEngine(redis_url, redis_prefix, EngineSettings(lease_us=HOUR_US))
    with redis.Redis.from_url(redis_url) as client:
        yield Store(client, engine)
    engine.close()


class Break(NamedTuple):
    by: Callable[[Store], object]
    found: set[tuple[str, str]]


BREAKS = {
    "a node counts too many in service": Break(
        lambda s: s.rewrite("nodes", "acme", ">I", 9, 1), {("wrong count", "leased")}
    ),
    "a node counts a child too many": Break(
        lambda s: s.rewrite("nodes", "acme", ">I", 17, 1), {("wrong count", "children")}
    ),
    "a node counts too many delayed below it": Break(
        lambda s: s.rewrite("nodes", "acme", ">I", 21, 1), {("wrong count", "delayed")}
    ),
    "a race counts too few that wait": Break(
        lambda s: s.rewrite("races", "05acme", ">d", 25, -1), {("wrong count", "waiting")}
    ),
    "a race counts too many in service": Break(
        lambda s: s.rewrite("races", "05acme", ">d", 33, 1), {("wrong count", "leased")}
    ),
    "those below a node lost their turns": Break(
        lambda s: s.client.delete(s.name("index:5:0:acme")),
        {("not in index", "acme/"), ("not in index", "acme/alice"), ("stray index", "acme")},
    ),
    "a node stands below another than its parent": Break(
        lambda s: s.client.zadd(s.name("index:5:0:acme"), {b"1%016dslow" % 5: 0}),
        {("stray index", "slow")},
    ),
    "a node that is at its limit stands for its turn": Break(
        lambda s: s.client.zadd(s.name("index:1:0"), {b"1%016dfull" % 2: 1_000_000}),
        {("stray index", "full")},
    ),
    "a node is held back by a limit that it is below": Break(
        lambda s: (
            s.rewrite("nodes", f"full{JOIN}one", ">I", 9, -1),
            s.rewrite("nodes", "full", ">I", 9, -1),
        ),
        {("not in index", "full/one"), ("wrong count", "leased")},
    ),
    "the timer of a node's rate is gone": Break(
        lambda s: s.client.zrem(s.name("timers"), s.slow_timer), {("no timer", "slow")}
    ),
    "a timer rings for a node that waits for nothing": Break(
        lambda s: s.client.zadd(s.name("timers"), {b"%016d\x1facme" % 1: 5}),
        {("stray timer", "acme")},
    ),
    "a key is not found by its tag": Break(
        lambda s: s.client.delete(s.name("tagged")), {("wrong tag", "acme/alice")}
    ),
    "a key is found by a tag that it does not have": Break(
        lambda s: s.client.zadd(s.name("tagged"), {f"tier=free{JOIN}acme{JOIN}alice": 0}),
        {("wrong tag", "acme/alice")},
    ),
    "what is noted of a key is not ours": Break(
        lambda s: s.client.hset(s.name("data"), "acme", "cores"), {("unreadable", "acme")}
    ),
    "a child's record is gone": Break(
        lambda s: s.client.hdel(s.name("nodes"), f"acme{JOIN}alice"),
        {
            ("unknown key", "acme/alice"),
            ("stray index", "acme/alice"),
            *{("wrong count", name) for name in ("children", "paths", "waiting")},
        },
    ),
}


def test_a_store_of_paths_and_limits_is_in_order(store: Store) -> None:
    counts = store.engine.snapshot(QUEUE)
    assert (counts.waiting, counts.delayed, counts.leased) == (7, 2, 3)
    assert store.found() == set()
    check_queue(store.client, store.engine.prefix, QUEUE)


@pytest.mark.parametrize("name", BREAKS)
def test_it_is_found_and_named_that(name: str, store: Store) -> None:
    BREAKS[name].by(store)
    assert store.found() == BREAKS[name].found


def test_races_longer_than_one_instant_may_hold_are_walked_to_their_end(store: Store) -> None:
    keys = [("acme", f"user {n}") for n in range(600)]
    store.engine.enqueue([Entry(f"many-{n}", key, QUEUE, b"") for n, key in enumerate(keys)])
    assert store.found() == set()
    store.client.zadd(store.name("index:5:0:acme"), {b"0%016dacme\x1fuser 0" % 7_000: 0})
    assert store.found() == {("stray index", "acme/user 0")}

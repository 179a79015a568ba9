"""What `check` finds in a real Redis of what is being withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.errors import StoreError
from celery_ranch.scheduling.model import EngineSettings
from celery_ranch.scheduling.withdrawals import Progress
from tests.conformance.histories import QUEUE, entries
from tests.redis_invariants import check_queue

HOUR_US = 3_600_000_000


class Store:
    """A queue of which one key is half swept and another one was taken aside."""

    def __init__(self, client: Any, engine: RedisEngine) -> None:
        self.client = client
        self.engine = engine
        engine.enqueue([*entries("half", 4), *entries("gone", 3), *entries("other", 1)])
        self.gone = engine.withdraw(QUEUE, ("gone",), "helper")
        assert self.gone is not None
        reply = engine.carry_out(self.gone, "helper", 100)
        self.half = engine.withdraw(QUEUE, ("half",), "helper")
        assert self.half is not None
        reply = engine.carry_out(self.half, "helper", 2)
        assert reply.progress is Progress.SWEEPING

    def name(self, kind: str) -> str:
        return f"{self.engine.prefix}{{{QUEUE}}}:{kind}"

    @property
    def aside(self) -> str:
        assert self.gone is not None
        return self.name(f"aside:{self.gone.number}")

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
    "an entry that was taken aside lost its place": Break(
        lambda s: s.client.zrem(s.aside, "gone-1"),
        {("nowhere", "gone-1"), ("wrong count", "entries")},
    ),
    "what was taken aside names an entry that is not stored": Break(
        lambda s: s.client.hdel(s.name("entries"), "gone-1"),
        {("no entry", "gone-1"), ("wrong count", "entries")},
    ),
    "an entry that was taken aside waits as well": Break(
        lambda s: s.client.zadd(s.name("ready:5:gone"), {"gone-1": 6}),
        {
            ("several places", "gone-1"),
            ("not in index", "gone"),
            ("wrong count", "waiting"),
        },
    ),
    "a node is blocked for a withdrawal that is gone": Break(
        lambda s: s.client.hdel(s.name("withdrawing"), "half"), {("not in index", "half")}
    ),
    "a node is blocked for more withdrawals than there are": Break(
        lambda s: s.client.hincrby(s.name("withdrawing"), "half", 1),
        {("wrong count", "withdrawing")},
    ),
    "the record of a withdrawal is gone": Break(
        lambda s: s.client.delete(s.name(f"withdrawal:{s.gone.number}")),
        {("unreadable", "9")},
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found_and_nothing_else(store: Store, name: str) -> None:
    assert store.found() == set()
    check_queue(store.client, store.engine.prefix, QUEUE)
    BREAKS[name].by(store)
    assert store.found() == BREAKS[name].found


def test_a_queue_whose_withdrawals_are_of_another_type_is_refused_until_they_are_back(
    store: Store,
) -> None:
    half = store.half
    assert half is not None
    for kind in ("withdrawals", "unswept", "withdrawing"):
        store.client.rename(store.name(kind), store.name("saved"))
        store.client.set(store.name(kind), "something else")
        for verb in (
            lambda: store.engine.withdraw(QUEUE, ("other",), "helper"),
            lambda: store.engine.carry_out(half, "helper", 9),
        ):
            with pytest.raises(StoreError, match=f"{QUEUE} is damaged"):
                verb()
        store.client.rename(store.name("saved"), store.name(kind))
    assert store.found() == set()
    assert store.engine.carry_out(half, "helper", 9).taken == 4

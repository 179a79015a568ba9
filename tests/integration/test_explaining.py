"""What the Redis engine promises of explaining, beyond the contract: many leases, many keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.errors import StoreError
from celery_ranch.scheduling.explanation import EntryState
from celery_ranch.scheduling.model import Entry, Outcome, OutcomeKind
from celery_ranch.scheduling.turns import MOST_SIBLINGS, Precision

QUEUE = "celery"


@pytest.fixture
def engine(redis_url: str, redis_prefix: str) -> Iterator[RedisEngine]:
    engine = RedisEngine(redis_url, prefix=redis_prefix)
    yield engine
    engine.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def store(engine: RedisEngine, count: int, first: int = 0, **facts: Any) -> None:
    named = {"key": ("acme",), "queue": QUEUE, "message": b"", **facts}
    for at in range(first, first + count, 1_000):
        end = min(at + 1_000, first + count)
        engine.enqueue([Entry(str(number), **named) for number in range(at, end)])


def test_who_holds_an_entry_is_found_among_thousands_of_leases(engine: RedisEngine) -> None:
    store(engine, 6_000)
    workers = [f"w{number}" for number in range(6)]
    leases = {worker: engine.lease(worker, [QUEUE], 1_000).leases for worker in workers}
    for worker, held in leases.items():
        ended = Outcome(OutcomeKind.ACKNOWLEDGED, QUEUE, held[0].entry_id, held[0].number)
        engine.settle(worker, [ended])
    for worker, held in leases.items():
        told = engine.explain(QUEUE, held[-1].entry_id)
        assert (told.state, told.worker) == (EntryState.LEASED, worker)
        told = engine.explain(QUEUE, held[0].entry_id)
        assert (told.state, told.worker) == (EntryState.ACKNOWLEDGED, worker)
    assert engine.explain(QUEUE, "nobody").state is EntryState.UNKNOWN


def test_workers_that_hold_nothing_do_not_hide_one_that_does(engine: RedisEngine) -> None:
    store(engine, 1)
    for number in range(600):
        engine.lease(f"idle-{number}", [QUEUE], 0, now_us=number)
    (leased,) = engine.lease("late", [QUEUE], 1).leases
    assert engine.explain(QUEUE, leased.entry_id).worker == "late"


def test_of_more_siblings_than_are_looked_at_the_count_is_an_estimate(engine: RedisEngine) -> None:
    count = 3 * MOST_SIBLINGS
    for number in range(0, count, 1_000):
        engine.enqueue(
            [Entry(f"{n}", (f"key-{n}",), QUEUE, b"") for n in range(number, number + 1_000)]
        )
    store(engine, 3, first=count)
    told = engine.explain(QUEUE, str(count + 2))
    assert (told.position, told.precision) == (2, Precision.ABOUT)
    assert told.ahead is not None
    assert abs(told.ahead - (count + 2)) <= count // 100


def test_an_entry_whose_record_cannot_be_read_is_unknown(
    engine: RedisEngine, client: redis.Redis, redis_prefix: str
) -> None:
    store(engine, 1)
    client.hset(f"{redis_prefix}{{{QUEUE}}}:entries", "0", "not a record")
    told = engine.explain(QUEUE, "0")
    assert (told.state, told.key) == (EntryState.UNKNOWN, ())


def test_a_damaged_queue_is_not_explained(
    engine: RedisEngine, client: redis.Redis, redis_prefix: str
) -> None:
    store(engine, 1)
    client.set(f"{redis_prefix}{{{QUEUE}}}:timers", "not ours")
    with pytest.raises(StoreError, match="is damaged"):
        engine.explain(QUEUE, "0")

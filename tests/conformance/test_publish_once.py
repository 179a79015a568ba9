"""What every engine promises of a publish that is repeated."""

from __future__ import annotations

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Enqueued, Entry, OutcomeKind, Publish
from tests.conformance.histories import (
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    ids,
    lease,
    lease_one,
    settle,
    store,
)

REPEATED = Enqueued(stored=0, is_repeated=True)


def attempt(
    engine: Engine, number: int, *batch: Entry, publisher: str = "p", now_us: int = NOW
) -> Enqueued:
    return engine.enqueue(batch, publish=Publish(publisher, number), now_us=now_us)


@pytest.mark.parametrize(
    "kinds",
    [(), (OutcomeKind.ACKNOWLEDGED,), (OutcomeKind.COMPLETED,), (OutcomeKind.REQUEUED,)],
)
def test_a_repeated_publish_is_stored_once_wherever_its_entry_is(
    engine: Engine, kinds: tuple[OutcomeKind, ...]
) -> None:
    assert attempt(engine, 1, entry("e1")) == Enqueued(stored=1)
    settle(engine, lease_one(engine), *kinds)
    before = engine.snapshot(QUEUE, now_us=NOW)
    assert attempt(engine, 1, entry("e1")) == REPEATED
    assert engine.snapshot(QUEUE, now_us=NOW) == before


def test_a_repeated_publish_is_stored_once_when_its_entry_was_cancelled(engine: Engine) -> None:
    attempt(engine, 1, entry("e1"))
    engine.cancel(QUEUE, "e1", now_us=NOW)
    assert attempt(engine, 1, entry("e1")) == REPEATED
    assert lease(engine).leases == ()


def test_a_repeated_batch_is_stored_once_as_a_whole(engine: Engine) -> None:
    batch = [entry("e1", queue="one"), entry("e2", queue="two"), entry("e3", due_in_us=SECOND)]
    assert attempt(engine, 7, *batch) == Enqueued(stored=3)
    done = lease(engine, 5, queues=["one", "two"]).leases
    for one in done:
        settle(engine, one, OutcomeKind.COMPLETED)
    assert attempt(engine, 7, *batch) == REPEATED
    assert lease(engine, 5, queues=["one", "two"]).leases == ()
    assert engine.snapshot(QUEUE, now_us=NOW).delayed == 1


def test_an_attempt_that_arrives_after_the_publishers_next_publish_stores_nothing(
    engine: Engine,
) -> None:
    attempt(engine, 2, entry("e2"))
    assert attempt(engine, 1, entry("e1")) == REPEATED
    assert ids(lease(engine, 5)) == ["e2"]


def test_publishes_of_one_publisher_are_stored_one_after_the_other(engine: Engine) -> None:
    for number in (1, 2, 5, 2**53 - 1):
        assert attempt(engine, number, entry(f"e{number}")) == Enqueued(stored=1)
    assert len(lease(engine, 9).leases) == 4


def test_publishers_count_for_themselves(engine: Engine) -> None:
    attempt(engine, 5, entry("e1"))
    assert attempt(engine, 1, entry("e2"), publisher="q") == Enqueued(stored=1)
    assert attempt(engine, 5, entry("e3")) == REPEATED


def test_each_queue_remembers_what_it_stored(engine: Engine) -> None:
    attempt(engine, 5, entry("e1"))
    assert attempt(engine, 6, entry("e1", queue="other")) == Enqueued(stored=1)
    assert attempt(engine, 6, entry("e1", queue="other")) == REPEATED
    assert attempt(engine, 5, entry("e1")) == REPEATED


def test_an_attempt_answered_with_taken_may_be_repeated_with_another_id(engine: Engine) -> None:
    store(engine, [entry("e1")])
    assert attempt(engine, 1, entry("e1")) == Enqueued(stored=0, taken=("e1",))
    assert attempt(engine, 1, entry("e1.2")) == Enqueued(stored=1)
    assert attempt(engine, 1, entry("e1")) == REPEATED, "the first id's attempt comes late"
    assert ids(lease(engine, 5)) == ["e1", "e1.2"]


def test_an_attempt_answered_with_taken_stores_when_the_id_is_free(engine: Engine) -> None:
    store(engine, [entry("e1")])
    attempt(engine, 1, entry("e1"))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    assert attempt(engine, 1, entry("e1")) == Enqueued(stored=1)


def test_a_repeated_publish_wakes_nobody(engine: Engine) -> None:
    attempt(engine, 1, entry("e1"))
    assert engine.wait([QUEUE], 1)
    attempt(engine, 1, entry("e1"))
    assert not engine.wait([QUEUE], 0)


@pytest.mark.parametrize("step_us", [-3_600 * SECOND, 600 * SECOND])
def test_a_repeated_publish_is_known_after_a_step_of_the_clock(
    engine: Engine, step_us: int
) -> None:
    attempt(engine, 1, entry("e1"))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    assert attempt(engine, 1, entry("e1"), now_us=NOW + step_us) == REPEATED


def test_an_empty_batch_takes_no_number(engine: Engine) -> None:
    assert attempt(engine, 1) == Enqueued(stored=0)
    assert attempt(engine, 1, entry("e1")) == Enqueued(stored=1)


def test_who_gives_no_publish_is_not_remembered(engine: Engine) -> None:
    for _ in range(2):
        store(engine, entries("acme", 2))
        for one in lease(engine, 2).leases:
            settle(engine, one, OutcomeKind.COMPLETED)

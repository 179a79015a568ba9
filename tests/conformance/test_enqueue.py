"""What every engine promises of storing."""

from __future__ import annotations

import pytest

from celery_ranch.errors import BatchTooLargeError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Enqueued, Entry, OutcomeKind
from tests.conformance.histories import (
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    ids,
    keys,
    lease,
    lease_one,
    settle,
    store,
)


def test_what_was_stored_is_leased_with_its_facts(engine: Engine) -> None:
    message = bytes(range(256))
    engine.enqueue([Entry("e1", ("acme",), QUEUE, message)], now_us=NOW)
    leased = lease_one(engine)
    assert (leased.entry_id, leased.key, leased.queue) == ("e1", ("acme",), QUEUE)
    assert (leased.message, leased.deliveries, leased.is_expired) == (message, 0, False)


@pytest.mark.parametrize("key", ["a b", "a:b", "{a}", "a\n0", "日本", "\0", "a" * 512, " ", "0"])
def test_a_key_of_any_text_comes_back_as_it_was(engine: Engine, key: str) -> None:
    store(engine, [entry("e1", key), entry("e2", key, due_in_us=SECOND)])
    assert keys(lease(engine)) == [key]
    assert keys(lease(engine, now_us=NOW + SECOND)) == [key]


@pytest.mark.parametrize("name", ["e 1", "e:1", "日本", "{e}", "1", "a" * 300])
def test_an_entry_id_of_any_text_comes_back_as_it_was(engine: Engine, name: str) -> None:
    store(engine, [entry(name)])
    leased = lease_one(engine)
    assert leased.entry_id == name
    settle(engine, leased, OutcomeKind.COMPLETED)


def test_an_empty_message_is_kept(engine: Engine) -> None:
    engine.enqueue([Entry("e1", ("acme",), QUEUE, b"")], now_us=NOW)
    assert lease_one(engine).message == b""


def test_an_empty_batch_stores_nothing(engine: Engine) -> None:
    assert engine.enqueue([], now_us=NOW) == Enqueued(stored=0)
    assert engine.queues() == frozenset()


def test_a_thousand_entries_are_stored_in_one_call(engine: Engine) -> None:
    assert engine.enqueue(entries("acme", 1_000), now_us=NOW) == Enqueued(stored=1_000)
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == 1_000


def test_a_batch_over_a_thousand_is_refused_whole(engine: Engine) -> None:
    with pytest.raises(BatchTooLargeError) as refusal:
        engine.enqueue(entries("acme", 1_001), now_us=NOW)
    assert (refusal.value.size, refusal.value.limit) == (1_001, 1_000)
    assert engine.queues() == frozenset()


def test_a_batch_may_go_to_several_queues(engine: Engine) -> None:
    store(engine, [entry("e1", queue="one"), entry("e2", queue="two")])
    assert engine.queues() == {"one", "two"}
    assert ids(lease(engine, 5, queues=["two"])) == ["e2"]
    assert ids(lease(engine, 5, queues=["one"])) == ["e1"]


def test_an_id_in_use_is_taken_and_nothing_of_the_batch_is_stored(engine: Engine) -> None:
    store(engine, [entry("e1"), entry("e2")])
    refused = engine.enqueue(
        [
            entry("e3"),
            entry("e2"),
            entry("e4", due_in_us=SECOND),
            entry("e1", queue="new"),
            entry("e1"),
        ],
        now_us=NOW,
    )
    assert refused == Enqueued(stored=0, taken=("e2", "e1"))
    assert ids(lease(engine, 5)) == ["e1", "e2"]
    assert engine.queues() == {QUEUE}
    store(engine, [entry("e3"), entry("e4")])


def test_two_entries_of_one_id_in_a_batch_are_taken(engine: Engine) -> None:
    twice = [entry("e1"), entry("e2"), entry("e1")]
    assert engine.enqueue(twice, now_us=NOW) == Enqueued(stored=0, taken=("e1",))
    assert engine.queues() == frozenset()
    store(engine, [entry("e1")])


def test_the_same_id_in_two_queues_names_two_entries(engine: Engine) -> None:
    store(engine, [entry("e1", queue="one"), entry("e1", queue="two")])
    assert engine.cancel("one", "e1", now_us=NOW) == b"e1"
    assert ids(lease(engine, 5, queues=["one", "two"])) == ["e1"]


@pytest.mark.parametrize(
    "kinds", [(), (OutcomeKind.STARTED,), (OutcomeKind.FINISHED,), (OutcomeKind.DEAD,)]
)
def test_an_id_stays_in_use_until_its_entry_is_acknowledged(
    engine: Engine, kinds: tuple[OutcomeKind, ...]
) -> None:
    store(engine, [entry("e1")])
    settle(engine, lease_one(engine), *kinds)
    assert engine.enqueue([entry("e1")], now_us=NOW).taken == ("e1",)


def test_a_delayed_entrys_id_is_in_use(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=SECOND)])
    assert engine.enqueue([entry("e1")], now_us=NOW).taken == ("e1",)


@pytest.mark.parametrize("kind", [OutcomeKind.ACKNOWLEDGED, OutcomeKind.COMPLETED])
def test_an_id_is_free_again_once_acknowledged(engine: Engine, kind: OutcomeKind) -> None:
    store(engine, [entry("e1")])
    settle(engine, lease_one(engine), kind)
    store(engine, [entry("e1")])


def test_an_entry_under_the_id_of_one_that_still_runs_is_leased_and_settled_apart(
    engine: Engine,
) -> None:
    store(engine, [entry("e1")])
    first = lease_one(engine)
    settle(engine, first, OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED)
    store(engine, [entry("e1", key="bolt")])
    second = lease_one(engine)
    assert engine.held("w1") == {(QUEUE, "e1", first.number), (QUEUE, "e1", second.number)}
    settle(engine, first, OutcomeKind.FINISHED)
    settle(engine, second, OutcomeKind.REQUEUED)
    assert engine.snapshot(QUEUE, now_us=NOW).delayed == 1


def test_a_cancelled_id_is_free_again(engine: Engine) -> None:
    store(engine, [entry("e1")])
    engine.cancel(QUEUE, "e1", now_us=NOW)
    store(engine, [entry("e1")])

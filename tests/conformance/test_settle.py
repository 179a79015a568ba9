"""What every engine promises of the outcomes of leases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import (
    Lease,
    Outcome,
    OutcomeKind,
    QueueSnapshot,
    requeue_delay_us,
)
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
    outcome,
    settle,
    store,
)

STARTED = OutcomeKind.STARTED
ACKNOWLEDGED = OutcomeKind.ACKNOWLEDGED
FINISHED = OutcomeKind.FINISHED
COMPLETED = OutcomeKind.COMPLETED
RELEASED = OutcomeKind.RELEASED
REQUEUED = OutcomeKind.REQUEUED
DEAD = OutcomeKind.DEAD


@pytest.fixture
def leased(engine: Engine) -> Lease:
    """The lease of the only entry there is."""
    store(engine, [entry("e1")])
    return lease_one(engine)


def counts(engine: Engine) -> QueueSnapshot:
    return engine.snapshot(QUEUE, now_us=NOW)


def is_held(engine: Engine) -> bool:
    return bool(engine.held("w1"))


def test_a_completed_entry_is_gone(engine: Engine, leased: Lease) -> None:
    settle(engine, leased, COMPLETED)
    assert counts(engine) == QueueSnapshot(QUEUE, 0, 0, 0, 0, 1, None)
    assert not is_held(engine)


@pytest.mark.parametrize(
    "kinds", [(STARTED, ACKNOWLEDGED), (ACKNOWLEDGED,), (ACKNOWLEDGED, ACKNOWLEDGED, STARTED)]
)
def test_an_acknowledged_entry_takes_its_slot_until_it_is_finished(
    engine: Engine, leased: Lease, kinds: tuple[OutcomeKind, ...]
) -> None:
    settle(engine, leased, *kinds)
    assert counts(engine).leased == 1
    settle(engine, leased, FINISHED)
    assert counts(engine).leased == 0
    assert not is_held(engine)


@pytest.mark.parametrize("kinds", [(STARTED, FINISHED), (FINISHED,), (FINISHED, FINISHED, STARTED)])
def test_a_finished_entry_frees_its_slot_and_is_held_until_it_is_acknowledged(
    engine: Engine, leased: Lease, kinds: tuple[OutcomeKind, ...]
) -> None:
    settle(engine, leased, *kinds)
    assert counts(engine).leased == 0
    assert engine.held("w1") == {(QUEUE, "e1", leased.number)}
    settle(engine, leased, ACKNOWLEDGED)
    assert not is_held(engine)
    assert engine.enqueue([entry("e1")], now_us=NOW).stored == 1


@pytest.mark.parametrize("first", [STARTED, ACKNOWLEDGED, FINISHED])
def test_completed_ends_a_lease_however_far_it_came(
    engine: Engine, leased: Lease, first: OutcomeKind
) -> None:
    settle(engine, leased, first, COMPLETED)
    assert counts(engine).leased == 0
    assert not is_held(engine)


def test_a_released_entry_returns_to_its_place_uncounted(engine: Engine) -> None:
    store(engine, entries("a", 3))
    first, _ = lease(engine, 2).leases
    settle(engine, first, RELEASED)
    again, last = lease(engine, 2).leases
    assert (again.entry_id, again.deliveries, last.entry_id) == ("a-0", 0, "a-2")
    assert again.number > first.number


def test_a_released_entry_keeps_what_it_charged(engine: Engine) -> None:
    store(engine, entries("a", 3), entries("b", 3))
    first = lease_one(engine)
    settle(engine, first, RELEASED)
    assert ids(lease(engine, 3)) == ["b-0", "a-0", "b-1"]


def test_an_entry_released_after_its_start_is_not_counted_either(
    engine: Engine, leased: Lease
) -> None:
    settle(engine, leased, STARTED, RELEASED)
    assert lease_one(engine).deliveries == 0


def test_an_entry_released_for_later_waits_and_then_has_its_place(engine: Engine) -> None:
    store(engine, entries("a", 2))
    settle(engine, lease_one(engine), RELEASED, due_in_us=SECOND)
    assert counts(engine).delayed == 1
    store(engine, [entry("a-9", "a")])
    later = lease(engine, 3, now_us=NOW + SECOND)
    assert ids(later) == ["a-0", "a-1", "a-9"]


def test_a_requeued_entry_waits_a_growing_delay_and_is_counted(engine: Engine) -> None:
    store(engine, [entry("e1")])
    now_us = NOW
    for deliveries in range(1, 5):
        settle(engine, lease_one(engine, now_us=now_us), STARTED, REQUEUED, now_us=now_us)
        delay_us = requeue_delay_us(deliveries)
        early = lease(engine, 1, now_us=now_us + delay_us - 1)
        assert (early.leases, early.next_due_in_us) == ((), 1)
        now_us += delay_us
        again = lease_one(engine, now_us=now_us)
        assert again.deliveries == deliveries
        settle(engine, again, RELEASED, now_us=now_us)


def test_a_requeued_entry_returns_to_the_place_of_its_number(engine: Engine) -> None:
    store(engine, entries("a", 2))
    settle(engine, lease_one(engine), REQUEUED)
    assert ids(lease(engine, 2, now_us=NOW + requeue_delay_us(1))) == ["a-0", "a-1"]


def test_a_requeued_entry_does_not_hold_up_its_key(engine: Engine) -> None:
    store(engine, entries("a", 2))
    settle(engine, lease_one(engine), REQUEUED)
    assert ids(lease(engine, 2)) == ["a-1"]


def test_an_entry_requeued_too_often_is_dead(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(max_deliveries=2)
    store(engine, [entry("e1")])
    now_us = NOW
    for _ in range(3):
        settle(engine, lease_one(engine, now_us=now_us), REQUEUED, now_us=now_us)
        now_us += 60 * SECOND
    (letter,) = engine.dead_letters(QUEUE)
    assert (letter.entry_id, letter.deliveries) == ("e1", 3)
    assert letter.reason == "too many deliveries"
    assert counts(engine).delayed == 0


def test_a_dead_entry_is_a_dead_letter_with_its_reason(engine: Engine, leased: Lease) -> None:
    settle(engine, leased, DEAD, reason="unknown task: rénder")
    (letter,) = engine.dead_letters(QUEUE)
    assert (letter.entry_id, letter.key, letter.message) == ("e1", ("acme",), b"e1")
    assert (letter.reason, letter.died_at_us) == ("unknown task: rénder", NOW)
    assert (counts(engine).leased, counts(engine).dead) == (0, 1)
    assert not is_held(engine)


@pytest.mark.parametrize("kind", [RELEASED, REQUEUED, DEAD])
def test_what_was_acknowledged_only_frees_its_slot(
    engine: Engine, leased: Lease, kind: OutcomeKind
) -> None:
    settle(engine, leased, STARTED, ACKNOWLEDGED, kind)
    assert counts(engine) == QueueSnapshot(QUEUE, 0, 0, 0, 0, 1, None)
    assert not is_held(engine)


@pytest.mark.parametrize("kind", [RELEASED, REQUEUED, DEAD])
def test_an_entry_given_back_or_buried_after_it_finished_leaves_its_lease(
    engine: Engine, leased: Lease, kind: OutcomeKind
) -> None:
    settle(engine, leased, FINISHED, kind)
    now = counts(engine)
    assert (now.leased, now.waiting + now.delayed + now.dead) == (0, 1)
    assert not is_held(engine)
    assert engine.settle("w1", [outcome(leased, ACKNOWLEDGED)], now_us=NOW) != ()


def test_outcomes_apply_in_order(engine: Engine, leased: Lease) -> None:
    reports = [outcome(leased, kind) for kind in (STARTED, RELEASED, COMPLETED)]
    assert engine.settle("w1", reports, now_us=NOW) == (reports[2],)
    assert lease_one(engine).entry_id == "e1"


def test_outcomes_of_several_queues_are_settled_in_one_call(engine: Engine) -> None:
    store(engine, entries("a", 1, "one"), entries("b", 1, "two"))
    held = lease(engine, 2, queues=["one", "two"]).leases
    assert engine.settle("w1", [outcome(one, COMPLETED) for one in held], now_us=NOW) == ()
    assert engine.held("w1") == frozenset()


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_an_outcome_of_a_lease_that_is_not_held_changes_nothing(
    engine: Engine, leased: Lease, kind: OutcomeKind
) -> None:
    before = counts(engine)
    wrong = [
        Outcome(kind, QUEUE, "e1", leased.number + 1),
        Outcome(kind, QUEUE, "e2", leased.number),
        Outcome(kind, "elsewhere", "e1", leased.number),
    ]
    assert engine.settle("w1", wrong, now_us=NOW) == tuple(wrong)
    stranger = outcome(leased, kind)
    assert engine.settle("w2", [stranger], now_us=NOW) == (stranger,)
    assert counts(engine) == before
    assert engine.held("w1") == {(QUEUE, "e1", leased.number)}
    assert engine.queues() == {QUEUE}


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_settling_after_the_entry_was_leased_again_changes_nothing(
    engine: Engine, leased: Lease, kind: OutcomeKind
) -> None:
    settle(engine, leased, RELEASED)
    again = lease_one(engine)
    late = outcome(leased, kind, due_in_us=SECOND)
    assert engine.settle("w1", [late], now_us=NOW) == (late,)
    settle(engine, again, COMPLETED)


def test_stale_outcomes_are_returned_and_the_others_apply(engine: Engine) -> None:
    store(engine, entries("a", 2))
    first, second = lease(engine, 2).leases
    stale = Outcome(COMPLETED, QUEUE, "a-0", 99)
    reports = [outcome(first, COMPLETED), stale, outcome(second, COMPLETED)]
    assert engine.settle("w1", reports, now_us=NOW) == (stale,)
    assert engine.held("w1") == frozenset()


def test_a_settled_lease_settles_only_once(engine: Engine, leased: Lease) -> None:
    settle(engine, leased, COMPLETED)
    again = outcome(leased, COMPLETED)
    assert engine.settle("w1", [again], now_us=NOW) == (again,)


def test_a_release_while_paused_waits_for_the_key_to_be_resumed(engine: Engine) -> None:
    store(engine, entries("a", 1), entries("b", 2))
    leased = lease_one(engine)
    engine.pause(QUEUE, ("a",))
    settle(engine, leased, RELEASED)
    assert keys(lease(engine, 1)) == ["b"]
    engine.resume(QUEUE, ("a",))
    assert keys(lease(engine, 2)) == ["a", "b"]

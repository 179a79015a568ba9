"""What every engine tells with a lease: how long its entry could have run, and what it costs."""

from __future__ import annotations

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import CHARGE_UNIT, OutcomeKind
from tests.conformance.histories import (
    LEASE_US,
    NOW,
    QUEUE,
    SECOND,
    entry,
    lease_one,
    reap_after_lease_time,
    settle,
    store,
)


def test_an_entry_waits_from_when_it_was_stored(engine: Engine) -> None:
    store(engine, [entry("e")])
    assert lease_one(engine, now_us=NOW + 3 * SECOND + 7).waited_us == 3 * SECOND + 7


def test_a_delayed_entry_waits_from_when_it_came_due(engine: Engine) -> None:
    store(engine, [entry("e", due_in_us=5 * SECOND)])
    assert lease_one(engine, now_us=NOW + 7 * SECOND).waited_us == 2 * SECOND


def test_an_entry_that_was_due_when_it_was_stored_waits_from_then(engine: Engine) -> None:
    store(engine, [entry("e", due_at_us=NOW - 9 * SECOND)])
    assert lease_one(engine, now_us=NOW + SECOND).waited_us == SECOND


def test_an_entry_released_without_a_start_has_waited_all_the_time(engine: Engine) -> None:
    store(engine, [entry("e")])
    settle(
        engine, lease_one(engine, now_us=NOW + SECOND), OutcomeKind.RELEASED, now_us=NOW + SECOND
    )
    assert lease_one(engine, now_us=NOW + 4 * SECOND).waited_us == 4 * SECOND


def test_an_entry_released_for_later_waits_from_then(engine: Engine) -> None:
    store(engine, [entry("e")])
    settle(engine, lease_one(engine), OutcomeKind.RELEASED, due_in_us=3 * SECOND)
    assert lease_one(engine, now_us=NOW + 4 * SECOND).waited_us == SECOND


def test_an_entry_given_back_after_a_start_waits_from_when_it_is_due_again(engine: Engine) -> None:
    store(engine, [entry("e")])
    settle(engine, lease_one(engine), OutcomeKind.STARTED, OutcomeKind.REQUEUED)
    again = lease_one(engine, now_us=NOW + SECOND)
    assert (again.deliveries, again.waited_us) == (1, 900_000)


def test_an_entry_of_a_dead_worker_that_had_started_waits_from_when_it_was_taken_back(
    engine: Engine,
) -> None:
    store(engine, [entry("e"), entry("never", "bolt")])
    settle(engine, lease_one(engine), OutcomeKind.STARTED)
    lease_one(engine)
    reap_after_lease_time(engine)
    later = NOW + LEASE_US + SECOND
    waits = {one.entry_id: one.waited_us for one in (lease_one(engine, "w2", later) for _ in "12")}
    assert waits == {"e": SECOND, "never": LEASE_US + SECOND}


def test_a_dead_letter_that_is_retried_waits_anew(engine: Engine) -> None:
    store(engine, [entry("e")])
    settle(engine, lease_one(engine), OutcomeKind.DEAD)
    assert engine.retry_dead(QUEUE, "e", now_us=NOW + 8 * SECOND)
    assert lease_one(engine, now_us=NOW + 9 * SECOND).waited_us == SECOND


def test_a_clock_that_was_set_back_makes_no_wait_negative(engine: Engine) -> None:
    store(engine, [entry("e")])
    assert lease_one(engine, now_us=NOW - SECOND).waited_us == 0


def test_a_lease_tells_what_its_entry_costs(engine: Engine) -> None:
    store(engine, [entry("one"), entry("many", cost=2_500_000), entry("measured", cost=None)])
    costs = {one.entry_id: one.cost for one in (lease_one(engine) for _ in "123")}
    assert costs == {"one": CHARGE_UNIT, "many": 2_500_000, "measured": None}

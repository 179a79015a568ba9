"""What every engine promises of entries for later, and of entries too late."""

from __future__ import annotations

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import ACTIVATION_BUDGET, Entry, OutcomeKind
from tests.conformance.histories import (
    LEASE_US,
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

# -- delayed ------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [{"due_in_us": SECOND}, {"due_at_us": NOW + SECOND}])
def test_a_delayed_entry_is_leased_when_it_is_due_and_not_before(
    engine: Engine, facts: dict[str, int]
) -> None:
    store(engine, [entry("e1", **facts)])
    early = lease(engine, 1, now_us=NOW + SECOND - 1)
    assert (early.leases, early.next_due_in_us) == ((), 1)
    assert ids(lease(engine, 1, now_us=NOW + SECOND)) == ["e1"]


@pytest.mark.parametrize(
    "facts", [{"due_in_us": 0}, {"due_in_us": -5}, {"due_at_us": NOW}, {"due_at_us": 1}]
)
def test_an_entry_due_already_waits_at_once(engine: Engine, facts: dict[str, int]) -> None:
    store(engine, [entry("e1", **facts)])
    counts = engine.snapshot(QUEUE, now_us=NOW)
    assert (counts.waiting, counts.delayed) == (1, 0)


def test_the_next_due_time_is_the_earliest_over_the_queues(engine: Engine) -> None:
    store(engine, [entry("e1", queue="one", due_in_us=9), entry("e2", queue="two", due_in_us=5)])
    assert lease(engine, 1, queues=["one", "two"]).next_due_in_us == 5
    assert lease(engine, 1, queues=["one"]).next_due_in_us == 9


def test_the_next_due_time_leaves_out_what_was_cancelled(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=5), entry("e2", due_in_us=9)])
    engine.cancel(QUEUE, "e1", now_us=NOW)
    assert lease(engine).next_due_in_us == 9
    engine.cancel(QUEUE, "e2", now_us=NOW)
    assert lease(engine).next_due_in_us is None


def test_delayed_entries_come_due_by_time_then_by_the_order_stored(engine: Engine) -> None:
    store(
        engine,
        [
            entry("late", due_in_us=9),
            entry("first", due_in_us=5),
            entry("second", due_in_us=5),
            entry("early", due_in_us=1),
        ],
    )
    due = lease(engine, 9, now_us=NOW + 9)
    assert ids(due) == ["early", "first", "second", "late"]


def test_an_entry_that_comes_due_queues_up_behind_its_keys_waiting_ones(engine: Engine) -> None:
    store(engine, [entry("delayed", due_in_us=5)], entries("acme", 2))
    assert ids(lease(engine, 1, now_us=NOW + 5)) == ["acme-0"]
    store(engine, [entry("after")], now_us=NOW + 5)
    assert ids(lease(engine, 3, now_us=NOW + 5)) == ["acme-1", "delayed", "after"]


def test_keys_arrive_in_the_order_their_entries_come_due(engine: Engine) -> None:
    store(engine, [entry("e1", "a", due_in_us=9), entry("e2", "b", due_in_us=5)])
    assert keys(lease(engine, 2, now_us=NOW + 9)) == ["b", "a"]


def test_a_delayed_entry_of_a_paused_key_comes_due_and_waits(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=5)])
    engine.pause(QUEUE, ("acme",))
    leased = lease(engine, 1, now_us=NOW + 5)
    assert (leased.leases, leased.next_due_in_us) == ((), None)
    counts = engine.snapshot(QUEUE, now_us=NOW + 5)
    assert (counts.waiting, counts.delayed) == (1, 0)


def test_at_most_the_budget_comes_due_in_one_call(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", due_in_us=i + 1) for i in range(ACTIVATION_BUDGET + 2)])
    first = lease(engine, 1, now_us=NOW + SECOND)
    assert (first.has_more, first.next_due_in_us) == (True, 0)
    counts = engine.snapshot(QUEUE, now_us=NOW + SECOND)
    assert (counts.waiting, counts.delayed) == (ACTIVATION_BUDGET - 1, 2)
    second = lease(engine, 1, now_us=NOW + SECOND)
    assert (second.has_more, second.next_due_in_us) == (False, None)


def test_exactly_the_budget_leaves_nothing_more_to_do(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", due_in_us=1) for i in range(ACTIVATION_BUDGET)])
    leased = lease(engine, 1_000, now_us=NOW + 1)
    assert (len(leased.leases), leased.has_more) == (ACTIVATION_BUDGET, False)


def test_the_budget_goes_to_the_queues_in_the_order_given(engine: Engine) -> None:
    store(
        engine,
        [entry(f"e{i}", queue="one", due_in_us=1) for i in range(200)],
        [entry(f"e{i}", queue="two", due_in_us=1) for i in range(200)],
    )
    assert lease(engine, 0, queues=["two", "one"], now_us=NOW + 1).has_more
    delayed = [engine.snapshot(queue, now_us=NOW + 1).delayed for queue in ("one", "two")]
    assert delayed == [144, 0]


def test_what_is_not_due_yet_is_no_more_to_do(engine: Engine) -> None:
    store(
        engine,
        [entry(f"e{i}", due_in_us=1) for i in range(ACTIVATION_BUDGET)],
        [entry("later", due_in_us=2)],
    )
    leased = lease(engine, 1, now_us=NOW + 1)
    assert (leased.has_more, leased.next_due_in_us) == (False, 1)


# -- expired ------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [{"expires_in_us": SECOND}, {"expires_at_us": NOW + SECOND}])
def test_an_entry_is_handed_over_as_expired_from_its_expiry_on(
    engine: Engine, facts: dict[str, int]
) -> None:
    store(engine, [entry("e1", **facts)], [entry("e2", "b", **facts)])
    assert not lease_one(engine, now_us=NOW + SECOND - 1).is_expired
    assert lease_one(engine, now_us=NOW + SECOND).is_expired


def test_an_entry_expired_when_it_was_stored_is_handed_over_as_expired(engine: Engine) -> None:
    store(engine, [entry("e1", expires_in_us=0)])
    expired = lease_one(engine)
    assert (expired.entry_id, expired.message, expired.is_expired) == ("e1", b"e1", True)
    assert engine.held("w1") == {(QUEUE, "e1", expired.number)}
    settle(engine, expired, OutcomeKind.COMPLETED)


def test_expired_entries_come_on_top_of_the_limit(engine: Engine) -> None:
    store(engine, [entry(f"x{i}", expires_at_us=NOW) for i in range(5)], entries("acme", 2))
    leased = lease(engine, 1)
    assert ids(leased) == ["x0", "x1", "x2", "x3", "x4", "acme-0"]
    assert [one.is_expired for one in leased.leases] == [True] * 5 + [False]


def test_an_expired_entry_is_not_charged_and_takes_no_turn(engine: Engine) -> None:
    store(
        engine,
        [entry("a0", "a"), entry("b0", "b", expires_in_us=5), entry("b1", "b"), entry("a1", "a")],
    )
    lease(engine, 1)
    assert ids(lease(engine, 3, now_us=NOW + 5)) == ["b0", "b1", "a1"]


def test_a_key_with_expired_entries_only_counts_as_never_served(engine: Engine) -> None:
    store(engine, [entry("x", "gone", expires_at_us=NOW)], entries("a", 2))
    lease(engine, 1)
    assert ids(lease(engine, 0)) == []
    store(engine, [entry("g", "gone")])
    assert keys(lease(engine, 2)) == ["gone", "a"]


def test_an_expired_entry_takes_no_turn_of_its_queue(engine: Engine) -> None:
    store(
        engine,
        [entry("x", queue="one", expires_at_us=NOW)],
        entries("a", 2, "two"),
        entries("b", 1, "one"),
    )
    leased = lease(engine, 3, queues=["one", "two"])
    assert ids(leased) == ["x", "b-0", "a-0", "a-1"]


def test_an_expired_entry_behind_others_waits_for_its_keys_turn(engine: Engine) -> None:
    store(engine, [entry("e0"), entry("x1", expires_at_us=NOW)])
    assert ids(lease(engine, 1)) == ["e0"]
    assert ids(lease(engine, 1)) == ["x1"]


def test_a_delayed_entry_expires_when_its_turn_comes_not_before(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=10, expires_in_us=5)])
    assert lease(engine, 1, now_us=NOW + 6).leases == ()
    assert lease_one(engine, now_us=NOW + 10).is_expired


def test_expired_entries_share_the_budget_and_leasing_stops_when_it_is_used_up(
    engine: Engine,
) -> None:
    store(
        engine,
        [entry(f"d{i}", "d", due_in_us=1) for i in range(ACTIVATION_BUDGET - 2)],
        [entry(f"x{i}", "x", expires_at_us=NOW) for i in range(3)],
    )
    leased = lease(engine, 1_000, now_us=NOW + 1)
    assert ids(leased) == ["x0", "x1"]
    assert leased.has_more
    rest = lease(engine, 1_000, now_us=NOW + 1)
    assert ids(rest)[:2] == ["x2", "d0"]
    assert not rest.has_more


def test_more_expired_entries_than_the_budget_take_several_calls(engine: Engine) -> None:
    store(engine, [entry(f"x{i}", expires_at_us=NOW) for i in range(ACTIVATION_BUDGET + 1)])
    leased = lease(engine, 1)
    assert (len(leased.leases), leased.has_more) == (ACTIVATION_BUDGET, True)
    rest = lease(engine, 1)
    assert (len(rest.leases), rest.has_more) == (1, False)


def test_an_expired_entry_of_a_paused_key_stays(engine: Engine) -> None:
    store(engine, [entry("x", expires_at_us=NOW)])
    engine.pause(QUEUE, ("acme",))
    assert lease(engine, 1).leases == ()


def test_an_expired_lease_that_is_released_is_handed_over_as_expired_again(
    engine: Engine,
) -> None:
    store(engine, [entry("x", expires_at_us=NOW)])
    settle(engine, lease_one(engine), OutcomeKind.RELEASED)
    assert lease_one(engine).is_expired


# -- the store's clock -----------------------------------------------------------------


def test_without_a_time_given_the_stores_own_clock_counts(engine: Engine) -> None:
    engine.enqueue([Entry("later", ("a",), QUEUE, b"", due_in_us=3_600 * SECOND)])
    engine.enqueue([Entry("past", ("b",), QUEUE, b"", due_at_us=NOW)])
    leased = engine.lease("w1", [QUEUE], 5)
    assert ids(leased) == ["past"]
    assert leased.next_due_in_us is not None
    assert 3_000 * SECOND < leased.next_due_in_us <= 3_600 * SECOND
    assert engine.heartbeat("w1")
    assert engine.snapshot(QUEUE).workers == 1
    assert engine.snapshot(QUEUE, now_us=NOW + 10**16 + LEASE_US).workers == 0

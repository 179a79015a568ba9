"""What every engine promises of entries that are moved to another key or queue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Entry, KeyPath, OutcomeKind, Withdrawal
from celery_ranch.scheduling.withdrawals import Aside, CarriedOut, Move, Moved, Progress
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

HELPER = "helper-1"
OTHER = "other queue"


def below(entry_id: str, *path: str) -> Entry:
    return replace(entry(entry_id), key=path)


def begin(engine: Engine, move: Move, *path: str) -> Withdrawal:
    withdrawal = engine.withdraw(QUEUE, path or ("a",), HELPER, move=move, now_us=NOW)
    assert withdrawal is not None
    return withdrawal


def step(engine: Engine, withdrawal: Withdrawal, limit: int = 100, *done: Aside) -> CarriedOut:
    gone = [one.entry_id for one in done]
    return engine.carry_out(withdrawal, HELPER, limit, done=gone, now_us=NOW)


def arrive(engine: Engine, reply: CarriedOut) -> tuple[str, ...]:
    assert reply.move is not None
    return engine.arrive(
        reply.move.queue, reply.token, reply.entries, key=reply.move.key, now_us=NOW
    )


def carry_out(engine: Engine, withdrawal: Withdrawal, limit: int = 100) -> int:
    """Carry a move out to the end; return how many entries it took."""
    reply = step(engine, withdrawal, limit)
    for _ in range(1_000):
        if reply.progress in (Progress.OVER, Progress.ELSEWHERE):
            break
        if reply.entries:
            assert arrive(engine, reply) == ()
        reply = step(engine, withdrawal, limit, *reply.entries)
    assert reply.progress is Progress.OVER
    return reply.taken


def check(engine: Engine) -> None:
    assert [*engine.check(QUEUE), *engine.check(OTHER)] == []


# -- within a queue ------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_all_that_waits_at_a_key_waits_under_another_one_in_its_order(
    engine: Engine, limit: int
) -> None:
    store(engine, entries("a", 4), entries("c", 1))
    assert carry_out(engine, begin(engine, Move(QUEUE, ("b",))), limit) == 4
    leased = lease(engine, 9)
    assert [(one.entry_id, one.key) for one in leased.leases if one.key != ("c",)] == [
        (f"a-{n}", ("b",)) for n in range(4)
    ]
    check(engine)


def test_moved_entries_stand_where_they_would_had_they_been_stored_there(engine: Engine) -> None:
    store(engine, entries("b", 1), entries("a", 2), [entry("b-1", "b")])
    carry_out(engine, begin(engine, Move(QUEUE, ("b",))))
    assert ids(lease(engine, 9)) == ["b-0", "a-0", "a-1", "b-1"]


def test_levels_costs_due_times_and_expiries_go_along(engine: Engine) -> None:
    store(
        engine,
        [
            entry("late", "a", due_in_us=2 * SECOND),
            entry("low", "a", level=9),
            entry("high", "a", level=1),
            entry("dear", "a", cost=3_000_000),
            entry("over", "a", expires_in_us=SECOND),
        ],
    )
    carry_out(engine, begin(engine, Move(QUEUE, ("b",))), 2)
    leased = lease(engine, 9, now_us=NOW + SECOND).leases
    assert [(one.entry_id, one.level, one.is_expired) for one in leased] == [
        ("high", 1, False),
        ("dear", 5, False),
        ("over", 5, True),
        ("low", 9, False),
    ]
    assert engine.explain(QUEUE, "dear", now_us=NOW).cost == 3_000_000
    assert ids(lease(engine, 9, now_us=NOW + 2 * SECOND)) == ["late"]
    check(engine)


def test_a_moved_key_is_charged_for_what_it_got(engine: Engine) -> None:
    store(engine, entries("a", 4), entries("b", 4), entries("c", 8))
    assert keys(lease(engine, 3)) == ["a", "b", "c"]
    carry_out(engine, begin(engine, Move(QUEUE, ("b",))))
    assert keys(lease(engine, 6)) == ["b", "c", "b", "c", "b", "c"]


def test_all_below_a_node_is_moved_to_one_key(engine: Engine) -> None:
    store(engine, [below("own", "a"), below("x", "a", "x"), below("y", "a", "y", "z")])
    carry_out(engine, begin(engine, Move(QUEUE, ("b", "c"))), 1)
    assert {one.key for one in lease(engine, 9).leases} == {("b", "c")}
    check(engine)


@pytest.mark.parametrize("target", [("a", "x"), ("a", "new"), ("a", "x", "deep")])
@pytest.mark.parametrize("limit", [1, 100])
def test_entries_are_moved_below_their_own_key_once(
    engine: Engine, target: KeyPath, limit: int
) -> None:
    store(engine, entries("a", 3), [below("x", "a", "x")])
    assert carry_out(engine, begin(engine, Move(QUEUE, target)), limit) == 4
    leased = lease(engine, 9).leases
    assert {one.key for one in leased} == {target}
    assert sorted(one.entry_id for one in leased) == ["a-0", "a-1", "a-2", "x"]
    check(engine)


def test_what_is_moved_to_a_key_that_is_being_cancelled_is_not_cancelled(engine: Engine) -> None:
    store(engine, entries("a", 1), entries("b", 1))
    move = begin(engine, Move(QUEUE, ("b",)))
    cancelled = engine.withdraw(QUEUE, ("b",), HELPER, now_us=NOW)
    assert cancelled is not None
    carry_out(engine, move)
    reply = step(engine, cancelled)
    while reply.progress is Progress.SWEEPING:
        reply = step(engine, cancelled)
    assert [one.entry_id for one in reply.entries] == ["b-0"]
    assert ids(lease(engine, 9)) == ["a-0"]


def test_what_a_dead_worker_held_is_still_suspect_under_its_new_key(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.STARTED)
    late_us = NOW + LEASE_US
    for now_us in range(NOW - LEASE_US, late_us + 1, LEASE_US // 3):
        engine.reap(9, now_us=now_us)
    carry_out(engine, begin(engine, Move(QUEUE, ("b",))))
    leased = lease_one(engine, now_us=late_us)
    assert (leased.key, leased.deliveries, leased.is_suspect) == (("b",), 1, True)


# -- to another queue ------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_all_that_waits_at_a_key_waits_in_another_queue_behind_what_waits_there(
    engine: Engine, limit: int
) -> None:
    store(engine, entries("a", 3), entries("b", 1), [entry("there", "a", OTHER)])
    assert carry_out(engine, begin(engine, Move(OTHER)), limit) == 3
    assert ids(lease(engine, 9)) == ["b-0"]
    assert ids(lease(engine, 9, queues=[OTHER])) == ["there", "a-0", "a-1", "a-2"]
    check(engine)


def test_entries_of_many_keys_come_to_another_queue_in_the_order_they_were_stored_in(
    engine: Engine,
) -> None:
    store(engine, [below(f"e{n}", "a", "xyz"[n % 3]) for n in range(9)])
    carry_out(engine, begin(engine, Move(OTHER, ("b",))), 2)
    assert ids(lease(engine, 9, queues=[OTHER])) == [f"e{n}" for n in range(9)]


def test_each_entry_stays_its_own_keys_in_another_queue(engine: Engine) -> None:
    store(engine, [below("own", "a"), below("x", "a", "x")])
    carry_out(engine, begin(engine, Move(OTHER)))
    leased = lease(engine, 9, queues=[OTHER]).leases
    assert {(one.entry_id, one.key) for one in leased} == {("own", ("a",)), ("x", ("a", "x"))}


def test_levels_costs_due_times_expiries_and_deliveries_go_along_to_another_queue(
    engine: Engine,
) -> None:
    store(engine, [entry("again", "a", level=2)])
    settle(engine, lease_one(engine), OutcomeKind.STARTED, OutcomeKind.REQUEUED)
    store(
        engine,
        [
            entry("late", "a", due_in_us=2 * SECOND, level=8),
            entry("dear", "a", cost=3_000_000),
            entry("over", "a", expires_in_us=SECOND),
        ],
    )
    assert engine.snapshot(QUEUE, now_us=NOW).delayed == 2
    carry_out(engine, begin(engine, Move(OTHER, ("b",))))
    assert engine.snapshot(OTHER, now_us=NOW).delayed == 2
    leased = lease(engine, 9, queues=[OTHER], now_us=NOW + SECOND).leases
    assert [(one.entry_id, one.level, one.deliveries, one.is_expired) for one in leased] == [
        ("again", 2, 1, False),
        ("dear", 5, 0, False),
        ("over", 5, 0, True),
    ]
    assert engine.explain(OTHER, "dear", now_us=NOW).cost == 3_000_000
    (late,) = lease(engine, 9, queues=[OTHER], now_us=NOW + 2 * SECOND).leases
    assert (late.entry_id, late.level, late.key) == ("late", 8, ("b",))
    check(engine)


def test_what_is_on_its_way_is_in_one_place_at_every_instant(engine: Engine) -> None:
    store(engine, entries("a", 2))
    withdrawal = begin(engine, Move(OTHER))
    check(engine)
    reply = step(engine, withdrawal, 9)
    check(engine)
    reply = step(engine, withdrawal, 9)
    assert engine.queues() == {QUEUE}
    assert lease(engine, 9, queues=[QUEUE, OTHER]).leases == ()
    assert engine.enqueue(entries("a", 1), now_us=NOW).taken == ("a-0",)
    assert arrive(engine, reply) == ()
    check(engine)
    assert engine.queues() == {QUEUE, OTHER}


def test_what_arrived_does_not_arrive_again_even_when_it_has_run(engine: Engine) -> None:
    store(engine, entries("a", 3))
    withdrawal = begin(engine, Move(OTHER))
    step(engine, withdrawal)
    reply = step(engine, withdrawal, 2)
    assert arrive(engine, reply) == ()
    for one in lease(engine, 9, queues=[OTHER]).leases:
        settle(engine, one, OutcomeKind.STARTED, OutcomeKind.COMPLETED)
    # Whoever moved them died before it could say that they are done.
    reply = step(engine, withdrawal, 3)
    assert [one.entry_id for one in reply.entries] == ["a-0", "a-1", "a-2"]
    assert arrive(engine, reply) == ()
    assert arrive(engine, reply) == ()
    assert ids(lease(engine, 9, queues=[OTHER])) == ["a-2"]
    assert step(engine, withdrawal, 9, *reply.entries).progress is Progress.OVER
    check(engine)


def test_an_entry_whose_id_is_in_use_there_arrives_under_another_one(engine: Engine) -> None:
    store(engine, entries("a", 2), [entry("a-1", "b", OTHER)])
    withdrawal = begin(engine, Move(OTHER))
    step(engine, withdrawal)
    reply = step(engine, withdrawal)
    assert arrive(engine, reply) == ("a-1",)
    assert engine.snapshot(OTHER, now_us=NOW).waiting == 1
    renamed = [reply.entries[0], replace(reply.entries[1], entry_id="a-1.again")]
    assert engine.arrive(OTHER, reply.token, renamed, now_us=NOW) == ()
    assert step(engine, withdrawal, 9, *reply.entries).progress is Progress.OVER
    leased = lease(engine, 9, queues=[OTHER]).leases
    assert [(one.entry_id, one.message) for one in leased] == [
        ("a-1", b"a-1"),
        ("a-0", b"a-0"),
        ("a-1.again", b"a-1"),
    ]


def test_who_waits_there_is_woken_when_entries_arrive(engine: Engine) -> None:
    store(engine, entries("a", 1))
    withdrawal = begin(engine, Move(OTHER))
    carry_out(engine, withdrawal)
    assert engine.wait([OTHER], 0)


def test_a_move_that_nobody_carries_out_is_told_of_by_reaping(engine: Engine) -> None:
    store(engine, entries("a", 1))
    withdrawal = begin(engine, Move(OTHER))
    for now_us in range(NOW - LEASE_US, NOW + LEASE_US, LEASE_US // 3):
        engine.reap(9, now_us=now_us)
    assert engine.reap(9, now_us=NOW + LEASE_US).abandoned == (withdrawal,)


# -- one entry ---------------------------------------------------------------------------


def test_one_entry_is_moved_to_another_key_at_once(engine: Engine) -> None:
    store(engine, entries("a", 3), [entry("d", "a", due_in_us=SECOND)])
    for entry_id in ("a-1", "d"):
        moved = engine.move_entry(QUEUE, entry_id, HELPER, Move(QUEUE, ("b",)), now_us=NOW)
        assert moved is Moved.FILED
    leased = lease(engine, 9, now_us=NOW + SECOND).leases
    assert {(one.entry_id, one.key[0]) for one in leased} == {
        ("a-0", "a"),
        ("a-1", "b"),
        ("a-2", "a"),
        ("d", "b"),
    }
    check(engine)


@pytest.mark.parametrize("entry_id", ["a-1", "d"])
def test_one_entry_is_moved_to_another_queue(engine: Engine, entry_id: str) -> None:
    store(engine, entries("a", 3), [entry("d", "a", due_in_us=SECOND)])
    moved = engine.move_entry(QUEUE, entry_id, HELPER, Move(OTHER, ("b",)), now_us=NOW)
    assert isinstance(moved, Withdrawal)
    check(engine)
    assert carry_out(engine, moved) == 1
    (leased,) = lease(engine, 9, queues=[OTHER], now_us=NOW + SECOND).leases
    assert (leased.entry_id, leased.key) == (entry_id, ("b",))
    assert len(lease(engine, 9, now_us=NOW + SECOND).leases) == 3
    check(engine)


def test_an_entry_that_waits_there_already_stays(engine: Engine) -> None:
    store(engine, entries("a", 2))
    for move in (Move(QUEUE), Move(QUEUE, ("a",))):
        assert engine.move_entry(QUEUE, "a-0", HELPER, move, now_us=NOW) is Moved.SAME
    assert ids(lease(engine, 9)) == ["a-0", "a-1"]


def test_an_entry_that_does_not_wait_is_not_moved(engine: Engine) -> None:
    store(engine, entries("a", 2), entries("b", 1))
    settle(engine, lease_one(engine), OutcomeKind.DEAD)
    leased = lease_one(engine)
    engine.withdraw(QUEUE, ("a",), HELPER, now_us=NOW)
    for entry_id in ("a-0", leased.entry_id, "a-1", "unknown"):
        for move in (Move(OTHER), Move(QUEUE, ("a",))):
            moved = engine.move_entry(QUEUE, entry_id, HELPER, move, now_us=NOW)
            assert moved is Moved.ELSEWHERE
    assert engine.move_entry("unknown", "a-0", HELPER, Move(OTHER), now_us=NOW) is Moved.ELSEWHERE
    check(engine)

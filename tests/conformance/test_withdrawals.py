"""What every engine promises of taking away all that waits at a key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.explanation import BlockerKind, EntryState
from celery_ranch.scheduling.model import Entry, KeyPath, OutcomeKind, Withdrawal
from celery_ranch.scheduling.withdrawals import Aside, Progress
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
    reap_after_lease_time,
    settle,
    store,
)

HELPER = "helper-1"


def below(entry_id: str, *path: str, **facts: object) -> Entry:
    """Return an entry of a path."""
    return replace(entry(entry_id, **facts), key=path)


def begin(engine: Engine, *path: str, now_us: int = NOW) -> Withdrawal:
    """Withdraw a key that has something."""
    withdrawal = engine.withdraw(QUEUE, path or ("a",), HELPER, now_us=now_us)
    assert withdrawal is not None
    return withdrawal


def slices(
    engine: Engine, withdrawal: Withdrawal, limit: int = 100, now_us: int = NOW
) -> Iterator[tuple[Aside, ...]]:
    """Carry it out, and yield each slice of what is aside."""
    done: tuple[str, ...] = ()
    for _ in range(1_000):
        reply = engine.carry_out(withdrawal, HELPER, limit, done=done, now_us=now_us)
        if reply.progress is Progress.OVER:
            return
        assert reply.progress in (Progress.SWEEPING, Progress.ASIDE)
        done = tuple(one.entry_id for one in reply.entries)
        if reply.entries:
            yield reply.entries
    pytest.fail("it is not over after a thousand slices")


def carry_out(
    engine: Engine, withdrawal: Withdrawal, limit: int = 100, now_us: int = NOW
) -> list[str]:
    """Carry it out to the end; return the ids of what was withdrawn, in order."""
    found = slices(engine, withdrawal, limit, now_us)
    return [one.entry_id for each in found for one in each]


def sweep(engine: Engine, withdrawal: Withdrawal, limit: int = 100, now_us: int = NOW) -> None:
    """Take all of it aside, and leave it there."""
    for _ in range(1_000):
        progress = engine.carry_out(withdrawal, HELPER, limit, now_us=now_us).progress
        if progress is not Progress.SWEEPING:
            break
    assert progress is Progress.ASIDE


def check(engine: Engine) -> None:
    assert [*engine.check(QUEUE)] == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_all_that_waits_at_a_key_is_withdrawn_in_its_order(engine: Engine, limit: int) -> None:
    store(engine, entries("a", 5), entries("b", 1))
    withdrawal = begin(engine)
    found = slices(engine, withdrawal, limit)
    assert [[(one.entry_id, one.message) for one in each] for each in found] == [
        [(f"a-{n}", b"a-%d" % n) for n in range(5)][at : at + limit] for at in range(0, 5, limit)
    ]
    assert ids(lease(engine, 9)) == ["b-0"]
    check(engine)


def test_nothing_of_a_withdrawn_key_is_leased_from_that_instant_on(engine: Engine) -> None:
    store(engine, entries("a", 5), entries("b", 2))
    withdrawal = begin(engine)
    assert keys(lease(engine, 9)) == ["b", "b"]
    engine.carry_out(withdrawal, HELPER, 2, now_us=NOW)
    assert lease(engine, 9).leases == ()
    check(engine)


def test_what_is_stored_later_waits_until_the_rest_is_aside_and_is_served(engine: Engine) -> None:
    store(engine, entries("a", 3))
    withdrawal = begin(engine)
    store(engine, [entry("later", "a"), entry("much later", "a", due_in_us=SECOND)])
    assert lease(engine, 9).leases == ()
    sweep(engine, withdrawal)
    assert ids(lease(engine, 9)) == ["later"]
    assert carry_out(engine, withdrawal) == ["a-0", "a-1", "a-2"]
    assert ids(lease(engine, 9, now_us=NOW + SECOND)) == ["much later"]
    check(engine)


def test_who_waits_is_woken_when_a_withdrawn_key_races_again(engine: Engine) -> None:
    store(engine, entries("a", 1))
    withdrawal = begin(engine)
    store(engine, [entry("later", "a")])
    lease(engine, 1)
    engine.wait([QUEUE], 0)
    sweep(engine, withdrawal)
    assert engine.wait([QUEUE], 0)


def test_delayed_entries_are_withdrawn_as_well(engine: Engine) -> None:
    store(engine, entries("a", 2), [entry(f"d{n}", "a", due_in_us=n * SECOND) for n in (3, 1, 2)])
    assert sorted(carry_out(engine, begin(engine), 2)) == ["a-0", "a-1", "d1", "d2", "d3"]
    assert engine.snapshot(QUEUE, now_us=NOW).next_due_in_us is None
    check(engine)


def test_an_entry_that_comes_due_meanwhile_is_withdrawn_all_the_same(engine: Engine) -> None:
    store(engine, [entry("d1", "a", due_in_us=SECOND)], entries("a", 3))
    withdrawal = begin(engine)
    store(engine, [entry("later", "a", due_in_us=SECOND)])
    assert lease(engine, 9, now_us=NOW + SECOND).leases == ()
    assert engine.snapshot(QUEUE, now_us=NOW + SECOND).delayed == 0
    found = carry_out(engine, withdrawal, 1, NOW + SECOND)
    assert sorted(found) == ["a-0", "a-1", "a-2", "d1"]
    assert ids(lease(engine, 9, now_us=NOW + SECOND)) == ["later"]


def test_an_entry_that_comes_due_between_two_slices_is_withdrawn_all_the_same(
    engine: Engine,
) -> None:
    store(engine, [entry(f"d{n}", "a", due_in_us=n * SECOND) for n in (1, 2, 3)], entries("a", 3))
    withdrawal = begin(engine)
    for n in range(3):
        engine.carry_out(withdrawal, HELPER, 1, now_us=NOW + n * SECOND)
        lease(engine, 1, now_us=NOW + n * SECOND)
    found = carry_out(engine, withdrawal, 1, NOW + 3 * SECOND)
    assert sorted(found) == ["a-0", "a-1", "a-2", "d1", "d2", "d3"]


def test_delayed_entries_stored_later_do_not_hide_older_ones(engine: Engine) -> None:
    store(engine, [entry(f"d{n}", "a", due_in_us=n * SECOND) for n in (5, 7, 9)])
    withdrawal = begin(engine)
    for n in range(1, 10):
        store(engine, [entry(f"later{n}", "a", due_in_us=n * SECOND)])
        engine.carry_out(withdrawal, HELPER, 1, now_us=NOW)
    assert sorted(carry_out(engine, withdrawal, 1)) == ["d5", "d7", "d9"]
    assert engine.snapshot(QUEUE, now_us=NOW).delayed == 9
    check(engine)


@pytest.mark.parametrize("kind", [OutcomeKind.RELEASED, OutcomeKind.REQUEUED])
@pytest.mark.parametrize("delay_us", [0, SECOND])
def test_what_was_leased_at_that_instant_is_not_withdrawn_when_it_comes_back(
    engine: Engine, kind: OutcomeKind, delay_us: int
) -> None:
    store(engine, entries("a", 3))
    leased = lease_one(engine)
    withdrawal = begin(engine)
    settle(engine, leased, kind, due_in_us=delay_us)
    assert carry_out(engine, withdrawal) == ["a-1", "a-2"]
    assert ids(lease(engine, 9, now_us=NOW + 2 * SECOND)) == ["a-0"]
    check(engine)


def test_what_a_dead_worker_held_at_that_instant_is_not_withdrawn(engine: Engine) -> None:
    store(engine, entries("a", 3))
    settle(engine, lease_one(engine), OutcomeKind.STARTED)
    lease_one(engine)
    withdrawal = begin(engine)
    late_us = NOW + LEASE_US
    assert reap_after_lease_time(engine).requeued == 1
    assert carry_out(engine, withdrawal, now_us=late_us) == ["a-2"]
    assert ids(lease(engine, 9, now_us=late_us)) == ["a-0", "a-1"]


def test_entries_of_all_levels_are_withdrawn(engine: Engine) -> None:
    store(engine, [entry(f"e{level}", "a", level=level) for level in range(11)])
    assert sorted(carry_out(engine, begin(engine), 4)) == sorted(f"e{n}" for n in range(11))
    check(engine)


def test_all_below_a_node_is_withdrawn_and_nothing_beside_it(engine: Engine) -> None:
    store(
        engine,
        [below("own", "a"), below("x", "a", "x"), below("y", "a", "y", "deep")],
        [below("aa", "aa"), below("b", "b", "a")],
        [below("late", "a", "z", due_in_us=SECOND)],
    )
    withdrawal = begin(engine)
    store(engine, [below("newer", "a", "x")])
    assert sorted(ids(lease(engine, 9))) == ["aa", "b"]
    assert sorted(carry_out(engine, withdrawal, 1)) == ["late", "own", "x", "y"]
    assert ids(lease(engine, 9)) == ["newer"]
    check(engine)


def test_a_node_of_many_children_is_withdrawn_with_all_of_them(engine: Engine) -> None:
    count = 700
    store(engine, [below(f"e{n}", "a", f"k{n}") for n in range(count)], entries("b", 1))
    withdrawal = begin(engine)
    assert sorted(carry_out(engine, withdrawal, 90)) == sorted(f"e{n}" for n in range(count))
    assert ids(lease(engine, 9)) == ["b-0"]
    check(engine)


def test_a_node_below_a_key_is_withdrawn_and_the_key_goes_on(engine: Engine) -> None:
    store(engine, [below("own", "a"), below("x", "a", "x"), below("y", "a", "y")])
    assert carry_out(engine, begin(engine, "a", "x")) == ["x"]
    assert sorted(ids(lease(engine, 9))) == ["own", "y"]


def test_a_key_that_gets_its_first_child_meanwhile_loses_what_waited_at_it(engine: Engine) -> None:
    store(engine, entries("a", 4))
    withdrawal = begin(engine)
    engine.carry_out(withdrawal, HELPER, 1, now_us=NOW)
    store(engine, [below("x", "a", "x")])
    assert sorted(carry_out(engine, withdrawal, 1)) == ["a-0", "a-1", "a-2", "a-3"]
    assert ids(lease(engine, 9)) == ["x"]
    check(engine)


@pytest.mark.parametrize("first", [("a",), ("a", "x")])
def test_of_two_withdrawals_each_entry_belongs_to_the_first_that_meets_it(
    engine: Engine, first: KeyPath
) -> None:
    second = ("a", "x") if first == ("a",) else ("a",)
    store(engine, [below("old", "a", "x")])
    one = begin(engine, *first)
    store(engine, [below("new", "a", "x")])
    other = begin(engine, *second)
    store(engine, [below("newest", "a", "x")])
    assert lease(engine, 9).leases == ()
    assert carry_out(engine, other, 1) == ["new"]
    assert carry_out(engine, one) == ["old"]
    assert ids(lease(engine, 9)) == ["newest"]
    check(engine)


def test_a_key_that_is_withdrawn_twice_races_when_both_are_swept(engine: Engine) -> None:
    store(engine, entries("a", 1))
    one = begin(engine)
    store(engine, [entry("second", "a")])
    other = begin(engine)
    store(engine, [entry("third", "a")])
    assert carry_out(engine, one) == ["a-0"]
    assert lease(engine, 9).leases == ()
    assert carry_out(engine, other) == ["second"]
    assert ids(lease(engine, 9)) == ["third"]


def test_what_is_aside_is_returned_until_it_is_done(engine: Engine) -> None:
    store(engine, entries("a", 3))
    withdrawal = begin(engine)
    sweep(engine, withdrawal)
    for _ in range(2):
        reply = engine.carry_out(withdrawal, HELPER, 2, now_us=NOW)
        assert [one.entry_id for one in reply.entries] == ["a-0", "a-1"]
    reply = engine.carry_out(withdrawal, HELPER, 2, done=["a-1", "unknown", "a-1"], now_us=NOW)
    assert [one.entry_id for one in reply.entries] == ["a-0", "a-2"]
    check(engine)


def test_what_is_aside_neither_waits_nor_is_leased_nor_frees_its_id(engine: Engine) -> None:
    store(engine, entries("a", 2), entries("b", 1))
    withdrawal = begin(engine)
    sweep(engine, withdrawal)
    counts = engine.snapshot(QUEUE, now_us=NOW)
    assert (counts.waiting, counts.delayed, counts.leased, counts.dead) == (1, 0, 0, 0)
    assert engine.pending(QUEUE, ("a",)) == ()
    assert engine.cancel(QUEUE, "a-0", now_us=NOW) is None
    assert engine.enqueue(entries("a", 1), now_us=NOW).taken == ("a-0",)
    carry_out(engine, withdrawal)
    assert engine.enqueue(entries("a", 1), now_us=NOW).stored == 1
    check(engine)


def test_how_many_were_taken_is_said(engine: Engine) -> None:
    store(engine, entries("a", 5))
    withdrawal = begin(engine)
    replies = [engine.carry_out(withdrawal, HELPER, 3, now_us=NOW).taken for _ in range(4)]
    assert replies == [3, 5, 5, 5]
    everything = [f"a-{n}" for n in range(5)]
    reply = engine.carry_out(withdrawal, HELPER, 3, done=everything, now_us=NOW)
    assert (reply.progress, reply.taken) == (Progress.OVER, 5)
    assert engine.carry_out(withdrawal, HELPER, 3, now_us=NOW).progress is Progress.ELSEWHERE


def test_an_entry_that_is_cancelled_by_its_id_meanwhile_is_not_met_again(engine: Engine) -> None:
    store(engine, entries("a", 3))
    withdrawal = begin(engine)
    assert engine.cancel(QUEUE, "a-1", now_us=NOW) == b"a-1"
    assert carry_out(engine, withdrawal) == ["a-0", "a-2"]


def test_a_withdrawal_of_which_nothing_is_left_is_over_at_once(engine: Engine) -> None:
    store(engine, entries("a", 1))
    withdrawal = begin(engine)
    engine.cancel(QUEUE, "a-0", now_us=NOW)
    reply = engine.carry_out(withdrawal, HELPER, 9, now_us=NOW)
    assert (reply.progress, reply.taken) == (Progress.OVER, 0)
    store(engine, entries("a", 1))
    assert ids(lease(engine, 9)) == ["a-0"]


def test_where_nothing_waits_nothing_is_withdrawn(engine: Engine) -> None:
    assert engine.withdraw("unknown", ("a",), HELPER, now_us=NOW) is None
    store(engine, entries("a", 1), entries("b", 1))
    assert engine.withdraw(QUEUE, ("c",), HELPER, now_us=NOW) is None
    leased = lease_one(engine)
    assert engine.withdraw(QUEUE, leased.key, HELPER, now_us=NOW) is None
    settle(engine, leased, OutcomeKind.DEAD)
    assert engine.withdraw(QUEUE, leased.key, HELPER, now_us=NOW) is None
    assert len(engine.dead_letters(QUEUE)) == 1


def test_a_paused_key_is_withdrawn_and_stays_paused(engine: Engine) -> None:
    store(engine, entries("a", 2))
    engine.pause(QUEUE, ("a",))
    withdrawal = begin(engine)
    store(engine, [entry("later", "a")])
    assert carry_out(engine, withdrawal) == ["a-0", "a-1"]
    assert lease(engine, 9).leases == ()
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 9)) == ["later"]


def test_a_key_that_is_resumed_meanwhile_is_not_served_before_it_is_swept(engine: Engine) -> None:
    store(engine, entries("a", 2))
    engine.pause(QUEUE, ("a",))
    withdrawal = begin(engine)
    engine.resume(QUEUE, ("a",))
    assert lease(engine, 9).leases == ()
    assert len(carry_out(engine, withdrawal)) == 2


def test_a_withdrawal_wipes_out_no_debt(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 0.1)
    store(engine, entries("a", 2), entries("b", 50))
    assert keys(lease(engine, 1)) == ["a"]
    carry_out(engine, begin(engine))
    store(engine, [entry("later", "a")])
    assert keys(lease(engine, 11)) == ["b"] * 10 + ["a"]


def test_why_an_entry_waits_that_is_being_withdrawn_can_be_told(engine: Engine) -> None:
    store(engine, entries("a", 2), [entry("d", "a", due_in_us=SECOND)])
    withdrawal = begin(engine)
    told = engine.explain(QUEUE, "a-1", now_us=NOW)
    assert [blocker.kind for blocker in told.blockers] == [BlockerKind.WITHDRAWN]
    assert str(told).endswith("a is being withdrawn; no worker serves its queue")
    sweep(engine, withdrawal)
    for entry_id in ("a-1", "d"):
        told = engine.explain(QUEUE, entry_id, now_us=NOW)
        assert (told.state, told.key) == (EntryState.WITHDRAWN, ("a",))
        assert str(told) == "withdrawn: it was cancelled with its key, or is being moved"


# -- helpers ------------------------------------------------------------------------


def test_what_a_helper_works_on_no_other_one_does(engine: Engine) -> None:
    store(engine, entries("a", 3))
    withdrawal = begin(engine)
    sweep(engine, withdrawal, now_us=NOW + SECOND)
    until_us = NOW + SECOND + LEASE_US
    for done in ((), ("a-0",)):
        reply = engine.carry_out(withdrawal, "other", 9, done=done, now_us=until_us - 1)
        assert reply.progress is Progress.ELSEWHERE
    reply = engine.carry_out(withdrawal, "other", 9, now_us=until_us)
    assert len(reply.entries) == 3
    assert (
        engine.carry_out(withdrawal, HELPER, 9, done=["a-0"], now_us=until_us).progress
        is Progress.ELSEWHERE
    )
    check(engine)


def reap_regularly(engine: Engine, until_us: int) -> None:
    for now_us in range(NOW - LEASE_US, until_us, LEASE_US // 3):
        assert engine.reap(9, now_us=now_us).abandoned == ()


def test_a_withdrawal_that_nobody_works_on_is_told_of_by_reaping(engine: Engine) -> None:
    store(engine, entries("a", 3))
    withdrawal = begin(engine)
    reap_regularly(engine, NOW + LEASE_US)
    late_us = NOW + LEASE_US
    assert engine.reap(9, now_us=late_us).abandoned == (withdrawal,)
    reply = engine.carry_out(withdrawal, "other", 9, now_us=late_us)
    assert reply.progress is Progress.SWEEPING
    assert engine.reap(9, now_us=late_us).abandoned == ()
    everything = ["a-0", "a-1", "a-2"]
    reply = engine.carry_out(withdrawal, "other", 9, done=everything, now_us=late_us)
    assert reply.progress is Progress.OVER
    assert engine.reap(9, now_us=late_us + LEASE_US // 3).abandoned == ()


def test_a_later_withdrawal_is_carried_out_past_one_that_was_abandoned(engine: Engine) -> None:
    store(engine, entries("a", 3), entries("b", 2))
    begin(engine, "a")
    assert carry_out(engine, begin(engine, "b"), 1) == ["b-0", "b-1"]
    check(engine)

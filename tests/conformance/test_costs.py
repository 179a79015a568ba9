"""What every engine promises of costs: said, measured, corrected, on every node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import MAX_COST, Entry, Lease, Outcome, OutcomeKind
from tests.conformance.histories import (
    LEASE_US,
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    keys,
    lease,
    lease_one,
    settle,
    store,
)

UNIT = 1_000_000


def measured(key: str, count: int, name: str = "") -> list[Entry]:
    """Return entries that cost the seconds they take."""
    return [entry(f"{name or key}-{i}", key, cost=None) for i in range(count)]


def end(engine: Engine, leased: Lease, run_us: int | None, now_us: int = NOW) -> None:
    outcome = Outcome(OutcomeKind.COMPLETED, QUEUE, leased.entry_id, leased.number, run_us=run_us)
    assert engine.settle("w1", [outcome], now_us=now_us) == ()


def learn(engine: Engine, key: str, run_us: int) -> None:
    """Let one entry of a key run so long, and the queue be idle again."""
    store(engine, measured(key, 1, f"learn-{key}"))
    end(engine, lease_one(engine), run_us)


# -- costs that are said -------------------------------------------------------------------


def test_an_entry_that_costs_three_counts_as_three(engine: Engine) -> None:
    store(engine, entries("dear", 20, cost=3 * UNIT), entries("cheap", 60))
    assert Counter(keys(lease(engine, 40))) == {"dear": 10, "cheap": 30}


def test_a_cost_is_divided_by_the_share(engine: Engine) -> None:
    engine.set_share(QUEUE, ("dear",), 3.0)
    store(engine, entries("dear", 20, cost=3 * UNIT), entries("cheap", 20))
    assert Counter(keys(lease(engine, 20))) == {"dear": 10, "cheap": 10}


def test_each_entry_has_a_cost_of_its_own(engine: Engine) -> None:
    store(engine, [entry("a0", "a", cost=4 * UNIT), entry("a1", "a"), entry("a2", "a")])
    store(engine, entries("b", 9))
    assert keys(lease(engine, 8)) == ["a", "b", "b", "b", "b", "a", "b", "a"]


def test_the_smallest_cost_is_charged_and_lets_nobody_starve(engine: Engine) -> None:
    engine.set_share(QUEUE, ("tiny",), 100.0)
    store(engine, entries("tiny", 100, cost=1), entries("other", 100))
    assert Counter(keys(lease(engine, 50))) == {"tiny": 49, "other": 1}
    store(engine, entries("late", 9, cost=1))
    assert keys(lease(engine, 4)) == ["late", "tiny", "late", "tiny"]


def test_the_largest_cost_at_the_smallest_share_is_charged_exactly(engine: Engine) -> None:
    for name in "ab":
        engine.set_share(QUEUE, (name,), 0.01)
        store(engine, entries(name, 5, cost=MAX_COST))
    assert keys(lease(engine, 9)) == ["a", "b"] * 4 + ["a"]


def test_a_cost_is_charged_at_every_node_of_its_path(engine: Engine) -> None:
    store(engine, [Entry("x", ("t", "x"), QUEUE, b"", cost=3 * UNIT)])
    store(engine, [Entry(f"y{i}", ("t", "y"), QUEUE, b"") for i in range(5)], entries("u", 9))
    leased = lease(engine, 8).leases
    assert ["/".join(one.key) for one in leased] == ["t/x", *["u"] * 3, "t/y", "u", "t/y", "u"]


def test_an_entry_given_back_keeps_what_was_charged_where_its_cost_was_said(
    engine: Engine,
) -> None:
    store(engine, entries("a", 1, cost=3 * UNIT), entries("b", 9))
    settle(engine, lease_one(engine), OutcomeKind.RELEASED)
    assert keys(lease(engine, 4)) == ["b", "b", "b", "a"]


def test_a_run_time_does_not_change_a_cost_that_was_said(engine: Engine) -> None:
    store(engine, entries("a", 5), entries("b", 9))
    end(engine, lease_one(engine), run_us=60 * SECOND)
    assert keys(lease(engine, 4)) == ["b", "a", "b", "a"]


# -- costs that are measured ---------------------------------------------------------------


def test_a_key_whose_entries_take_long_gets_fewer_of_them(engine: Engine) -> None:
    store(engine, measured("slow", 60), measured("quick", 60))
    took_us = {"slow": 4 * SECOND, "quick": SECOND}
    started: list[str] = []
    for _ in range(50):
        leased = lease_one(engine)
        started.append(leased.key[0])
        end(engine, leased, took_us[leased.key[0]])
    assert Counter(started) == {"quick": 40, "slow": 10}


def test_before_it_was_measured_an_entry_is_charged_what_its_key_took_so_far(
    engine: Engine,
) -> None:
    learn(engine, "slow", 3 * SECOND)
    learn(engine, "quick", SECOND)
    store(engine, measured("slow", 5), measured("quick", 9))
    assert keys(lease(engine, 8)) == ["slow", *["quick"] * 3, "slow", *["quick"] * 3]


def test_a_new_key_is_thought_to_cost_what_its_queue_does(engine: Engine) -> None:
    learn(engine, "old", 2 * SECOND)
    store(engine, entries("told", 9), measured("new", 9))
    assert keys(lease(engine, 6)) == ["told", "new", "told", "new", "told", "told"]


def test_what_was_charged_too_little_is_charged_when_the_entry_ends(engine: Engine) -> None:
    store(engine, measured("a", 3), measured("b", 9))
    end(engine, lease_one(engine), 4 * SECOND)
    assert keys(lease(engine, 1)) == ["b"]
    engine.set_share(QUEUE, ("b",), 4.0)  # what b is thought to cost is what a took
    assert keys(lease(engine, 4)) == ["b", "b", "b", "a"]


def test_what_was_charged_too_much_is_given_back_when_the_entry_ends(engine: Engine) -> None:
    store(engine, measured("a", 9), entries("b", 9))
    first, second = lease(engine, 2).leases
    assert (first.key, second.key) == (("a",), ("b",))
    end(engine, first, SECOND // 4)
    assert keys(lease(engine, 5)) == ["a", "a", "a", "b", "a"]


@pytest.mark.parametrize("kind", [OutcomeKind.RELEASED, OutcomeKind.COMPLETED, OutcomeKind.DEAD])
def test_what_never_started_is_charged_for_nothing(engine: Engine, kind: OutcomeKind) -> None:
    store(engine, measured("a", 3), entries("b", 3))
    first, _ = lease(engine, 2).leases
    settle(engine, first, kind)
    assert keys(lease(engine, 1)) == ["a"]


def test_what_started_and_was_not_measured_keeps_its_charge(engine: Engine) -> None:
    store(engine, measured("a", 3), entries("b", 3))
    first, _ = lease(engine, 2).leases
    settle(engine, first, OutcomeKind.STARTED, OutcomeKind.COMPLETED)
    assert keys(lease(engine, 2)) == ["a", "b"]
    store(engine, measured("c", 1))
    assert lease_one(engine).key == ("c",)


@pytest.mark.parametrize("is_started", [False, True])
def test_what_a_dead_worker_held_is_charged_only_if_it_had_started(
    engine: Engine, is_started: bool
) -> None:
    learn(engine, "a", 3 * SECOND)
    store(engine, measured("a", 2), entries("b", 4))
    other, first = lease(engine, 2).leases
    assert (other.key, first.key) == (("b",), ("a",))
    if is_started:
        settle(engine, first, OutcomeKind.STARTED)
    for now_us in range(NOW - LEASE_US, NOW + LEASE_US + 1, LEASE_US // 3):
        engine.reap(10, now_us=now_us)
    later = lease(engine, 3, "w2", now_us=NOW + LEASE_US)
    assert keys(later) == (["b", "b", "a"] if is_started else ["a", "b", "b"])


def test_a_correction_is_made_once_however_the_end_is_reported(engine: Engine) -> None:
    store(engine, measured("a", 3), entries("b", 9))
    leased = lease_one(engine)
    for kind in (OutcomeKind.STARTED, OutcomeKind.FINISHED, OutcomeKind.ACKNOWLEDGED):
        report = Outcome(kind, QUEUE, leased.entry_id, leased.number, run_us=3 * SECOND)
        assert engine.settle("w1", [report], now_us=NOW) == ()
    assert keys(lease(engine, 4)) == ["b", "b", "b", "a"]


def test_a_correction_reaches_a_key_that_has_nothing_waiting(engine: Engine) -> None:
    store(engine, measured("a", 1), entries("b", 9))
    end(engine, lease_one(engine), 3 * SECOND)
    store(engine, entries("a", 3))
    assert keys(lease(engine, 4)) == ["b", "b", "b", "a"]


def test_a_correction_reaches_every_node_of_the_path(engine: Engine) -> None:
    store(engine, [Entry("x", ("t", "x"), QUEUE, b"", cost=None)])
    store(engine, [Entry(f"y{i}", ("t", "y"), QUEUE, b"") for i in range(5)], entries("u", 9))
    end(engine, lease_one(engine), 3 * SECOND)
    assert ["/".join(one.key) for one in lease(engine, 5).leases] == [*["u"] * 3, "t/y", "u"]
    store(engine, [Entry("x1", ("t", "x"), QUEUE, b"")])
    assert ["/".join(one.key) for one in lease(engine, 5).leases] == ["t/y", "u", "t/y", "u", "t/x"]


def test_a_correction_is_charged_with_the_share_of_its_moment(engine: Engine) -> None:
    store(engine, measured("a", 1), entries("b", 9))
    leased = lease_one(engine)
    engine.set_share(QUEUE, ("a",), 2.0)
    end(engine, leased, 5 * SECOND)
    store(engine, entries("a", 3))
    assert keys(lease(engine, 4)) == ["b", "b", "b", "a"]


def test_a_correction_is_made_at_the_level_that_was_charged(engine: Engine) -> None:
    for level in (3, 7):
        store(engine, [entry(f"a{level}", "a", level=level, cost=None)])
        store(engine, entries("b", 5, level=level) if level == 7 else [])
    store(engine, [entry("b3", "b", level=3)])
    end(engine, lease_one(engine), 30 * SECOND)
    assert [(one.key[0], one.level) for one in lease(engine, 3).leases] == [
        *(("b", 3), ("a", 7), ("b", 7))
    ]


def test_an_endless_run_is_charged_as_the_largest_cost_there_is(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 0.01)
    store(engine, measured("a", 2), entries("b", 1_000))
    end(engine, lease_one(engine), 10**17)
    assert set(keys(lease(engine, 900))) == {"b"}
    assert [*engine.check(QUEUE)] == []


def test_an_estimate_moves_an_eighth_of_the_way_to_what_was_measured(engine: Engine) -> None:
    learn(engine, "a", SECOND)
    learn(engine, "a", 9 * SECOND)  # thought to cost 2 now
    store(engine, measured("a", 5), entries("b", 9))
    assert keys(lease(engine, 6)) == ["b", "a", "b", "a", "b", "b"]


def test_what_never_started_teaches_nothing(engine: Engine) -> None:
    learn(engine, "a", 3 * SECOND)
    store(engine, measured("a", 3))
    settle(engine, lease_one(engine), OutcomeKind.RELEASED)
    for _ in range(9):
        settle(engine, lease_one(engine), OutcomeKind.RELEASED)
    store(engine, entries("b", 9))
    assert keys(lease(engine, 5)) == ["b", "a", "b", "b", "a"]


def test_estimates_outlive_an_idle_queue_and_go_with_their_key(
    open_engine: Callable[..., Engine],
) -> None:
    engine = open_engine(idle_key_us=100 * SECOND)
    learn(engine, "a", SECOND)
    for _ in range(40):
        learn(engine, "b", 5 * SECOND)
    engine.reap(10, now_us=NOW + 100 * SECOND)
    assert engine.keys(QUEUE) == (0, ())
    store(engine, measured("a", 3), entries("c", 9))
    assert keys(lease(engine, 7)) == ["a", *["c"] * 5, "a"]

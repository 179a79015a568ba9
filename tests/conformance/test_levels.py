"""What every engine promises of levels: strict classes, across queues, or with a floor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import DEFAULT_LEVEL, LEVELS, OutcomeKind
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


def levels_of(engine: Engine, limit: int) -> list[int]:
    return [leased.level for leased in lease(engine, limit).leases]


def test_a_lower_level_is_served_first_whoever_waits_for_how_long(engine: Engine) -> None:
    for level in (7, 0, 10, 3):
        store(engine, [entry(f"e{level}", f"k{level}", level=level)])
    store(engine, [entry("default")])
    leased = lease(engine, 9)
    assert ids(leased) == ["e0", "e3", "default", "e7", "e10"]
    assert [one.level for one in leased.leases] == [0, 3, DEFAULT_LEVEL, 7, 10]


def test_a_key_that_was_served_much_goes_before_others_at_a_lower_level(engine: Engine) -> None:
    store(engine, [entry(f"a{i}", "a", level=2) for i in range(9)], entries("b", 9))
    assert keys(lease(engine, 12)) == ["a"] * 9 + ["b"] * 3


def test_within_a_level_keys_take_turns(engine: Engine) -> None:
    for level in (6, 4):
        for name in "ab":
            store(engine, [entry(f"{name}{level}{i}", name, level=level) for i in range(2)])
    assert ids(lease(engine, 9)) == ["a40", "b40", "a41", "b41", "a60", "b60", "a61", "b61"]


def test_what_is_served_at_one_level_costs_nothing_at_another(engine: Engine) -> None:
    store(engine, [entry(f"u{i}", "a", level=0) for i in range(20)])
    store(engine, entries("a", 9), entries("b", 9))
    lease(engine, 20)
    assert keys(lease(engine, 4)) == ["a", "b", "a", "b"]


def test_levels_are_compared_across_queues(engine: Engine) -> None:
    store(engine, entries("a", 3, "one", level=5), entries("b", 3, "two", level=4))
    leased = lease(engine, 9, queues=["one", "two"])
    assert keys(leased) == ["b", "b", "b", "a", "a", "a"]


def test_queues_take_turns_within_a_level(engine: Engine) -> None:
    store(engine, entries("a", 2, "one", level=4), entries("c", 2, "one", level=5))
    store(engine, entries("b", 3, "two", level=4))
    leased = lease(engine, 9, queues=["one", "two"])
    assert keys(leased) == ["a", "b", "a", "b", "b", "c", "c"]


def test_an_entry_that_comes_later_at_a_lower_level_goes_next(engine: Engine) -> None:
    store(engine, entries("a", 9))
    lease(engine, 3)
    store(engine, [entry("urgent", "b", level=1)])
    assert ids(lease(engine, 2)) == ["urgent", "a-3"]


def test_a_delayed_entry_comes_due_at_its_level(engine: Engine) -> None:
    store(engine, entries("a", 9), [entry("urgent", "b", level=1, due_in_us=SECOND)])
    assert keys(lease(engine, 1)) == ["a"]
    assert ids(lease(engine, 2, now_us=NOW + SECOND)) == ["urgent", "a-1"]


@pytest.mark.parametrize("kind", [OutcomeKind.RELEASED, OutcomeKind.DEAD])
def test_an_entry_that_comes_back_has_kept_its_level(engine: Engine, kind: OutcomeKind) -> None:
    store(engine, [entry("urgent", "b", level=1)], entries("a", 1))
    settle(engine, lease_one(engine), kind)
    if kind is OutcomeKind.DEAD:
        engine.retry_dead(QUEUE, "urgent", now_us=NOW)
    assert lease_one(engine).level == 1


def test_a_key_with_entries_at_several_levels_keeps_each_ones_order(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", level=9 - i % 2) for i in range(6)])
    assert ids(lease(engine, 9)) == ["e1", "e3", "e5", "e0", "e2", "e4"]
    assert [*engine.check(QUEUE)] == []


def test_cancelling_the_last_of_a_level_lets_the_next_go_on(engine: Engine) -> None:
    store(engine, [entry("urgent", "b", level=1)], entries("a", 1))
    engine.cancel(QUEUE, "urgent", now_us=NOW)
    assert ids(lease(engine, 9)) == ["a-0"]


def test_a_pause_holds_at_every_level(engine: Engine) -> None:
    store(engine, [entry(f"e{level}", "a", level=level) for level in LEVELS], entries("b", 1))
    engine.pause(QUEUE, ("a",))
    assert keys(lease(engine, 20)) == ["b"]
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 20)) == [f"e{level}" for level in LEVELS]


def test_pending_lists_a_keys_entries_by_level(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", level=level) for i, level in enumerate((9, 0, 5, 0))])
    assert [name for name, _ in engine.pending(QUEUE, ("acme",))] == ["e1", "e3", "e2", "e0"]


def test_a_snapshot_counts_all_levels(engine: Engine) -> None:
    store(engine, [entry(f"e{level}", level=level) for level in LEVELS])
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == len(LEVELS)
    assert engine.keys(QUEUE)[1][0].waiting == len(LEVELS)


def test_an_expired_entry_is_handed_out_at_its_level(engine: Engine) -> None:
    store(engine, entries("a", 1), [entry("late", "b", level=9, expires_at_us=NOW)])
    assert ids(lease(engine, 2)) == ["a-0", "late"]


# -- the floor ---------------------------------------------------------------------------


def test_without_a_floor_a_flood_starves_the_levels_above_it(engine: Engine) -> None:
    store(engine, [entry(f"f{i}", "flood", level=0) for i in range(200)], entries("a", 1))
    assert set(levels_of(engine, 200)) == {0}


@pytest.mark.parametrize("floor", [90_909, 50_000])
def test_every_level_that_waits_gets_its_floor(
    open_engine: Callable[..., Engine], floor: int
) -> None:
    engine = open_engine(level_floor=floor)
    for level in (0, 3, 9):
        store(engine, entries(f"k{level}", 300, level=level))
    served: list[int] = []
    for _ in range(30):
        served += levels_of(engine, 10)
    for start in range(0, 300, 10):
        for level in (3, 9):
            got = served[start:].count(level)
            assert got >= floor * (300 - start) / 1_000_000 - 2
    counts = Counter(served)
    assert counts[3] <= floor * 300 / 1_000_000 + 1
    assert counts[0] == 300 - counts[3] - counts[9]


def test_a_floor_is_kept_over_calls_of_one_entry_each(open_engine: Callable[..., Engine]) -> None:
    together, one_by_one = open_engine(level_floor=90_000), open_engine(level_floor=90_000)
    for engine in (together, one_by_one):
        for level in (0, 5, 10):
            store(engine, entries(f"k{level}", 100, level=level))
    served = [level for _ in range(80) for level in levels_of(one_by_one, 1)]
    assert served == levels_of(together, 80)
    assert served.count(5) >= 6


def test_a_level_all_of_whose_keys_are_paused_is_owed_nothing(
    open_engine: Callable[..., Engine],
) -> None:
    engine = open_engine(level_floor=90_000)
    store(engine, entries("a", 200, level=0), entries("b", 200, level=9))
    engine.pause(QUEUE, ("b",))
    lease(engine, 50)
    engine.resume(QUEUE, ("b",))
    assert 9 not in levels_of(engine, 11)
    assert 9 in levels_of(engine, 2)


def test_a_floor_owed_goes_to_the_key_whose_turn_it_is_there(
    open_engine: Callable[..., Engine],
) -> None:
    engine = open_engine(level_floor=90_000)
    store(engine, entries("flood", 100, level=0))
    store(engine, entries("a", 20, level=9), entries("b", 20, level=9))
    served = [one.key[0] for one in lease(engine, 80).leases if one.level == 9]
    assert served == (["a", "b"] * 9)[: len(served)]
    assert len(served) >= 5

"""Levels: the order is strict, or no level that waits gets less than its floor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_ranch.errors import InvalidLevelError
from celery_ranch.scheduling.levels import LevelOrder, PriorityOrder
from celery_ranch.scheduling.model import LEVELS, WHOLE_CREDIT

MOST_FLOOR = WHOLE_CREDIT // 11

levels = st.sampled_from(LEVELS)
#: Which levels are eligible, and for how many dispatches.
phases = st.lists(
    st.tuples(st.sets(levels, min_size=1), st.integers(1, 60)), min_size=1, max_size=12
)


def _served(order: LevelOrder, history: list[tuple[set[int], int]]) -> list[tuple[set[int], int]]:
    """Return for each dispatch which levels were eligible and which was served."""
    served = []
    for eligible, count in history:
        for _ in range(count):
            level = order.next(sorted(eligible))
            order.dispatched(level, sorted(eligible))
            served.append((eligible, level))
    return served


@given(phases)
def test_without_a_floor_the_first_level_is_always_served(
    history: list[tuple[set[int], int]],
) -> None:
    for eligible, level in _served(LevelOrder(0), history):
        assert level == min(eligible)


@given(st.integers(0, MOST_FLOOR), phases)
def test_only_what_is_eligible_is_served(floor: int, history: list[tuple[set[int], int]]) -> None:
    for eligible, level in _served(LevelOrder(floor), history):
        assert level in eligible


@given(st.sampled_from([MOST_FLOOR, 50_000, 10_000]) | st.integers(1, MOST_FLOOR), phases)
@settings(max_examples=300, deadline=None)
def test_a_level_that_stays_eligible_gets_its_floor_of_any_stretch_of_dispatches(
    floor: int, history: list[tuple[set[int], int]]
) -> None:
    dispatches = _served(LevelOrder(floor), history)
    for level in LEVELS:
        #: What it lacks at worst, over all stretches that end here and in which it was eligible.
        lack = 0
        for eligible, served in dispatches:
            if level not in eligible:
                lack = 0
                continue
            lack = max(0, lack) + floor - WHOLE_CREDIT * (served == level)
            assert lack <= 2 * WHOLE_CREDIT


def test_the_floor_is_not_twice_what_was_promised_to_the_first_level_either() -> None:
    """With all levels waiting at the largest floor, each gets about as much as any other."""
    served = [level for _, level in _served(LevelOrder(MOST_FLOOR), [(set(LEVELS), 1_100)])]
    counts = [served.count(level) for level in LEVELS]
    assert sum(counts[1:]) <= 1_000
    assert min(counts) >= 98


def test_the_promise_is_nearly_reached() -> None:
    """Else it could be a sharper one: eleven levels come together, the last waits for ten."""
    served = [level for _, level in _served(LevelOrder(MOST_FLOOR), [(set(LEVELS), 100)])]
    assert served.index(10) * MOST_FLOOR >= 1.8 * WHOLE_CREDIT


def test_what_goes_before_its_turn_is_the_level_owed_most() -> None:
    """Not the first of those owed: with a floor so large, two are owed at once."""
    order = LevelOrder(900_000)
    order_of_turns = [level for _, level in _served(order, [({0, 7}, 1), ({0, 3, 7}, 4)])]
    assert order_of_turns == [0, 0, 7, 3, 7]


def test_what_goes_before_its_turn_goes_as_soon_as_it_is_owed_a_whole_dispatch() -> None:
    order = LevelOrder(100_000)
    order_of_turns = [level for _, level in _served(order, [({0, 7}, 4), ({0, 3, 7}, 12)])]
    assert order_of_turns == [0] * 10 + [7] + [0] * 3 + [3] + [0]


def test_what_is_served_as_the_first_is_owed_nothing_for_it() -> None:
    order = LevelOrder(100_000)
    _served(order, [({3}, 40)])
    assert [level for _, level in _served(order, [({0, 3}, 11)])] == [0] * 10 + [3]


def test_a_level_that_went_away_is_owed_nothing_when_it_comes_back() -> None:
    order = LevelOrder(100_000)
    _served(order, [({0, 9}, 9), ({0}, 1)])
    assert [level for _, level in _served(order, [({0, 9}, 11)])] == [0] * 10 + [9]


# -- what priorities mean --------------------------------------------------------------------


def test_a_priority_is_the_same_level_on_every_broker() -> None:
    assert [PriorityOrder.LOW_FIRST.level(p) for p in (0, 5, 10)] == [0, 5, 10]
    assert [PriorityOrder.HIGH_FIRST.level(p) for p in (0, 5, 10)] == [10, 5, 0]


@pytest.mark.parametrize("priority", [-1, 11, 5.0, True, "5", None, float("nan")])
@pytest.mark.parametrize("order", PriorityOrder)
def test_a_priority_that_is_none_is_refused_and_shown(order: PriorityOrder, priority: Any) -> None:
    with pytest.raises(InvalidLevelError) as refused:
        order.level(priority)
    assert refused.value.level is priority

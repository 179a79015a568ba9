"""Costs: what calls say, and what is learnt from what was measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_ranch.errors import InvalidCostError
from celery_ranch.scheduling.costs import FIRST_ESTIMATE, Estimates, cost_of
from celery_ranch.scheduling.model import MAX_COST, charge


@pytest.mark.parametrize(
    "cost, millionths",
    [(1, 10**6), (2.5, 2_500_000), (1e-6, 1), (1e6, MAX_COST), (0.1, 100_000), (1.0000004, 10**6)],
)
def test_a_cost_is_counted_in_millionths(cost: float, millionths: int) -> None:
    assert cost_of(cost) == millionths


@pytest.mark.parametrize(
    "cost",
    [0, -1, 9e-7, 1_000_001, math.nan, math.inf, -math.inf, True, "1", None, 1j, 10**400],
    ids=lambda cost: str(cost)[:9],
)
def test_a_cost_that_is_none_is_refused_and_shown(cost: Any) -> None:
    with pytest.raises(InvalidCostError) as refused:
        cost_of(cost)
    assert refused.value.cost is cost


@given(st.floats(1e-6, 1e6), st.floats(0.01, 100))
def test_whatever_a_cost_and_a_share_it_is_charged_exactly_and_something(
    cost: float, share: float
) -> None:
    charged = charge(share, cost_of(cost))
    assert 1 <= charged < 2**53 // 64
    assert charged == 1 or abs(charged - cost_of(cost) / share) <= 0.5 * (1 + 1e-9)


def test_before_anything_was_measured_an_entry_is_thought_to_cost_one() -> None:
    assert Estimates().of("acme") == FIRST_ESTIMATE == cost_of(1)


def test_the_first_measured_cost_is_the_estimate() -> None:
    estimates = Estimates()
    estimates.learn("acme", 80_000)
    assert estimates.of("acme") == 80_000


def test_a_new_key_is_thought_to_cost_what_its_queue_does() -> None:
    estimates = Estimates()
    estimates.learn("acme", 800_000)
    estimates.learn("bolt", 1_600_000)
    assert (estimates.of("acme"), estimates.of("bolt")) == (800_000, 1_600_000)
    assert estimates.of("new") == 900_000


def test_an_estimate_moves_an_eighth_of_the_way_rounded_down() -> None:
    estimates = Estimates()
    for measured, estimate in ((100, 100), (116, 102), (101, 101), (94, 100), (107, 100)):
        estimates.learn("acme", measured)
        assert estimates.of("acme") == estimate


@given(st.lists(st.integers(1, 10**14), min_size=1, max_size=40))
def test_an_estimate_stays_among_what_was_measured(measured: list[int]) -> None:
    estimates = Estimates()
    for cost in measured:
        estimates.learn("acme", cost)
    kept = [min(cost, MAX_COST) for cost in measured]
    assert min(kept) <= estimates.of("acme") <= max(kept)


def test_an_estimate_comes_within_a_hundredth_of_a_new_cost_in_forty_entries() -> None:
    estimates = Estimates()
    estimates.learn("acme", 1_000_000)
    for _ in range(40):
        estimates.learn("acme", 10_000_000)
    assert 9_900_000 <= estimates.of("acme") <= 10_000_000


def test_one_keys_costs_do_not_change_what_another_is_thought_to_cost() -> None:
    estimates = Estimates()
    estimates.learn("acme", 1_000)
    for _ in range(100):
        estimates.learn("flood", 10**9)
    assert estimates.of("acme") == 1_000


def test_a_forgotten_key_is_thought_to_cost_what_its_queue_does() -> None:
    estimates = Estimates()
    estimates.learn("acme", 1_000)
    estimates.learn("bolt", 9_000)
    estimates.forget("acme")
    estimates.forget("never heard of")
    assert estimates.of("acme") == estimates.of("new") == 2_000

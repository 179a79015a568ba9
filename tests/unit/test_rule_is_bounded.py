"""Siblings that race are never further apart than the rule's bound, at any depth and level.

For siblings f and m that stay in their parent's race at a level over an
interval, with what each received counted in charges (cost per share), and D
entries leased at once:

    at dispatch, costs known   |received_f - received_m| <= l_f + l_m
    completed, costs known     |received_f - received_m| <= (D + 1) (l_f + l_m)
    completed, costs measured  ... <= sum of (D + 1) l + D (over + under), of f and m

where l is the largest charge of one entry, actual or estimated, and over and
under are how far estimates were wrong at most. All are tested in a sharper
form as well: at dispatch, the entries that count are those served in the
interval and each child's last before it; completed, D (l_f + l_m) is enough
while nobody's share is changed; and with measured costs, where what is under
way is counted by its estimate, D (l_f + l_m) less is allowed.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_ranch.scheduling.model import CHARGE_UNIT
from tests.tree_histories import History

IS_LONG = bool(os.environ.get("RANCH_LONG"))
STEPS = 3_000
SEEDS = range(100) if IS_LONG else range(2)
AT_ONCE = (1, 4, 16)
FLOOR = 50_000

every_seed = pytest.mark.parametrize("seed", SEEDS)
every_lookahead = pytest.mark.parametrize("at_once", AT_ONCE)


@given(st.randoms(use_true_random=False), st.integers(1, 16), st.integers(1, 200))
@settings(max_examples=3_000 if IS_LONG else 60, deadline=None)
def test_no_short_history_breaks_the_bound_at_dispatch(
    source: random.Random, at_once: int, steps: int
) -> None:
    assert History(source, at_once, may_return=True).run(steps).dispatched.worst <= 1


@given(st.randoms(use_true_random=False), st.integers(1, 16), st.integers(1, 200))
@settings(max_examples=3_000 if IS_LONG else 60, deadline=None)
def test_no_short_history_breaks_the_bounds_of_measured_costs(
    source: random.Random, at_once: int, steps: int
) -> None:
    history = History(source, at_once, is_measured=True).run(steps)
    assert history.completed.worst <= 1
    assert history.charged.worst <= 1


@every_seed
@every_lookahead
@pytest.mark.parametrize("level_floor", [0, FLOOR])
def test_siblings_are_at_most_one_entry_each_apart_at_dispatch(
    at_once: int, seed: int, level_floor: int
) -> None:
    source = random.Random(seed)
    history = History(source, at_once, may_return=True, level_floor=level_floor).run(STEPS)
    assert history.dispatched.worst <= 1


@every_seed
@every_lookahead
def test_completed_service_is_at_most_what_is_leased_at_once_further_apart(
    at_once: int, seed: int
) -> None:
    assert History(random.Random(seed), at_once).run(STEPS).completed.worst <= 1


@every_seed
@every_lookahead
def test_completed_service_is_no_further_apart_than_what_is_leased_at_once(
    at_once: int, seed: int
) -> None:
    """Who has all that is leased was dispatched last, and is ahead by one entry of it already.

    While shares stay: a new one rounds a lead, and what is leased, each in its own way.
    """
    history = History(random.Random(seed), at_once)
    for _ in range(20):
        history.reshare()
    history.acts = [item for item in history.acts if item[1] != history.reshare]
    worst = history.run(STEPS).completed.worst * (at_once + 1)
    assert worst <= at_once * (1 + 1e-12)


@every_seed
@every_lookahead
def test_measured_costs_put_siblings_apart_by_no_more_than_the_errors_of_estimates(
    at_once: int, seed: int
) -> None:
    history = History(random.Random(seed), at_once, is_measured=True).run(STEPS)
    assert history.completed.worst <= 1
    assert history.charged.worst <= 1


@every_seed
@every_lookahead
def test_the_bounds_hold_while_shares_are_changed_all_the_time(at_once: int, seed: int) -> None:
    """With what was measured: who was refunded may lie behind virtual time then."""
    history = History(random.Random(seed), at_once, is_measured=True)
    history.acts.append((10, history.reshare))
    assert history.run(STEPS).charged.worst <= 1


@pytest.mark.parametrize("is_measured", [False, True])
def test_the_bounds_hold_across_the_end_of_the_range(is_measured: bool) -> None:
    history = History(
        random.Random(7),
        at_once=4,
        is_measured=is_measured,
        may_return=not is_measured,
        costs=(CHARGE_UNIT, 2_500_000),
        runs_us=(1, CHARGE_UNIT, 3_000_000),
        shares_within=(0.05, 1.0),
        tag_limit=2**31,
    ).run(2 * STEPS)
    root = history.engine._queues["celery"].nodes.tree._root
    assert sum(race._is_shifted for race in root.races.values())
    assert (history.charged if is_measured else history.dispatched).worst <= 1


def test_random_histories_reach_the_bound_at_dispatch() -> None:
    """Else it could be a sharper one; and a looser rule would pass."""
    worst = [History(random.Random(seed), 16).run(500).dispatched.worst for seed in range(10)]
    assert sum(one == 1 for one in worst) >= 5


def test_random_histories_drift_further_apart_in_completed_service_than_at_dispatch() -> None:
    """Else its bound would say no more than the first."""
    history = History(random.Random(1), 16, costs=(CHARGE_UNIT,)).run(STEPS)
    assert history.completed.worst * 17 > 1.5

"""One race: entering, leaving, charging, ties, other shares, corrections, epochs, its range."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from celery_ranch.scheduling.model import charge
from celery_ranch.scheduling.race import Race, Stand, rescaled_lead, start_tag

ONE = charge(1.0)


class _Runners:
    """A race of children named by one letter, that numbers its own turns."""

    def __init__(self, tag_limit: int = 2**52) -> None:
        self.race = Race(tag_limit)
        self.stands: dict[str, Stand] = defaultdict(Stand)
        self.charges: dict[str, int] = defaultdict(lambda: ONE)
        self._number = 0

    def enter(self, *names: str) -> None:
        for name in names:
            self.race.enter((name,), self.stands[name])

    def leave(self, *names: str) -> None:
        for name in names:
            self.race.leave(self.stands[name])

    def turns(self, count: int) -> str:
        """Serve that many turns; return whose they were, one letter each."""
        served = ""
        for _ in range(count):
            child = self.race.first()
            assert child is not None
            self.serve(child[0])
            served += child[0]
        return served

    def serve(self, name: str, *, may_stay: bool = True) -> None:
        self._number += 1
        stand, amount = self.stands[name], self.charges[name]
        self.race.serve((name,), stand, amount, self._number, may_stay=may_stay)

    def reshare(self, name: str, share: float) -> None:
        old, self.charges[name] = self.charges[name], charge(share)
        self.race.rescale((name,), self.stands[name], old, self.charges[name])

    def correct(self, name: str, amount: int) -> None:
        self.race.correct((name,), self.stands[name], amount)

    def lead(self, name: str) -> int:
        return self.race.lead(self.stands[name])


@pytest.fixture
def run() -> _Runners:
    return _Runners()


# -- entering and leaving -----------------------------------------------------------


def test_nobody_is_first_in_an_empty_race(run: _Runners) -> None:
    assert run.race.first() is None
    assert run.race.is_empty


def test_children_charged_alike_take_turns_from_the_first_that_came(run: _Runners) -> None:
    run.enter("c", "a", "b")
    assert run.turns(7) == "cabcabc"


def test_a_child_that_left_is_not_served(run: _Runners) -> None:
    run.enter("a", "b")
    run.leave("a")
    assert run.turns(2) == "bb"


def test_a_race_is_empty_when_the_last_has_left(run: _Runners) -> None:
    run.enter("a")
    assert not run.race.is_empty
    run.leave("a")
    assert run.race.is_empty


def test_leaving_twice_is_leaving(run: _Runners) -> None:
    run.enter("a", "b")
    run.leave("a", "a")
    assert run.turns(2) == "bb"


def test_a_child_served_that_may_not_stay_has_left(run: _Runners) -> None:
    run.enter("a", "b")
    run.serve("a", may_stay=False)
    assert run.turns(2) == "bb"


def test_a_child_that_comes_back_has_neither_credit_nor_debt(run: _Runners) -> None:
    run.enter("a", "b")
    assert run.turns(2) == "ab"
    run.leave("a")
    assert run.turns(10) == "b" * 10
    run.enter("a")
    assert run.turns(4) == "abab"


def test_leaving_and_coming_back_does_not_wipe_out_what_was_received(run: _Runners) -> None:
    run.charges["a"] = 4 * ONE
    run.enter("a", "b")
    assert run.turns(1) == "a"
    run.leave("a")
    run.enter("a")
    assert run.turns(5) == "bbbba"


def test_a_child_served_with_its_last_entry_is_charged_as_well(run: _Runners) -> None:
    run.enter("a", "b")
    run.serve("a", may_stay=False)
    run.enter("a")
    assert run.turns(2) == "ba"


def test_a_start_tag_never_lies_behind_virtual_time() -> None:
    assert [start_tag(5, last) for last in (0, 5, 6)] == [5, 5, 6]


# -- charging and ties -----------------------------------------------------------------


def test_virtual_time_is_the_start_tag_served_not_the_finish_tag(run: _Runners) -> None:
    run.charges["a"] = 100 * ONE
    run.enter("a")
    assert run.turns(1) == "a"
    run.enter("b")
    assert run.turns(100) == "b" * 100


def test_virtual_time_does_not_go_back_to_who_lies_behind_it(run: _Runners) -> None:
    run.charges["a"] = 5 * ONE
    run.enter("a", "b")
    assert run.turns(6) == "abbbbb"
    run.correct("a", -5 * ONE)
    assert run.turns(1) == "a"
    run.enter("c")
    assert run.lead("c") == 0
    assert run.lead("b") == ONE


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0, 7.0, 100.0])
def test_service_is_in_proportion_to_the_share(run: _Runners, share: float) -> None:
    run.charges["a"] = charge(share)
    run.enter("a", "b")
    served = run.turns(10_000)
    received = served.count("a") * charge(share) - served.count("b") * ONE
    assert abs(received) <= charge(share) + ONE


def test_dear_entries_are_served_as_much_less_often_as_they_cost_more(run: _Runners) -> None:
    run.charges["a"] = charge(1.0, 3 * ONE)
    run.enter("a", "b")
    assert run.turns(8) == "abbbabbb"


def test_the_smallest_cost_at_the_largest_share_is_charged_still() -> None:
    assert charge(100.0, 1) == 1


def test_among_equals_the_never_served_go_first_by_arrival_then_the_least_recently_served(
    run: _Runners,
) -> None:
    run.enter("z", "y")
    assert run.turns(2) == "zy"
    run.enter("x", "a")
    run.correct("x", ONE)
    run.correct("a", ONE)
    assert run.turns(4) == "xazy"


def test_a_child_keeps_its_place_of_arrival_while_it_is_away(run: _Runners) -> None:
    run.enter("b", "c")
    run.leave("b")
    run.enter("a", "b")
    assert run.turns(3) == "bca"


# -- other shares ----------------------------------------------------------------------


@pytest.mark.parametrize("is_away", [True, False])
def test_a_new_share_rescales_the_lead_in_the_race_and_out_of_it(
    run: _Runners, is_away: bool
) -> None:
    run.charges["a"] = 10 * ONE
    run.enter("a", "b")
    assert run.turns(3) == "abb"
    if is_away:
        run.leave("a")
    run.reshare("a", 1.0)
    run.enter(*"a" * is_away)
    assert run.turns(2) == "ab"


def test_a_new_share_rescales_what_a_child_was_charged_too_much(run: _Runners) -> None:
    """Else a key of share 0.01 that was given one entry back is owed 10,000 at share 100.

    A child that lies behind is owed that, in entries, whatever its share becomes.
    """
    run.charges["a"] = charge(0.01)
    run.enter("a", "b")
    assert run.turns(102).count("a") == 2
    run.correct("a", -2 * charge(0.01))
    assert run.lead("a") == -charge(0.01)
    run.reshare("a", 100.0)
    assert run.lead("a") == -charge(100.0)
    assert run.turns(3) == "aba"


def test_a_child_that_is_away_has_nothing_to_rescale_once_virtual_time_passed_it(
    run: _Runners,
) -> None:
    run.enter("a", "b")
    run.turns(2)
    run.leave("a")
    run.turns(1_000)
    before = run.lead("a")
    run.reshare("a", 0.01)
    assert run.lead("a") == before < 0


def test_a_share_there_and_back_leaves_a_full_lead_as_it_was() -> None:
    for share in (0.01, 0.03, 3.0, 100.0):
        there = rescaled_lead(ONE, ONE, charge(share))
        assert there == charge(share)
        assert rescaled_lead(there, charge(share), ONE) == ONE


@pytest.mark.parametrize(
    "lead, old, new, rescaled",
    [(1, 2, 1, 1), (1, 3, 1, 0), (2, 3, 1, 1), (-1, 2, 1, 0), (-1, 3, 1, 0), (-2, 3, 1, -1)],
)
def test_a_rescaled_lead_is_rounded_half_up(lead: int, old: int, new: int, rescaled: int) -> None:
    assert rescaled_lead(lead, old, new) == rescaled


def test_the_smallest_shares_are_rescaled_exactly_beyond_2_to_the_53() -> None:
    old, new = charge(0.01), charge(0.0101)
    assert rescaled_lead(old - 1, old, new) == new - 1


# -- corrections ----------------------------------------------------------------------


def test_a_child_charged_too_little_waits_for_the_rest(run: _Runners) -> None:
    run.enter("a", "b")
    assert run.turns(2) == "ab"
    run.correct("a", 3 * ONE)
    assert run.turns(5) == "bbbab"


def test_a_child_charged_too_much_is_served_for_the_rest(run: _Runners) -> None:
    run.charges["a"] = 5 * ONE
    run.enter("a", "b")
    assert run.turns(6) == "abbbbb"
    run.charges["a"] = ONE
    run.correct("a", -4 * ONE)
    assert run.turns(6) == "aaaaba"


def test_a_correction_reaches_a_child_that_is_away(run: _Runners) -> None:
    run.enter("a", "b")
    run.serve("a", may_stay=False)
    run.correct("a", 2 * ONE)
    run.enter("a")
    assert run.turns(4) == "bbba"


def test_a_correction_does_not_let_in_who_is_away(run: _Runners) -> None:
    run.enter("a", "b")
    run.leave("a")
    run.correct("a", -ONE)
    assert run.turns(2) == "bb"


def test_a_correction_takes_no_turn(run: _Runners) -> None:
    run.enter("a", "b", "c")
    assert run.turns(3) == "abc"
    run.correct("a", ONE)
    run.correct("a", -ONE)
    assert run.turns(3) == "abc"


# -- epochs ------------------------------------------------------------------------------


def test_a_new_epoch_forgets_the_tags_and_keeps_the_turns(run: _Runners) -> None:
    run.charges["b"] = 100 * ONE
    run.enter("b", "a")
    assert run.turns(2) == "ba"
    run.leave("a", "b")
    run.race.begin_epoch()
    assert (run.lead("a"), run.lead("b")) == (0, 0)
    run.enter("a", "b")
    assert run.turns(2) == "ba"


def test_a_new_epoch_is_no_shifted_one() -> None:
    """What is ahead at the end of the range is forgotten as well, if a new epoch follows."""
    run = _Runners(tag_limit=8 * ONE)
    run.enter("b")
    run.turns(9)
    run.race.shift_at_limit()
    run.turns(8)
    run.charges["a"] = 5 * ONE
    run.enter("a")
    assert run.turns(2) == "ab"
    run.leave("a", "b")
    run.race.begin_epoch()
    assert run.lead("a") == 0


# -- the range ---------------------------------------------------------------------------


def _one_step_of_many(run: _Runners, step: int) -> None:
    if step % 50 == 0:
        run.leave("b", "c")
    if step % 50 == 20:
        run.enter("b", "c")
    if step % 7 == 0:
        run.reshare("a", 1.0 + step % 3)
    if step % 11 == 0:
        run.correct("d", 700_000 if step % 2 else -500_000)


def test_reaching_the_limit_changes_nobodys_turn() -> None:
    near, far = _Runners(tag_limit=2**23), _Runners()
    for run in (near, far):
        run.enter("a", "b", "c", "d")
        for name, share in (("b", 0.7), ("c", 2.5), ("d", 1.5)):
            run.reshare(name, share)
    is_shifted = 0
    for step in range(500):
        assert near.turns(3) == far.turns(3)
        near.race.shift_at_limit()
        is_shifted += bool(near.race._old_index)
        for run in (near, far):
            _one_step_of_many(run, step)
    assert is_shifted > 10


def test_no_tag_grows_beyond_twice_the_limit() -> None:
    run = _Runners(tag_limit=2**22)
    run.enter("a", "b", "c")
    largest = 0
    for _ in range(2_000):
        run.turns(1)
        run.race.shift_at_limit()
        places = [*run.race._index, *run.race._old_index]
        largest = max(largest, *(place.tag for place in places))
    assert 2**22 <= largest < 2**23


def test_a_child_of_the_old_index_can_leave_and_come_back() -> None:
    run = _Runners(tag_limit=4 * ONE)
    run.enter("a", "b", "c")
    run.turns(13)
    run.race.shift_at_limit()
    assert [place.child for place in run.race._old_index] == [("b",), ("c",), ("a",)]
    run.leave("b")
    assert run.turns(2) == "ca"
    run.enter("b")
    assert run.turns(3) == "bca"


def test_a_shift_waits_until_the_old_index_is_empty() -> None:
    source = random.Random(1)
    run = _Runners(tag_limit=2**21)
    run.enter("a", "b", "c", "d")
    for _ in range(3_000):
        run.turns(1)
        run.race.shift_at_limit()
        name = source.choice("abcd")
        if source.random() < 0.1:
            run.leave(name)
            run.enter(name)
        assert 0 <= run.race._virtual_time < 2**22

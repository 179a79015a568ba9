"""The rule by itself: entering, choosing, charging, re-sharing, epochs."""

from __future__ import annotations

import pytest

from celery_ranch.errors import InvalidShareError
from celery_ranch.scheduling.fairness import FairTree, rescaled_lead, start_tag
from celery_ranch.scheduling.model import charge

A, B, C = ("a",), ("b",), ("c",)


class _Numbered:
    """A race that numbers its own turns."""

    def __init__(self, tag_limit: int = 2**52) -> None:
        self.race = FairTree(tag_limit)
        self._number = 0

    def turns(self, count: int) -> str:
        """Serve that many turns; return whose they were, one letter each."""
        served = ""
        for _ in range(count):
            key = self.race.first()
            assert key is not None
            self._number += 1
            self.race.serve(key, self._number)
            served += key[0]
        return served


@pytest.fixture
def numbered() -> _Numbered:
    return _Numbered()


def test_nobody_is_first_in_an_empty_race(numbered: _Numbered) -> None:
    assert numbered.race.first() is None


def test_keys_of_equal_share_take_turns_from_the_first_that_came(numbered: _Numbered) -> None:
    for key in (C, A, B):
        numbered.race.offer(key)
    assert numbered.turns(7) == "cabcabc"


def test_offering_again_changes_no_place(numbered: _Numbered) -> None:
    for key in (B, A, B, B):
        numbered.race.offer(key)
    assert numbered.turns(3) == "bab"


def test_a_key_withdrawn_is_not_served(numbered: _Numbered) -> None:
    numbered.race.offer(A)
    numbered.race.offer(B)
    numbered.race.withdraw(A)
    assert numbered.turns(2) == "bb"


def test_a_key_that_comes_back_has_neither_credit_nor_debt(numbered: _Numbered) -> None:
    numbered.race.offer(A)
    numbered.race.offer(B)
    assert numbered.turns(2) == "ab"
    numbered.race.withdraw(A)
    assert numbered.turns(10) == "b" * 10
    numbered.race.offer(A)
    assert numbered.turns(4) == "abab"


def test_leaving_and_coming_back_does_not_wipe_out_what_was_received(numbered: _Numbered) -> None:
    numbered.race.set_share(A, 0.25)
    numbered.race.offer(A)
    numbered.race.offer(B)
    assert numbered.turns(1) == "a"
    numbered.race.withdraw(A)
    numbered.race.offer(A)
    assert numbered.turns(5) == "bbbba"


def test_a_key_served_with_its_last_entry_is_charged_as_well(numbered: _Numbered) -> None:
    numbered.race.offer(A)
    numbered.race.offer(B)
    numbered.race.withdraw(A)
    numbered.race.serve(A, 1)
    numbered.race.offer(A)
    assert numbered.turns(2) == "ba"


def test_virtual_time_is_the_start_tag_served_not_the_finish_tag(numbered: _Numbered) -> None:
    numbered.race.set_share(A, 0.01)
    numbered.race.offer(A)
    assert numbered.turns(1) == "a"
    numbered.race.offer(B)
    assert numbered.turns(100) == "b" * 100


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0, 7.0, 100.0])
def test_service_is_in_proportion_to_the_share(numbered: _Numbered, share: float) -> None:
    numbered.race.set_share(A, share)
    numbered.race.offer(A)
    numbered.race.offer(B)
    served = numbered.turns(10_000)
    received = served.count("a") * charge(share) - served.count("b") * charge(1.0)
    assert abs(received) <= charge(share) + charge(1.0)


def test_a_share_out_of_range_leaves_the_key_unknown(numbered: _Numbered) -> None:
    with pytest.raises(InvalidShareError):
        numbered.race.set_share(A, 0.0)
    assert A not in numbered.race


@pytest.mark.parametrize("is_offered", [True, False])
def test_a_new_share_rescales_the_lead_in_the_race_and_out_of_it(
    numbered: _Numbered, is_offered: bool
) -> None:
    numbered.race.set_share(A, 0.1)
    numbered.race.offer(A)
    numbered.race.offer(B)
    assert numbered.turns(3) == "abb"
    if not is_offered:
        numbered.race.withdraw(A)
    numbered.race.set_share(A, 1.0)
    numbered.race.offer(A)
    assert numbered.turns(2) == "ab"


def test_a_share_there_and_back_leaves_a_full_lead_as_it_was() -> None:
    lead = charge(1.0)
    for share in (0.01, 0.03, 3.0, 100.0):
        there = rescaled_lead(lead, charge(1.0), charge(share))
        assert there == charge(share)
        assert rescaled_lead(there, charge(share), charge(1.0)) == lead


@pytest.mark.parametrize("lead, old, new, rescaled", [(1, 2, 1, 1), (1, 3, 1, 0), (2, 3, 1, 1)])
def test_a_rescaled_lead_is_rounded_half_up(lead: int, old: int, new: int, rescaled: int) -> None:
    assert rescaled_lead(lead, old, new) == rescaled


def test_the_smallest_shares_are_rescaled_exactly_beyond_2_to_the_53() -> None:
    old, new = charge(0.01), charge(0.0101)
    assert rescaled_lead(old - 1, old, new) == new - 1


def test_a_start_tag_never_lies_behind_virtual_time() -> None:
    assert [start_tag(5, last) for last in (0, 5, 6)] == [5, 5, 6]


def test_a_paused_key_keeps_its_place_of_arrival(numbered: _Numbered) -> None:
    numbered.race.offer(A)
    numbered.race.offer(B)
    numbered.race.pause(A)
    numbered.race.offer(C)
    numbered.race.resume(A)
    assert numbered.turns(3) == "abc"


def test_a_key_offered_while_paused_arrives_when_it_is_resumed(numbered: _Numbered) -> None:
    numbered.race.pause(A)
    numbered.race.offer(A)
    numbered.race.offer(B)
    numbered.race.resume(A)
    assert numbered.turns(2) == "ba"


def test_a_new_epoch_forgets_the_tags_and_keeps_the_turns(numbered: _Numbered) -> None:
    numbered.race.set_share(B, 0.01)
    for key in (B, A):
        numbered.race.offer(key)
    assert numbered.turns(2) == "ba"
    for key in (A, B):
        numbered.race.withdraw(key)
    numbered.race.begin_epoch()
    for key in (A, B):
        numbered.race.offer(key)
    assert numbered.turns(2) == "ba"


def test_a_key_is_forgettable_once_it_owes_nothing_and_has_nothing(numbered: _Numbered) -> None:
    race = numbered.race
    race.offer(A)
    assert not race.is_forgettable(A)
    race.withdraw(A)
    assert race.is_forgettable(A)
    race.offer(A)
    race.offer(B)
    assert numbered.turns(1) == "a"
    race.withdraw(A)
    assert not race.is_forgettable(A)
    assert numbered.turns(2) == "bb"
    assert race.is_forgettable(A)
    race.pause(A)
    assert not race.is_forgettable(A)
    race.resume(A)
    race.set_share(A, 2.0)
    assert not race.is_forgettable(A)


def test_a_forgotten_key_counts_as_new(numbered: _Numbered) -> None:
    for key in (A, B):
        numbered.race.offer(key)
    assert numbered.turns(4) == "abab"
    numbered.race.withdraw(A)
    numbered.turns(2)
    numbered.race.forget(A)
    assert A not in numbered.race
    numbered.race.offer(C)
    numbered.race.offer(A)
    assert numbered.turns(3) == "cab"


def test_known_keys_are_listed_by_when_they_became_known(numbered: _Numbered) -> None:
    for key in (B, A, C):
        numbered.race.know(key)
    listed = list(numbered.race.keys_after(0))
    assert [key for _, key in listed] == [B, A, C]
    numbered.race.forget(B)
    numbered.race.know(B)
    assert [key for _, key in numbered.race.keys_after(listed[1][0])] == [C, B]


def test_reaching_the_limit_changes_nobodys_turn() -> None:
    near, far = _Numbered(tag_limit=2**23), _Numbered()
    for numbered in (near, far):
        for key, share in ((A, 1.0), (B, 0.7), (C, 2.5)):
            numbered.race.set_share(key, share)
            numbered.race.offer(key)
    for step in range(500):
        assert near.turns(3) == far.turns(3)
        for numbered in (near, far):
            numbered.race.shift_at_limit()
            if step % 50 == 0:
                numbered.race.withdraw(C)
                numbered.race.pause(B)
            if step % 50 == 20:
                numbered.race.resume(B)
                numbered.race.offer(C)
            if step % 7 == 0:
                numbered.race.set_share(A, 1.0 + step % 3)


def test_no_tag_grows_beyond_twice_the_limit() -> None:
    numbered = _Numbered(tag_limit=2**22)
    for key in (A, B, C):
        numbered.race.offer(key)
    largest = 0
    for _ in range(2_000):
        numbered.turns(1)
        numbered.race.shift_at_limit()
        places = [*numbered.race._index, *numbered.race._old_index]
        largest = max(largest, *(place.tag for place in places))
    assert 2**22 <= largest < 2**23

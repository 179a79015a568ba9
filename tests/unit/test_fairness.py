"""The tree: paths, an inner node's own entries, levels, blocks, shares, epochs, forgetting."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from celery_ranch.errors import InvalidShareError
from celery_ranch.scheduling.fairness import FairTree
from celery_ranch.scheduling.model import CHARGE_UNIT, KeyPath
from celery_ranch.scheduling.nodes import OWN, Block, key_of

A, B, C = ("a",), ("b",), ("c",)
AX, AY, AZ = ("a", "x"), ("a", "y"), ("a", "z")
BX = ("b", "x")
A_OWN = ("a", OWN)
LEVEL = 5


class _Numbered:
    """A tree that numbers its own turns."""

    def __init__(self, tag_limit: int = 2**52) -> None:
        self.tree = FairTree(tag_limit)
        self.leaves: list[KeyPath] = []
        """What was served, each with the last."""
        self._number = 0

    def add(self, *keys: KeyPath, count: int = 100, level: int = LEVEL) -> None:
        for _, key in product(range(count), keys):
            self.tree.add(key, level)

    def serve(self, level: int = LEVEL, cost: int = CHARGE_UNIT) -> KeyPath:
        leaf = self.tree.first(level)
        assert leaf is not None
        self._number += 1
        self.tree.serve(leaf, level, self._number, cost)
        self.leaves.append(leaf)
        return leaf

    def turns(self, count: int, level: int = LEVEL) -> str:
        """Serve that many turns; return whose they were, in words."""
        return " ".join("".join(self.serve(level)) for _ in range(count))

    def finish(self, level: int = LEVEL) -> None:
        """Let all that was served end."""
        for leaf in self.leaves:
            self.tree.finish(leaf, level)
        self.leaves.clear()
        self.tree.begin_epochs()


@pytest.fixture
def run() -> _Numbered:
    return _Numbered()


# -- paths ---------------------------------------------------------------------------


def test_a_tree_without_entries_has_nobody_to_serve(run: _Numbered) -> None:
    run.tree.know(AX)
    assert (run.tree.first(LEVEL), run.tree.levels()) == (None, [])


def test_flat_keys_take_turns_from_the_first_that_came(run: _Numbered) -> None:
    run.add(C, A, B)
    assert run.turns(7) == "c a b c a b c"


def test_an_entry_more_changes_no_place(run: _Numbered) -> None:
    run.add(B, A, B, B, count=1)
    assert run.turns(4) == "b a b b"


def test_a_key_whose_last_entry_was_removed_is_not_served(run: _Numbered) -> None:
    run.add(A, count=1)
    run.add(B)
    run.tree.remove(A, LEVEL)
    assert run.turns(2) == "b b"


def test_a_key_with_an_entry_left_is_served(run: _Numbered) -> None:
    run.add(A, count=2)
    run.add(B)
    run.tree.remove(A, LEVEL)
    assert run.turns(3) == "a b b"


def test_the_children_of_a_node_get_no_more_than_a_node_without(run: _Numbered) -> None:
    run.add(AX, AY, AZ, B)
    assert run.turns(8) == "ax b ay b az b ax b"


def test_turns_within_a_node_wait_for_the_node(run: _Numbered) -> None:
    run.add(AX, B)
    run.turns(2)
    run.add(AY)
    assert run.turns(4) == "ay b ax b"


def test_service_is_divided_at_every_depth(run: _Numbered) -> None:
    run.add(("a", "x", "1"), ("a", "x", "2"), AY, ("b", "x", "1"), count=400)
    served = Counter(run.turns(400).split())
    assert served == {"ax1": 50, "ax2": 50, "ay": 100, "bx1": 200}


def test_the_same_name_under_another_parent_is_another_node(run: _Numbered) -> None:
    run.add(AX, BX)
    run.tree.block(AX, Block.PAUSED)
    assert run.turns(2) == "bx bx"


def test_a_node_whose_last_child_has_nothing_left_is_not_served(run: _Numbered) -> None:
    run.add(AX, count=1)
    run.add(B)
    assert run.turns(3) == "ax b b"
    run.add(AX, count=1)
    run.tree.remove(AX, LEVEL)
    assert run.turns(2) == "b b"


def test_a_node_that_comes_back_through_another_child_has_no_credit(run: _Numbered) -> None:
    run.add(AX, count=1)
    run.add(B)
    run.turns(10)
    run.add(AY)
    assert run.turns(4) == "ay b ay b"


def test_names_never_decide(run: _Numbered) -> None:
    run.add(("z", "z"), ("z", "a"), ("a", "z"), ("a", "a"), count=2)
    assert run.turns(8) == "zz az za aa zz az za aa"


# -- an inner node's own entries -----------------------------------------------------


def test_an_inner_nodes_own_entries_take_turns_with_its_children(run: _Numbered) -> None:
    run.add(AX, A, AY, B)
    assert run.turns(8) == "ax b a b ay b ax b"


def test_a_leaf_that_becomes_an_inner_node_keeps_its_entries_and_its_lead(run: _Numbered) -> None:
    run.tree.set_share(A, 0.25)
    run.add(A, B)
    assert run.turns(1) == "a"
    run.add(AX)
    assert run.turns(6) == "b b b b a b"
    assert run.turns(4) == "b b b ax"


def test_a_leaf_becomes_an_inner_node_at_all_levels_it_waits_at(run: _Numbered) -> None:
    run.add(A, count=2, level=3)
    run.add(A, count=2, level=7)
    run.tree.know(AX)
    assert [run.serve(level) for level in (3, 7, 3, 7)] == [A_OWN] * 4
    assert run.tree.levels() == []


def test_own_entries_have_a_share_of_one_whatever_their_nodes_is(run: _Numbered) -> None:
    run.tree.set_share(A, 10.0)
    run.tree.set_share(AX, 3.0)
    run.add(AX, A)
    assert Counter(run.turns(40).split()) == {"ax": 30, "a": 10}


def test_what_was_served_as_a_leaf_ends_as_one(run: _Numbered) -> None:
    run.add(A, count=2)
    leaf = run.serve()
    run.add(AX)
    run.tree.correct(leaf, LEVEL, CHARGE_UNIT, 3 * CHARGE_UNIT)
    run.tree.finish(leaf, LEVEL)
    assert (leaf, run.tree.in_service(A), run.tree.in_service(A_OWN)) == (A, 0, 0)


def test_a_blocked_leaf_that_becomes_an_inner_node_stays_blocked(run: _Numbered) -> None:
    run.add(A, B)
    run.tree.block(A, Block.PAUSED)
    run.add(AX)
    assert run.turns(2) == "b b"
    run.tree.unblock(A, Block.PAUSED)
    assert run.turns(4) == "a b ax b"


def test_the_key_of_a_leaf_is_that_of_its_entries() -> None:
    assert [key_of(leaf) for leaf in (A, A_OWN, AX)] == [A, A, AX]


# -- levels --------------------------------------------------------------------------


def test_levels_are_those_at_which_something_can_be_served(run: _Numbered) -> None:
    run.add(A, count=1, level=7)
    run.add(AX, B, count=1, level=0)
    assert run.tree.levels() == [0, 7]
    run.tree.block(B, Block.PAUSED)
    assert run.serve(0) == AX
    assert run.tree.levels() == [7]
    run.tree.block(A, Block.PAUSED)
    assert run.tree.levels() == []
    run.tree.unblock(B, Block.PAUSED)
    assert run.tree.levels() == [0]


def test_what_is_served_at_one_level_costs_nothing_at_another(run: _Numbered) -> None:
    run.add(A, level=3)
    run.add(A, B, level=7)
    run.turns(50, level=3)
    assert run.turns(4, level=7) == "a b a b"


def test_who_was_served_at_one_level_counts_as_never_served_at_another(run: _Numbered) -> None:
    run.add(A, B, level=3)
    run.turns(2, level=3)
    run.add(C, B, A, level=7)
    assert run.turns(3, level=7) == "c b a"


def test_a_share_holds_at_every_level(run: _Numbered) -> None:
    for level in (3, 7):
        run.add(A, B, level=level)
    run.tree.set_share(A, 3.0)
    for level in (3, 7):
        assert Counter(run.turns(40, level).split()) == {"a": 30, "b": 10}


def test_a_new_share_rescales_the_lead_at_every_level(run: _Numbered) -> None:
    run.tree.set_share(A, 0.1)
    for level in (3, 7):
        run.add(A, B, level=level)
        assert run.turns(1, level) == "a"
    run.tree.set_share(A, 1.0)
    for level in (3, 7):
        assert run.turns(3, level) == "b a b"


# -- blocks --------------------------------------------------------------------------


def test_a_blocked_node_is_not_served_nor_anything_below_it(run: _Numbered) -> None:
    run.add(("a", "x", "1"), AY, B)
    run.tree.block(A, Block.PAUSED)
    assert run.turns(3) == "b b b"
    run.tree.unblock(A, Block.PAUSED)
    run.tree.block(AX, Block.PAUSED)
    assert run.turns(3) == "ay b ay"


def test_a_node_all_of_whose_children_are_blocked_takes_no_turn(run: _Numbered) -> None:
    run.add(AX, AY, B)
    run.tree.block(AX, Block.PAUSED)
    run.tree.block(AY, Block.CONCURRENCY)
    assert not run.tree.is_racing(A, LEVEL)
    assert run.turns(2) == "b b"
    run.tree.unblock(AY, Block.CONCURRENCY)
    assert run.turns(2) == "ay b"


def test_a_node_races_again_when_the_last_reason_is_taken_away(run: _Numbered) -> None:
    run.add(A, B)
    run.tree.block(A, Block.PAUSED)
    run.tree.block(A, Block.RATE)
    assert not run.tree.unblock(A, Block.PAUSED)
    assert run.turns(1) == "b"
    assert run.tree.unblock(A, Block.RATE)
    assert run.turns(1) == "a"


def test_taking_away_a_reason_that_is_none_changes_nothing(run: _Numbered) -> None:
    run.tree.block(A, Block.PAUSED)
    run.add(A, B)
    assert not run.tree.unblock(A, Block.RATE)
    assert not run.tree.unblock(B, Block.PAUSED)
    assert not run.tree.unblock(C, Block.PAUSED)
    assert C not in run.tree
    assert run.turns(2) == "b b"


def test_a_node_blocked_inside_a_blocked_one_stays_so(run: _Numbered) -> None:
    run.add(AX, AY, B)
    run.tree.block(A, Block.PAUSED)
    run.tree.block(AX, Block.PAUSED)
    run.tree.unblock(A, Block.PAUSED)
    assert run.turns(4) == "ay b ay b"


def test_being_blocked_earns_no_credit_and_wipes_out_no_debt(run: _Numbered) -> None:
    run.tree.set_share(AX, 0.25)
    run.add(AX, AY, B)
    assert run.turns(2) == "ax b"
    run.tree.block(AX, Block.PAUSED)
    run.turns(4)
    run.tree.unblock(AX, Block.PAUSED)
    assert run.turns(6) == "ay b ay b ax b"
    run.tree.block(A, Block.PAUSED)
    run.turns(20)
    run.tree.unblock(A, Block.PAUSED)
    assert run.turns(4).split()[1::2] == ["b", "b"]


def test_a_blocked_node_keeps_its_place_of_arrival(run: _Numbered) -> None:
    run.add(A, B)
    run.tree.block(A, Block.PAUSED)
    run.add(C)
    run.tree.unblock(A, Block.PAUSED)
    assert run.turns(3) == "a b c"


def test_a_node_that_comes_to_have_work_while_blocked_arrives_when_it_is_not(
    run: _Numbered,
) -> None:
    run.tree.block(A, Block.PAUSED)
    run.add(A, B)
    run.tree.unblock(A, Block.PAUSED)
    assert run.turns(2) == "b a"


def test_entries_of_a_blocked_node_can_be_removed(run: _Numbered) -> None:
    run.add(AX, A, count=1)
    run.add(B)
    run.tree.block(A, Block.PAUSED)
    for key in (AX, A):
        run.tree.remove(key, LEVEL)
    run.tree.unblock(A, Block.PAUSED)
    assert run.turns(2) == "b b"


# -- shares --------------------------------------------------------------------------


def test_a_share_of_an_inner_node_is_that_of_all_below_it(run: _Numbered) -> None:
    run.tree.set_share(A, 3.0)
    run.tree.set_share(AX, 2.0)
    run.add(AX, AY, B, count=400)
    assert Counter(run.turns(400).split()) == {"ax": 200, "ay": 100, "b": 100}


def test_a_cost_is_charged_at_every_node_on_the_way(run: _Numbered) -> None:
    run.add(AX, AY, B, BX)
    assert run.serve(cost=4 * CHARGE_UNIT) == AX
    assert run.turns(7) == "b bx b bx ay b ay"


def test_a_share_out_of_range_leaves_the_node_unknown(run: _Numbered) -> None:
    with pytest.raises(InvalidShareError):
        run.tree.set_share(AX, 0.0)
    assert AX not in run.tree
    assert A not in run.tree


# -- service that ends ---------------------------------------------------------------


def test_what_is_in_service_is_counted_on_every_node_across_levels(run: _Numbered) -> None:
    run.add(AX, A, level=3)
    run.add(AX, level=7)
    first = [run.serve(3), run.serve(3), run.serve(7)]
    assert first == [AX, A_OWN, AX]
    assert [run.tree.in_service(path) for path in (A, AX, A_OWN, B)] == [3, 2, 1, 0]
    run.tree.finish(AX, 7)
    assert [run.tree.in_service(path) for path in (A, AX)] == [2, 1]


def test_what_is_handed_out_takes_a_slot_and_no_turn(run: _Numbered) -> None:
    run.add(AX, AY, B)
    run.tree.hand_out(AX, LEVEL)
    assert run.tree.in_service(A) == run.tree.in_service(AX) == 1
    assert run.turns(4) == "ax b ay b"


def test_what_was_handed_out_and_ended_leaves_the_epoch_to_what_still_runs(
    run: _Numbered,
) -> None:
    run.tree.set_share(AX, 0.25)
    run.add(AX, count=2)
    run.add(AY, count=1)
    run.tree.hand_out(AX, LEVEL)
    run.tree.finish(AX, LEVEL)
    assert run.turns(2) == "ax ay"
    run.tree.finish(AY, LEVEL)
    run.tree.begin_epochs()
    run.add(AX, AY)
    assert run.turns(4) == "ay ay ay ax"


def test_the_last_entry_handed_out_takes_its_nodes_out_of_their_races(run: _Numbered) -> None:
    run.add(AX, count=1)
    run.add(B)
    run.tree.hand_out(AX, LEVEL)
    assert run.turns(2) == "b b"


def test_a_correction_reaches_every_node_at_the_level_that_was_charged(run: _Numbered) -> None:
    for level in (3, 7):
        run.add(AX, AY, B, level=level)
    leaf = run.serve(3)
    run.tree.correct(leaf, 3, charged=CHARGE_UNIT, measured=3 * CHARGE_UNIT)
    assert run.turns(8, level=3) == "b b b ay b ay b ay"
    assert run.turns(4, level=7) == "ax b ay b"


def test_a_correction_is_charged_at_the_share_of_its_moment(run: _Numbered) -> None:
    run.add(A, B)
    leaf = run.serve()
    run.tree.set_share(A, 2.0)
    run.tree.correct(leaf, LEVEL, charged=CHARGE_UNIT, measured=5 * CHARGE_UNIT)
    assert run.turns(4) == "b b b a"


def test_what_never_ran_was_charged_for_nothing(run: _Numbered) -> None:
    run.add(A, B)
    leaf = run.serve()
    run.tree.correct(leaf, LEVEL, charged=CHARGE_UNIT, measured=0)
    assert run.turns(3) == "b a b"


# -- epochs --------------------------------------------------------------------------


def test_a_parent_with_nothing_below_it_forgets_its_childrens_tags_and_not_its_own(
    run: _Numbered,
) -> None:
    run.tree.set_share(A, 0.25)
    run.tree.set_share(AX, 0.01)
    run.add(AX, AY, count=1)
    run.add(B)
    assert run.turns(6) == "ax b b b b ay"
    run.finish()
    run.add(AX, AY, count=1)
    assert run.turns(5) == "b b b b ax"


def test_turns_go_on_in_a_new_epoch(run: _Numbered) -> None:
    run.add(AX, AY, count=1)
    assert run.turns(2) == "ax ay"
    run.finish()
    run.add(AY, AX, count=1)
    assert run.turns(2) == "ax ay"


def test_no_epoch_begins_while_something_is_in_service_or_waits(run: _Numbered) -> None:
    run.tree.set_share(AX, 0.25)
    run.add(AX, AY, count=1)
    assert run.turns(2) == "ax ay"
    run.tree.finish(AX, LEVEL)
    run.tree.begin_epochs()
    run.add(AX, AY)
    assert run.turns(4) == "ay ay ay ax"


def test_a_blocked_backlog_keeps_its_parents_epoch(run: _Numbered) -> None:
    run.tree.set_share(AX, 0.25)
    run.add(AX, AY, count=1)
    run.tree.block(AY, Block.PAUSED)
    run.turns(1)
    run.finish()
    run.add(AX, AZ)
    assert run.turns(5) == "az az az az ax"


def test_each_level_has_epochs_of_its_own(run: _Numbered) -> None:
    run.tree.set_share(A, 0.25)
    run.add(A, B, count=1, level=3)
    run.add(A, B, level=7)
    run.turns(2, level=3)
    run.finish(level=3)
    run.add(A, B, count=2, level=3)
    assert run.turns(2, level=7) == "a b"
    run.finish(level=7)
    assert run.turns(2, level=3) == "a b"
    assert run.turns(4, level=7) == "b b b a"


def test_removing_the_last_entry_begins_an_epoch(run: _Numbered) -> None:
    run.tree.set_share(A, 0.25)
    run.add(A, count=1)
    run.add(B, count=1)
    run.turns(1)
    run.finish()
    run.tree.remove(B, LEVEL)
    run.tree.begin_epochs()
    run.add(A, B)
    assert run.turns(3) == "b a b"


# -- forgetting ------------------------------------------------------------------------


def test_a_node_is_forgettable_once_it_owes_nothing_and_has_nothing(run: _Numbered) -> None:
    tree = run.tree
    run.add(A, count=1)
    assert not tree.is_forgettable(A)
    run.add(B)
    assert run.turns(1) == "a"
    assert not tree.is_forgettable(A), "it is in service"
    tree.finish(A, LEVEL)
    assert not tree.is_forgettable(A), "it is ahead"
    assert run.turns(2) == "b b"
    assert tree.is_forgettable(A)
    tree.block(A, Block.RATE)
    assert not tree.is_forgettable(A)
    tree.unblock(A, Block.RATE)
    assert tree.is_forgettable(A)


def test_a_node_ahead_at_any_level_is_not_forgettable(run: _Numbered) -> None:
    run.add(A, count=1, level=3)
    run.add(B, level=3)
    run.add(A, count=1, level=7)
    run.turns(3, level=3)
    run.turns(1, level=7)
    for level in (3, 7):
        run.tree.finish(A, level)
    assert not run.tree.is_forgettable(A)
    run.tree.begin_epochs()
    assert run.tree.is_forgettable(A)


def test_a_parent_is_forgettable_after_its_children(run: _Numbered) -> None:
    run.tree.know(AX)
    assert not run.tree.is_forgettable(A)
    run.tree.forget(AX)
    assert run.tree.is_forgettable(A)
    run.tree.forget(A)
    assert A not in run.tree


def test_a_forgotten_node_counts_as_new(run: _Numbered) -> None:
    run.add(AX, AY)
    assert run.turns(4) == "ax ay ax ay"
    for _ in range(98):
        run.tree.remove(AX, LEVEL)
    run.tree.finish(AX, LEVEL)
    run.tree.finish(AX, LEVEL)
    run.turns(2)
    run.tree.forget(AX)
    assert AX not in run.tree
    run.add(AZ, AX)
    assert run.turns(3) == "az ax ay"


def test_an_inner_node_whose_children_are_forgotten_is_a_leaf_again(run: _Numbered) -> None:
    run.add(AX, count=1)
    run.turns(1)
    run.finish()
    run.tree.forget(AX)
    run.add(A, B)
    assert run.turns(2) == "b a"
    assert run.leaves[-1] == A


def test_known_nodes_are_listed_by_when_they_became_known(run: _Numbered) -> None:
    for path in (BX, A, C):
        run.tree.know(path)
    listed = list(run.tree.nodes_after(0))
    assert [path for _, path in listed] == [B, BX, A, C]
    run.tree.forget(BX)
    run.tree.know(BX)
    assert [path for _, path in run.tree.nodes_after(listed[1][0])] == [A, C, BX]


# -- the range ---------------------------------------------------------------------------


def test_races_at_every_depth_are_kept_in_their_range() -> None:
    near, far = _Numbered(tag_limit=2**23), _Numbered()
    for run in (near, far):
        for path, share in ((A, 1.0), (AX, 0.7), (("b", "y"), 2.5)):
            run.tree.set_share(path, share)
        run.add(AX, AY, A, B, BX, ("b", "y"), count=1_500)
    for _ in range(500):
        assert near.turns(3) == far.turns(3)
        near.tree.shift_at_limit()
    races = [near.tree._nodes[path].races[LEVEL] for path in (A, B)]
    assert all(race._epoch > 3 for race in [*races, near.tree._root.races[LEVEL]])

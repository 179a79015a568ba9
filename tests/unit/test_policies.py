"""What is set by path, by tag and by default, which of it holds, and taking it back."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from celery_ranch.errors import InvalidTagError
from celery_ranch.scheduling.limits import NO_LIMITS, UNLIMITED, Limits, Rate
from celery_ranch.scheduling.policies import Depth, Policies, Policy, Tag, tag_text

ACME = ("acme",)
ALICE = ("acme", "alice")
GOLD, BULK = "tier=gold", "kind=bulk"


@pytest.fixture
def policies() -> Policies:
    return Policies()


def test_nothing_holds_where_nothing_was_set(policies: Policies) -> None:
    assert policies.holding(ACME) == Policy(None, NO_LIMITS)
    assert not policies.was_anything_set


@pytest.mark.parametrize("order", list(permutations(["path", "tag", "depth"])))
def test_a_path_holds_over_a_tag_and_a_tag_over_the_default(
    policies: Policies, order: tuple[str, ...]
) -> None:
    policies.add_tag(ACME, GOLD)
    targets: dict[str, Any] = {"path": ACME, "tag": Tag(GOLD), "depth": Depth(1)}
    shares = {"path": 2.0, "tag": 9.0, "depth": 5.0}
    limits = {
        "path": Limits(8, None, 8),
        "tag": Limits(1, Rate(7), None),
        "depth": Limits(2, Rate(9), 1),
    }
    for name in order:
        policies.set_share(targets[name], shares[name])
        policies.set_limits(targets[name], limits[name])
    assert policies.holding(ACME) == Policy(2.0, Limits(8, Rate(7), 8))
    policies.set_share(ACME, None)
    policies.set_limits(ACME, NO_LIMITS)
    assert policies.holding(ACME) == Policy(9.0, Limits(1, Rate(7), 1))
    policies.remove_tag(ACME, GOLD)
    assert policies.holding(ACME) == Policy(5.0, Limits(2, Rate(9), 1))
    policies.set_share(Depth(1), None)
    policies.set_limits(Depth(1), NO_LIMITS)
    assert policies.holding(ACME) == Policy(None, NO_LIMITS)


def test_of_several_tags_the_largest_share_and_the_strictest_limits_hold(
    policies: Policies,
) -> None:
    for tag, share, limits in (
        (GOLD, 4.0, Limits(10, Rate(5), UNLIMITED)),
        (BULK, 0.5, Limits(UNLIMITED, Rate(50), 100)),
        ("kind=none", None, NO_LIMITS),
    ):
        policies.add_tag(ACME, tag)
        policies.set_share(Tag(tag), share)
        policies.set_limits(Tag(tag), limits)
    assert policies.holding(ACME) == Policy(4.0, Limits(10, Rate(50), 100))


def test_a_tag_without_a_share_leaves_the_default_to_hold(policies: Policies) -> None:
    policies.add_tag(ACME, GOLD)
    policies.set_limits(Tag(GOLD), Limits(1))
    policies.set_share(Depth(1), 3.0)
    assert policies.holding(ACME).share == 3.0


def test_no_limit_set_of_a_path_holds_over_a_limit_of_its_tag(policies: Policies) -> None:
    policies.add_tag(ACME, GOLD)
    policies.set_limits(Tag(GOLD), Limits(1))
    policies.set_limits(ACME, Limits(UNLIMITED))
    assert policies.holding(ACME).limits.concurrency == UNLIMITED


def test_what_is_set_holds_for_that_node_alone(policies: Policies) -> None:
    policies.add_tag(ACME, GOLD)
    policies.set_share(ACME, 2.0)
    policies.set_limits(Tag(GOLD), Limits(1))
    policies.set_share(Depth(1), 3.0)
    assert policies.holding(ALICE) == Policy(None, NO_LIMITS)


def test_a_default_holds_for_the_nodes_of_its_depth(policies: Policies) -> None:
    policies.set_share(Depth(1), 3.0)
    policies.set_share(Depth(2), 0.5)
    assert [policies.holding(path).share for path in (ACME, ALICE, (*ALICE, "x"))] == [
        *(3.0, 0.5, None)
    ]


def test_setting_limits_sets_all_three(policies: Policies) -> None:
    policies.set_limits(ACME, Limits(1, Rate(2), 3))
    policies.set_limits(ACME, Limits(backlog=4))
    assert policies.of(ACME) == Policy(None, Limits(None, None, 4))


def test_setting_limits_leaves_the_share(policies: Policies) -> None:
    policies.set_share(ACME, 2.0)
    policies.set_limits(ACME, Limits(1))
    policies.set_share(ACME, None)
    assert policies.of(ACME) == Policy(None, Limits(1))


def test_a_node_is_named_while_anything_is_set_of_it_itself(policies: Policies) -> None:
    policies.set_share(Depth(1), 2.0)
    policies.set_share(Tag(GOLD), 2.0)
    assert not policies.names(ACME)
    policies.set_share(ACME, 1.0)
    assert policies.names(ACME)
    policies.add_tag(ACME, GOLD)
    policies.set_share(ACME, None)
    assert policies.names(ACME)
    policies.remove_tag(ACME, GOLD)
    assert not policies.names(ACME)


def test_tags_are_told_both_ways(policies: Policies) -> None:
    for path, tag in ((ACME, GOLD), (ACME, BULK), (ALICE, GOLD), (ALICE, GOLD)):
        policies.add_tag(path, tag)
    assert policies.tags(ACME) == {GOLD, BULK}
    assert policies.tagged(GOLD) == {ACME, ALICE}
    policies.remove_tag(ALICE, GOLD)
    assert (policies.tags(ALICE), policies.tagged(GOLD)) == (frozenset(), {ACME})


def test_taking_a_tag_that_a_node_has_not_changes_nothing(policies: Policies) -> None:
    policies.add_tag(ACME, GOLD)
    policies.remove_tag(ACME, BULK)
    policies.remove_tag(ALICE, GOLD)
    assert policies.tagged(GOLD) == {ACME}
    assert not policies.names(ALICE)


def test_the_version_grows_with_what_concerns_nodes_that_nobody_named(policies: Policies) -> None:
    versions = [policies.version]
    for change in (
        lambda: policies.set_share(Tag(GOLD), 2.0),
        lambda: policies.set_limits(Depth(2), Limits(1)),
        lambda: policies.add_tag(ACME, GOLD),
        lambda: policies.remove_tag(ACME, GOLD),
        lambda: policies.set_share(Tag(GOLD), None),
    ):
        change()
        versions.append(policies.version)
    assert versions == sorted(set(versions))


# -- tags as texts -------------------------------------------------------------------------


def test_a_tag_is_a_name_and_a_value() -> None:
    assert tag_text("tier", "gold=1") == "tier=gold=1"


@pytest.mark.parametrize(
    "name, value",
    [
        *(("", "gold"), ("tier", ""), ("a=b", "gold"), (None, "gold"), ("tier", 3), (b"tier", "x")),
        *(("t" * 129, "gold"), ("tier", "é" * 65), ("tier\n", "gold"), ("tier", "\ud800")),
    ],
)
def test_a_tag_that_is_none_is_refused(name: Any, value: Any) -> None:
    with pytest.raises(InvalidTagError):
        tag_text(name, value)

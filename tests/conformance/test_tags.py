"""What every engine promises of tags and defaults: what they set, for whom, and from when on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from celery_ranch.errors import InvalidShareError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.limits import NO_LIMITS, UNLIMITED, Limits, Rate
from celery_ranch.scheduling.model import Entry, OutcomeKind
from celery_ranch.scheduling.policies import Depth, Tag
from tests.conformance.histories import (
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    keys,
    lease,
    settle,
    store,
)

GOLD, BULK = "tier=gold", "kind=bulk"
A, B = ("a",), ("b",)


def share_of(engine: Engine, key: tuple[str, ...]) -> float:
    return {shown.key: shown.share for shown in engine.keys(QUEUE)[1]}[key]


# -- who has which tag ---------------------------------------------------------------------


def test_the_keys_of_a_tag_are_those_it_was_given_to(engine: Engine) -> None:
    engine.add_tag(QUEUE, A, GOLD)
    engine.add_tag(QUEUE, ("a", "x"), GOLD)
    engine.add_tag(QUEUE, B, BULK)
    engine.add_tag(QUEUE, A, GOLD)
    assert engine.tagged(QUEUE, GOLD) == {A, ("a", "x")}
    engine.remove_tag(QUEUE, A, GOLD)
    engine.remove_tag(QUEUE, B, GOLD)
    assert engine.tagged(QUEUE, GOLD) == {("a", "x")}
    assert engine.tagged(QUEUE, BULK) == {B}


def test_a_tag_is_its_queues_own(engine: Engine) -> None:
    engine.add_tag("one", A, GOLD)
    assert engine.tagged("two", GOLD) == frozenset()
    assert engine.tagged("never heard of", GOLD) == frozenset()


def test_a_tagged_key_keeps_its_tag_while_it_is_idle(engine: Engine) -> None:
    engine.add_tag(QUEUE, A, GOLD)
    store(engine, entries("a", 1))
    (leased,) = lease(engine, 1).leases
    settle(engine, leased, OutcomeKind.COMPLETED)
    for number in range(3):
        engine.reap(10, now_us=NOW + number * 10**12)
    assert engine.tagged(QUEUE, GOLD) == {A}
    engine.set_share(QUEUE, Tag(GOLD), 3.0)
    store(engine, entries("a", 20), entries("b", 20))
    assert Counter(keys(lease(engine, 12))) == {"a": 9, "b": 3}


# -- what holds ----------------------------------------------------------------------------


def test_a_share_by_tag_holds_for_every_key_that_has_it(engine: Engine) -> None:
    engine.set_share(QUEUE, Tag(GOLD), 2.0)
    for key in (A, B):
        engine.add_tag(QUEUE, key, GOLD)
    for name in "abc":
        store(engine, entries(name, 30))
    assert Counter(keys(lease(engine, 25))) == {"a": 10, "b": 10, "c": 5}


def test_the_keys_own_share_holds_over_its_tags_and_a_tags_over_the_default(
    engine: Engine,
) -> None:
    engine.set_share(QUEUE, Depth(1), 5.0)
    engine.set_share(QUEUE, Tag(GOLD), 3.0)
    engine.add_tag(QUEUE, A, GOLD)
    engine.add_tag(QUEUE, B, GOLD)
    engine.set_share(QUEUE, B, 0.5)
    for name in "abc":
        store(engine, entries(name, 1))
    assert [share_of(engine, (name,)) for name in "abc"] == [3.0, 0.5, 5.0]


def test_taking_a_keys_own_share_back_lets_its_tag_hold_at_once(engine: Engine) -> None:
    engine.set_share(QUEUE, Tag(GOLD), 3.0)
    engine.add_tag(QUEUE, A, GOLD)
    engine.set_share(QUEUE, A, 0.5)
    store(engine, entries("a", 20), entries("b", 20))
    engine.set_share(QUEUE, A, None)
    assert Counter(keys(lease(engine, 16))) == {"a": 12, "b": 4}


def test_of_several_tags_the_largest_share_and_the_strictest_limit_hold(engine: Engine) -> None:
    engine.set_share(QUEUE, Tag(GOLD), 4.0)
    engine.set_share(QUEUE, Tag(BULK), 0.5)
    engine.set_limits(QUEUE, Tag(GOLD), Limits(concurrency=9, rate=Rate(SECOND)), now_us=NOW)
    engine.set_limits(QUEUE, Tag(BULK), Limits(concurrency=2, backlog=5), now_us=NOW)
    for tag in (BULK, GOLD):
        engine.add_tag(QUEUE, A, tag)
    assert engine.enqueue(entries("a", 6), now_us=NOW).limit == 5
    store(engine, entries("a", 5))
    assert share_of(engine, A) == 4.0
    leased = [len(lease(engine, 9, now_us=NOW + at * SECOND).leases) for at in range(3)]
    assert leased == [1, 1, 0]


def test_no_limit_that_a_key_was_given_holds_over_its_tags(engine: Engine) -> None:
    engine.set_limits(QUEUE, Tag(GOLD), Limits(concurrency=1, rate=Rate(SECOND)), now_us=NOW)
    engine.add_tag(QUEUE, A, GOLD)
    own = Limits(concurrency=UNLIMITED, rate=Rate(UNLIMITED))
    engine.set_limits(QUEUE, A, own, now_us=NOW)
    store(engine, entries("a", 5))
    assert len(lease(engine, 9).leases) == 5


def test_a_limit_on_a_tag_is_for_each_key_with_the_tag(engine: Engine) -> None:
    engine.set_limits(QUEUE, Tag(GOLD), Limits(concurrency=1), now_us=NOW)
    for key in (A, B):
        engine.add_tag(QUEUE, key, GOLD)
    for name in "abc":
        store(engine, entries(name, 3))
    assert Counter(keys(lease(engine, 9))) == {"a": 1, "b": 1, "c": 3}


def test_a_tag_of_a_tenant_is_not_its_users(engine: Engine) -> None:
    engine.set_limits(QUEUE, Tag(GOLD), Limits(concurrency=1), now_us=NOW)
    engine.add_tag(QUEUE, ("t", "x"), GOLD)
    for user in "xy":
        store(engine, [Entry(f"{user}{i}", ("t", user), QUEUE, b"") for i in range(3)])
    assert Counter(one.key[1] for one in lease(engine, 9).leases) == {"x": 1, "y": 3}


# -- from when on --------------------------------------------------------------------------


def test_what_a_tag_sets_holds_for_what_waits_from_its_keys_next_lease_on(engine: Engine) -> None:
    engine.add_tag(QUEUE, A, GOLD)
    store(engine, entries("a", 60), entries("b", 60))
    engine.set_share(QUEUE, Tag(GOLD), 4.0)
    lease(engine, 2)
    assert Counter(keys(lease(engine, 20))) == {"a": 16, "b": 4}


@pytest.mark.parametrize("is_taken", ["tag", "share"])
def test_what_a_tag_set_holds_no_longer_once_it_is_taken_away(
    engine: Engine, is_taken: str
) -> None:
    engine.set_share(QUEUE, Tag(GOLD), 4.0)
    engine.add_tag(QUEUE, A, GOLD)
    store(engine, entries("a", 1))
    assert share_of(engine, A) == 4.0
    if is_taken == "tag":
        engine.remove_tag(QUEUE, A, GOLD)
    else:
        engine.set_share(QUEUE, Tag(GOLD), None)
    store(engine, [entry("x", "a")])
    assert share_of(engine, A) == 1.0


def test_a_tags_limit_lets_a_running_key_go_on_when_it_is_taken_back(engine: Engine) -> None:
    engine.set_limits(QUEUE, Tag(GOLD), Limits(concurrency=1), now_us=NOW)
    engine.add_tag(QUEUE, A, GOLD)
    store(engine, entries("a", 5))
    (first,) = lease(engine, 9).leases
    engine.set_limits(QUEUE, Tag(GOLD), NO_LIMITS, now_us=NOW)
    settle(engine, first, OutcomeKind.COMPLETED)
    assert len(lease(engine, 9).leases) == 4


def test_a_default_holds_for_keys_never_heard_of(engine: Engine) -> None:
    engine.set_share(QUEUE, Depth(1), 2.0)
    engine.set_limits(QUEUE, Depth(2), Limits(concurrency=1), now_us=NOW)
    store(engine, entries("new", 1))
    assert share_of(engine, ("new",)) == 2.0
    users = [Entry(f"{u}{i}", ("t", u), QUEUE, b"") for u in "xy" for i in range(2)]
    store(engine, users)
    assert Counter(one.key for one in lease(engine, 9).leases) == {
        **{("new",): 1, ("t", "x"): 1, ("t", "y"): 1},
    }


def test_a_default_outlives_the_keys_it_held_for(engine: Engine) -> None:
    engine.set_share(QUEUE, Depth(1), 2.0)
    store(engine, entries("a", 1))
    engine.cancel(QUEUE, "a-0", now_us=NOW)
    engine.reap(10, now_us=NOW)
    assert engine.keys(QUEUE) == (0, ())
    store(engine, entries("a", 1))
    assert share_of(engine, A) == 2.0


# -- bad values ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Tag(GOLD), Depth(1)])
@pytest.mark.parametrize("share", [0, 100.1, float("nan"), "2", True])
def test_a_share_out_of_range_is_refused_and_changes_nothing(
    engine: Engine, target: Any, share: Any
) -> None:
    engine.add_tag(QUEUE, A, GOLD)
    engine.set_share(QUEUE, target, 3.0)
    with pytest.raises(InvalidShareError):
        engine.set_share(QUEUE, target, share)
    store(engine, entries("a", 1))
    assert share_of(engine, A) == 3.0

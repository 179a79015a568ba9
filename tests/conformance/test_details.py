"""What every engine promises of one key: its tags, what is noted of it, its share by a function."""

from __future__ import annotations

from collections import Counter

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import Entry, KeyDetails, KeyPath, KeySnapshot, OutcomeKind
from celery_ranch.scheduling.policies import MAX_DATA_BYTES, Depth, Tag, Weighed
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

A, B = ("a",), ("b",)
GOLD, FREE, EU = "tier=gold", "tier=free", "region=eu"
YEAR = 365 * 86_400 * SECOND


def share_of(engine: Engine, key: KeyPath) -> float:
    return engine.details(QUEUE, key).snapshot.share


def sweep(engine: Engine) -> None:
    """Let every key be idle for years, and be looked at."""
    for years in range(1, 5):
        engine.reap(1_000, now_us=NOW + years * YEAR)


# -- one key -------------------------------------------------------------------------------


def test_a_key_is_shown_alone_as_among_all(engine: Engine) -> None:
    store(engine, entries("a", 3), entries("b", 2), [entry("later", "a", due_in_us=SECOND)])
    lease(engine, 1)
    engine.add_tag(QUEUE, A, GOLD)
    engine.add_tag(QUEUE, A, EU)
    engine.set_share(QUEUE, A, 2.5)
    engine.pause(QUEUE, A)
    expected = KeySnapshot(A, 2, 1, 2.5, True, NOW, in_service=1, tags=(EU, GOLD))
    assert engine.details(QUEUE, A) == KeyDetails(expected, 2.5, {})
    assert expected in engine.keys(QUEUE)[1]


def test_a_path_is_shown_with_its_own_entries_and_what_runs_below_it(engine: Engine) -> None:
    store(engine, [Entry("one", ("t", "x"), QUEUE, b""), Entry("two", ("t",), QUEUE, b"")])
    store(engine, [Entry("three", ("t", "x"), QUEUE, b"")])
    lease(engine, 1)
    assert engine.details(QUEUE, ("t",)).snapshot == KeySnapshot(
        ("t",), 1, 0, 1.0, False, NOW, in_service=1
    )
    assert engine.details(QUEUE, ("t", "x")).snapshot.waiting == 1


@pytest.mark.parametrize("queue", [QUEUE, "never heard of"])
def test_a_key_never_heard_of_is_shown_as_an_idle_one(engine: Engine, queue: str) -> None:
    store(engine, entries("b", 1))
    idle = KeySnapshot(A, 0, 0, 1.0, False, None)
    assert engine.details(queue, A) == KeyDetails(idle, 1.0, {})
    assert {shown.key for shown in engine.keys(QUEUE)[1]} == {B}
    assert engine.queues() == {QUEUE}


def test_a_key_never_heard_of_is_shown_with_what_will_hold_for_it(engine: Engine) -> None:
    engine.set_share(QUEUE, Depth(1), 3.0)
    engine.set_share(QUEUE, Tag(GOLD), 4.0)
    engine.add_tag(QUEUE, A, GOLD)
    assert (share_of(engine, A), share_of(engine, B)) == (4.0, 3.0)
    assert engine.details(QUEUE, A).snapshot.tags == (GOLD,)


# -- tags ----------------------------------------------------------------------------------


def test_keys_are_found_by_a_tag_s_name_whatever_its_value(engine: Engine) -> None:
    for key, tag in ((A, GOLD), (B, FREE), (("c",), EU), (("a", "x"), GOLD)):
        engine.add_tag(QUEUE, key, tag)
    engine.add_tag(QUEUE, ("d",), "tiers=gold")
    assert engine.tagged(QUEUE, "tier=") == {A, B, ("a", "x")}
    engine.add_tag(QUEUE, A, FREE)
    engine.remove_tag(QUEUE, A, GOLD)
    assert engine.tagged(QUEUE, "tier=") == {A, B, ("a", "x")}
    engine.remove_tag(QUEUE, A, FREE)
    assert engine.tagged(QUEUE, "tier=") == {B, ("a", "x")}
    assert engine.tagged(QUEUE, "ti=") == frozenset()


def test_a_tag_is_not_taken_for_another_that_begins_like_it(engine: Engine) -> None:
    for key, tag in ((A, "tier=gold"), (B, "tier=golden"), (("c",), "tier=gold=1")):
        engine.add_tag(QUEUE, key, tag)
    assert engine.tagged(QUEUE, "tier=gold") == {A}


def test_a_tag_with_more_keys_than_one_look_returns_has_all_of_them(engine: Engine) -> None:
    for number in range(2_100):
        engine.add_tag(QUEUE, (f"k{number}",), GOLD)
    assert engine.tagged(QUEUE, GOLD) == {(f"k{number}",) for number in range(2_100)}


def test_a_tag_that_is_the_only_one_of_its_name_takes_the_others_place(engine: Engine) -> None:
    for tag in (GOLD, FREE, EU):
        engine.add_tag(QUEUE, A, tag)
    engine.add_tag(QUEUE, A, "tier=silver", is_only=True)
    assert engine.details(QUEUE, A).snapshot.tags == (EU, "tier=silver")
    assert engine.tagged(QUEUE, GOLD) == engine.tagged(QUEUE, FREE) == frozenset()
    engine.set_share(QUEUE, Tag("tier=silver"), 3.0)
    store(engine, entries("a", 1))
    assert share_of(engine, A) == 3.0
    engine.add_tag(QUEUE, A, GOLD, is_only=True)
    store(engine, [entry("x", "a")])
    assert share_of(engine, A) == 1.0


def test_a_tag_given_again_changes_nothing_and_one_given_to_a_key_holds_for_it(
    engine: Engine,
) -> None:
    engine.set_limits(QUEUE, Tag(GOLD), Limits(concurrency=1), now_us=NOW)
    store(engine, entries("a", 3), entries("b", 3))
    engine.add_tag(QUEUE, A, GOLD)
    lease(engine, 2)
    engine.add_tag(QUEUE, A, GOLD)
    assert Counter(keys(lease(engine, 9))) == {"b": 2}


# -- what is noted -------------------------------------------------------------------------


def test_what_is_noted_of_a_key_is_its_own_until_it_is_taken_back(engine: Engine) -> None:
    assert engine.set_data(QUEUE, A, "cores", "4")
    assert engine.set_data(QUEUE, A, "Größe", '"gro\\u00df"')
    assert engine.set_data(QUEUE, A, "cores", "[8]")
    assert engine.set_data(QUEUE, ("a", "x"), "cores", "1")
    assert engine.details(QUEUE, A).data == {"cores": "[8]", "Größe": '"gro\\u00df"'}
    assert engine.set_data(QUEUE, A, "cores", None)
    assert engine.set_data(QUEUE, A, "never noted", None)
    assert engine.details(QUEUE, A).data == {"Größe": '"gro\\u00df"'}
    assert engine.details(QUEUE, B).data == engine.details("other", A).data == {}


def test_no_more_is_noted_of_a_key_than_there_is_room_for(engine: Engine) -> None:
    assert engine.set_data(QUEUE, A, "é", "1" * (MAX_DATA_BYTES - 4))
    assert engine.set_data(QUEUE, A, "b", "3")
    assert not engine.set_data(QUEUE, A, "b", "33")
    assert not engine.set_data(QUEUE, A, "c", "3")
    assert engine.details(QUEUE, A).data["b"] == "3"
    assert engine.set_data(QUEUE, A, "é", None)
    assert engine.set_data(QUEUE, A, "c", "3")
    assert engine.details(QUEUE, A).data == {"b": "3", "c": "3"}


def test_a_key_of_which_something_is_noted_is_not_forgotten(engine: Engine) -> None:
    engine.set_data(QUEUE, A, "cores", "4")
    store(engine, entries("a", 1), entries("b", 1))
    for leased in lease(engine, 2).leases:
        settle(engine, leased, OutcomeKind.COMPLETED)
    sweep(engine)
    assert [shown.key for shown in engine.keys(QUEUE)[1]] == [A]
    assert engine.details(QUEUE, A).snapshot.last_leased_at_us == NOW
    engine.set_data(QUEUE, A, "cores", None)
    sweep(engine)
    assert engine.keys(QUEUE) == (0, ())


# -- a share by a weight function ----------------------------------------------------------


def test_what_a_weight_function_says_holds_at_once_over_all_else(engine: Engine) -> None:
    engine.set_share(QUEUE, Tag(GOLD), 9.0)
    engine.add_tag(QUEUE, A, GOLD)
    engine.set_share(QUEUE, A, 0.5)
    store(engine, entries("a", 30), entries("b", 30))
    engine.set_share(QUEUE, Weighed(A), 4.0)
    assert Counter(keys(lease(engine, 20))) == {"a": 16, "b": 4}
    details = engine.details(QUEUE, A)
    assert (details.snapshot.share, details.share_by_hand) == (4.0, 0.5)


def test_a_share_set_of_the_key_itself_holds_at_once_over_a_weight_function_s(
    engine: Engine,
) -> None:
    store(engine, entries("a", 30), entries("b", 30))
    engine.set_share(QUEUE, Weighed(A), 4.0)
    engine.set_share(QUEUE, A, 2.0)
    assert engine.details(QUEUE, A).share_by_hand == share_of(engine, A) == 2.0
    engine.set_share(QUEUE, Weighed(A), 4.0)
    engine.set_share(QUEUE, A, None)
    assert share_of(engine, A) == 1.0


def test_what_a_weight_function_said_can_be_taken_back(engine: Engine) -> None:
    store(engine, entries("a", 1))
    engine.set_share(QUEUE, Depth(1), 3.0)
    engine.set_share(QUEUE, Weighed(A), 4.0)
    engine.set_share(QUEUE, Weighed(A), None)
    assert share_of(engine, A) == 3.0


def test_what_a_weight_function_says_is_about_one_key(engine: Engine) -> None:
    store(engine, entries("a", 1), entries("b", 1))
    store(engine, [Entry("x", ("a", "x"), QUEUE, b"")])
    engine.set_share(QUEUE, Weighed(A), 4.0)
    assert [share_of(engine, key) for key in (A, B, ("a", "x"))] == [4.0, 1.0, 1.0]


def test_limits_hold_beside_what_a_weight_function_says(engine: Engine) -> None:
    engine.set_limits(QUEUE, A, Limits(concurrency=2), now_us=NOW)
    engine.set_share(QUEUE, Weighed(A), 4.0)
    store(engine, entries("a", 5))
    assert len(lease(engine, 9).leases) == 2
    assert share_of(engine, A) == 4.0


def test_what_a_weight_function_said_is_forgotten_with_an_idle_key(engine: Engine) -> None:
    store(engine, entries("a", 1))
    engine.set_share(QUEUE, Weighed(A), 4.0)
    for leased in lease(engine, 1).leases:
        settle(engine, leased, OutcomeKind.COMPLETED)
    sweep(engine)
    assert engine.keys(QUEUE) == (0, ())
    store(engine, entries("a", 1))
    assert share_of(engine, A) == 1.0

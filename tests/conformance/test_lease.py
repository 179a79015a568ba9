"""What every engine promises of leasing: the order of turns, within a key and between queues."""

from __future__ import annotations

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import OutcomeKind
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


def test_an_empty_store_leases_nothing(engine: Engine) -> None:
    leased = lease(engine, 5)
    assert (leased.leases, leased.has_more, leased.next_due_in_us) == ((), False, None)


def test_three_unequal_backlogs_are_leased_in_turns(engine: Engine) -> None:
    store(engine, entries("a", 4), entries("b", 1), entries("c", 2))
    assert ids(lease(engine, 10)) == ["a-0", "b-0", "c-0", "a-1", "c-1", "a-2", "a-3"]


def test_the_order_does_not_depend_on_how_many_are_leased_at_once(engine: Engine) -> None:
    store(engine, entries("a", 4), entries("b", 1), entries("c", 2))
    one_by_one = [ids(lease(engine, 1, worker)) for worker in ("w1", "w2", "w1", "w3")]
    assert one_by_one == [["a-0"], ["b-0"], ["c-0"], ["a-1"]]
    assert ids(lease(engine, 2)) == ["c-1", "a-2"]


def test_a_key_that_comes_late_is_served_before_the_flood_goes_on(engine: Engine) -> None:
    store(engine, entries("flood", 100))
    lease(engine, 50)
    store(engine, [entry("quiet-0", "quiet")])
    assert keys(lease(engine, 3)) == ["quiet", "flood", "flood"]


def test_waiting_outside_earns_no_credit(engine: Engine) -> None:
    store(engine, entries("b", 1))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    store(engine, entries("a", 50))
    lease(engine, 20)
    store(engine, entries("b", 20))
    assert keys(lease(engine, 4)) == ["b", "a", "b", "a"]


def test_never_served_keys_go_first_by_arrival_not_by_name(engine: Engine) -> None:
    store(engine, entries("m", 2))
    lease(engine, 1)
    store(engine, [entry("z", "z")], [entry("a", "a")])
    assert keys(lease(engine, 3)) == ["z", "a", "m"]


def test_a_never_served_key_keeps_its_place_of_arrival_while_it_is_away(engine: Engine) -> None:
    store(engine, entries("first", 1), entries("second", 1))
    engine.pause(QUEUE, ("first",))
    engine.resume(QUEUE, ("first",))
    assert keys(lease(engine, 2)) == ["first", "second"]


def test_last_served_numbers_outlive_an_idle_queue(engine: Engine) -> None:
    store(engine, entries("a", 1), entries("b", 1), entries("c", 1))
    for leased in lease(engine, 3).leases:
        settle(engine, leased, OutcomeKind.COMPLETED)
    store(engine, [entry("c2", "c"), entry("b2", "b"), entry("new", "new"), entry("a2", "a")])
    assert keys(lease(engine, 4)) == ["new", "a", "b", "c"]


def test_an_idle_queue_forgets_who_was_ahead(engine: Engine) -> None:
    engine.set_share(QUEUE, ("slow",), 0.1)
    store(engine, entries("slow", 1), entries("other", 1))
    for leased in lease(engine, 2).leases:
        settle(engine, leased, OutcomeKind.COMPLETED)
    store(engine, [entry("s", "slow"), *(entry(f"o{i}", "other") for i in range(3))])
    assert keys(lease(engine, 4)) == ["slow", "other", "other", "other"]


def test_a_queue_with_a_slot_taken_still_knows_who_was_ahead(engine: Engine) -> None:
    engine.set_share(QUEUE, ("slow",), 0.1)
    store(engine, entries("slow", 1), entries("other", 1))
    first, second = lease(engine, 2).leases
    settle(engine, first, OutcomeKind.COMPLETED)
    settle(engine, second, OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED)
    store(engine, [entry("s", "slow"), *(entry(f"o{i}", "other") for i in range(3))])
    assert keys(lease(engine, 4)) == ["other", "other", "other", "slow"]


def test_within_a_key_entries_go_in_the_order_they_were_stored(engine: Engine) -> None:
    store(engine, [entry("z"), entry("b")], [entry("a")])
    assert ids(lease(engine, 3)) == ["z", "b", "a"]


def test_an_entry_is_leased_to_one_worker_only(engine: Engine) -> None:
    store(engine, entries("a", 3))
    assert ids(lease(engine, 2, "w1")) == ["a-0", "a-1"]
    assert ids(lease(engine, 5, "w2")) == ["a-2"]
    assert ids(lease(engine, 5, "w1")) == []


def test_every_hand_over_has_a_number_of_its_own_and_larger(engine: Engine) -> None:
    store(engine, entries("a", 3), [entry("x", "b", expires_at_us=NOW)])
    numbers = [leased.number for leased in lease(engine, 5).leases]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 4


def test_a_limit_of_zero_leases_nothing(engine: Engine) -> None:
    store(engine, entries("a", 3))
    assert lease(engine, 0).leases == ()


def test_only_the_queues_named_are_leased_from(engine: Engine) -> None:
    store(engine, entries("a", 1, "one"), entries("b", 1, "two"))
    assert ids(lease(engine, 5, queues=["two", "nowhere"])) == ["b-0"]
    assert engine.queues() == {"one", "two"}


def test_queues_never_leased_from_go_in_the_order_given(engine: Engine) -> None:
    store(engine, entries("a", 1, "one"), entries("b", 1, "two"))
    assert ids(lease(engine, 1, queues=["two", "one"])) == ["b-0"]


def test_the_queue_least_recently_leased_from_goes_first(engine: Engine) -> None:
    store(engine, entries("a", 5, "one"), entries("b", 5, "two"), entries("c", 5, "three"))
    lease(engine, 2, queues=["one"])
    lease(engine, 1, queues=["two"])
    leased = lease(engine, 5, queues=["one", "two", "three"])
    assert ids(leased) == ["c-0", "a-2", "b-1", "c-1", "a-3"]


def test_a_queue_takes_its_turns_while_others_are_empty(engine: Engine) -> None:
    store(engine, entries("a", 3, "one"), entries("b", 1, "two"))
    leased = lease(engine, 9, queues=["one", "two"])
    assert ids(leased) == ["a-0", "b-0", "a-1", "a-2"]


def test_a_queue_named_twice_is_one_queue(engine: Engine) -> None:
    store(engine, entries("a", 2))
    assert ids(lease(engine, 5, queues=[QUEUE, QUEUE])) == ["a-0", "a-1"]


def test_what_is_leased_is_no_longer_pending(engine: Engine) -> None:
    store(engine, entries("a", 2))
    lease(engine, 1)
    assert engine.pending(QUEUE, ("a",)) == (("a-1", b"a-1"),)
    counts = engine.snapshot(QUEUE, now_us=NOW)
    assert (counts.waiting, counts.leased) == (1, 1)


def test_a_worker_that_only_looked_is_registered(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1, "w1")
    lease(engine, 1, "w2")
    assert engine.heartbeat("w2", now_us=NOW)
    assert engine.snapshot(QUEUE, now_us=NOW).workers == 2


def test_looking_at_queues_that_never_held_an_entry_registers_nobody(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 2.0)
    lease(engine, 1, "w1")
    assert not engine.heartbeat("w1", now_us=NOW + SECOND)

"""What every engine promises of pausing, resuming and cancelling."""

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


def test_a_paused_key_is_not_leased_and_blocks_nobody(engine: Engine) -> None:
    store(engine, entries("a", 2), entries("b", 2))
    engine.pause(QUEUE, ("a",))
    assert keys(lease(engine, 5)) == ["b", "b"]


def test_a_paused_keys_entries_still_count_as_waiting(engine: Engine) -> None:
    store(engine, entries("a", 2))
    engine.pause(QUEUE, ("a",))
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == 2
    (snapshot,) = engine.keys(QUEUE)[1]
    assert (snapshot.waiting, snapshot.is_paused) == (2, True)


def test_a_resumed_keys_entries_have_kept_their_places(engine: Engine) -> None:
    store(engine, entries("a", 2))
    engine.pause(QUEUE, ("a",))
    store(engine, [entry("a-2", "a")])
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 5)) == ["a-0", "a-1", "a-2"]


def test_a_pause_earns_no_credit(engine: Engine) -> None:
    store(engine, entries("a", 50), entries("b", 50))
    lease(engine, 2)
    engine.pause(QUEUE, ("a",))
    lease(engine, 20)
    engine.resume(QUEUE, ("a",))
    assert keys(lease(engine, 4)) == ["a", "b", "a", "b"]


def test_a_pause_wipes_out_no_debt(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 0.1)
    store(engine, entries("a", 5), entries("b", 50))
    assert keys(lease(engine, 1)) == ["a"]
    engine.pause(QUEUE, ("a",))
    engine.resume(QUEUE, ("a",))
    assert keys(lease(engine, 11)) == ["b"] * 10 + ["a"]


def test_pausing_twice_takes_one_resume(engine: Engine) -> None:
    store(engine, entries("a", 1))
    engine.pause(QUEUE, ("a",))
    engine.pause(QUEUE, ("a",))
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 1)) == ["a-0"]


def test_a_key_paused_before_any_entry_is_paused_when_they_come(engine: Engine) -> None:
    engine.pause(QUEUE, ("a",))
    assert engine.queues() == frozenset()
    store(engine, entries("a", 1), entries("b", 1))
    assert keys(lease(engine, 5)) == ["b"]


def test_resuming_a_key_never_heard_of_does_not_make_it_known(engine: Engine) -> None:
    engine.resume(QUEUE, ("a",))
    store(engine, entries("b", 1))
    engine.resume(QUEUE, ("a",))
    assert [snapshot.key for snapshot in engine.keys(QUEUE)[1]] == [("b",)]


def test_resuming_a_key_that_is_not_paused_changes_no_turn(engine: Engine) -> None:
    store(engine, entries("a", 3), entries("b", 3))
    lease(engine, 1)
    engine.resume(QUEUE, ("a",))
    assert keys(lease(engine, 2)) == ["b", "a"]


def test_a_pause_holds_in_its_queue_alone(engine: Engine) -> None:
    store(engine, entries("a", 1, "one"), entries("a", 1, "two"))
    engine.pause("one", ("a",))
    assert len(lease(engine, 5, queues=["one", "two"]).leases) == 1


def test_what_a_paused_key_has_leased_goes_on(engine: Engine) -> None:
    store(engine, entries("a", 1))
    leased = lease_one(engine)
    engine.pause(QUEUE, ("a",))
    settle(engine, leased, OutcomeKind.STARTED, OutcomeKind.COMPLETED)


def test_a_paused_backlog_keeps_the_queue_from_forgetting_who_was_ahead(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 0.1)
    store(engine, entries("a", 1), entries("held", 1))
    engine.pause(QUEUE, ("held",))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    store(engine, [entry("a-1", "a")], entries("b", 2))
    assert keys(lease(engine, 3)) == ["b", "b", "a"]


# -- cancelling ---------------------------------------------------------------------


def test_a_cancelled_entry_is_gone_and_its_message_returned(engine: Engine) -> None:
    store(engine, entries("a", 3))
    assert engine.cancel(QUEUE, "a-1", now_us=NOW) == b"a-1"
    assert ids(lease(engine, 5)) == ["a-0", "a-2"]


def test_a_delayed_entry_is_cancelled_as_well(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=SECOND)])
    assert engine.cancel(QUEUE, "e1", now_us=NOW) == b"e1"
    assert engine.snapshot(QUEUE, now_us=NOW).delayed == 0
    assert lease(engine, 1, now_us=NOW + SECOND).leases == ()


def test_an_entry_of_a_paused_key_is_cancelled_as_well(engine: Engine) -> None:
    store(engine, entries("a", 1))
    engine.pause(QUEUE, ("a",))
    assert engine.cancel(QUEUE, "a-0", now_us=NOW) == b"a-0"
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == 0


def test_an_entry_that_was_given_back_is_cancelled_as_well(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.RELEASED)
    assert engine.cancel(QUEUE, "a-0", now_us=NOW) == b"a-0"


def test_cancelling_the_only_entry_takes_its_key_out_of_the_race(engine: Engine) -> None:
    store(engine, entries("a", 1), entries("b", 1))
    engine.cancel(QUEUE, "a-0", now_us=NOW)
    assert keys(lease(engine, 5)) == ["b"]


def test_cancelling_what_does_not_wait_changes_nothing(engine: Engine) -> None:
    store(engine, entries("a", 3))
    leased, started, buried = lease(engine, 3).leases
    settle(engine, started, OutcomeKind.STARTED)
    settle(engine, buried, OutcomeKind.DEAD)
    for entry_id in ("a-0", "a-1", "a-2", "unknown"):
        assert engine.cancel(QUEUE, entry_id, now_us=NOW) is None
    assert engine.cancel("elsewhere", "a-0", now_us=NOW) is None
    assert len(engine.dead_letters(QUEUE)) == 1
    settle(engine, leased, OutcomeKind.COMPLETED)
    settle(engine, started, OutcomeKind.COMPLETED)


def test_an_entry_is_cancelled_only_once(engine: Engine) -> None:
    store(engine, entries("a", 1))
    assert engine.cancel(QUEUE, "a-0", now_us=NOW) == b"a-0"
    assert engine.cancel(QUEUE, "a-0", now_us=NOW) is None


def test_cancelling_the_last_entry_makes_the_queue_forget_who_was_ahead(engine: Engine) -> None:
    engine.set_share(QUEUE, ("slow",), 0.1)
    store(engine, entries("slow", 1), entries("other", 2))
    for leased in lease(engine, 2).leases:
        settle(engine, leased, OutcomeKind.COMPLETED)
    engine.cancel(QUEUE, "other-1", now_us=NOW)
    store(engine, [entry("s", "slow")], [entry("o0", "other"), entry("o1", "other")])
    assert keys(lease(engine, 3)) == ["slow", "other", "other"]

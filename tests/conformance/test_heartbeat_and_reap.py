"""What every engine promises of workers that live, and of those that stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import OutcomeKind, Reaped
from tests.conformance.histories import (
    LEASE_US,
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    ids,
    keys,
    lease,
    lease_one,
    outcome,
    reap_after_lease_time,
    settle,
    store,
)

LATER = NOW + LEASE_US


# -- heartbeats ---------------------------------------------------------------


def test_a_worker_that_never_leased_is_not_known(engine: Engine) -> None:
    store(engine, entries("a", 1))
    assert not engine.heartbeat("w1", now_us=NOW)


def test_a_heartbeat_keeps_all_of_a_workers_leases_in_all_queues(engine: Engine) -> None:
    store(engine, entries("a", 30, "one"), entries("b", 30, "two"))
    lease(engine, 60, queues=["one", "two"])
    assert engine.heartbeat("w1", now_us=NOW + LEASE_US // 2)
    assert reap_after_lease_time(engine) == Reaped()
    assert len(engine.held("w1")) == 60


def test_a_heartbeat_of_one_worker_does_not_keep_anothers_leases(engine: Engine) -> None:
    store(engine, entries("a", 2))
    lease(engine, 1, "w1")
    lease(engine, 1, "w2")
    engine.heartbeat("w2", now_us=NOW + 1)
    assert reap_after_lease_time(engine) == Reaped(released=1)
    assert (len(engine.held("w1")), len(engine.held("w2"))) == (0, 1)


def test_leasing_again_is_no_heartbeat(engine: Engine) -> None:
    store(engine, entries("a", 2))
    lease(engine, 1)
    lease(engine, 1, now_us=LATER - 1)
    assert reap_after_lease_time(engine) == Reaped(released=2)


def test_a_worker_that_is_late_but_not_reaped_keeps_its_leases(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    assert engine.heartbeat("w1", now_us=LATER + SECOND)
    assert engine.snapshot(QUEUE, now_us=LATER + SECOND).workers == 1
    assert engine.held("w1")


def test_a_reaped_worker_is_told_that_its_leases_have_passed_on(engine: Engine) -> None:
    store(engine, entries("a", 1))
    leased = lease_one(engine)
    reap_after_lease_time(engine)
    assert not engine.heartbeat("w1", now_us=LATER)
    late = outcome(leased, OutcomeKind.COMPLETED)
    assert engine.settle("w1", [late], now_us=LATER) == (late,)
    assert engine.snapshot(QUEUE, now_us=LATER).waiting == 1


def test_a_reaped_worker_that_leases_again_is_registered_anew(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    reap_after_lease_time(engine)
    assert ids(lease(engine, 1, now_us=LATER)) == ["a-0"]
    assert engine.heartbeat("w1", now_us=LATER)
    assert engine.reap(10, now_us=LATER + 1) == Reaped()


# -- what reaping does ----------------------------------------------------------


def test_an_entry_never_started_is_released_to_its_place_uncounted(engine: Engine) -> None:
    store(engine, entries("a", 3))
    lease(engine, 1, "w1")
    assert reap_after_lease_time(engine) == Reaped(released=1)
    again, *_ = leases = lease(engine, 3, "w2", now_us=LATER).leases
    assert [one.entry_id for one in leases] == ["a-0", "a-1", "a-2"]
    assert again.deliveries == 0


@pytest.mark.parametrize("last", [OutcomeKind.STARTED, OutcomeKind.FINISHED])
def test_an_entry_started_or_finished_goes_back_counted_at_once(
    engine: Engine, last: OutcomeKind
) -> None:
    store(engine, entries("a", 2))
    settle(engine, lease_one(engine), OutcomeKind.STARTED, last)
    assert reap_after_lease_time(engine) == Reaped(requeued=1)
    again, second = lease(engine, 2, "w2", now_us=LATER).leases
    assert (again.entry_id, again.deliveries, second.entry_id) == ("a-0", 1, "a-1")


def test_an_acknowledged_entry_of_a_dead_worker_only_frees_its_slot(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED)
    assert reap_after_lease_time(engine) == Reaped(freed=1)
    counts = engine.snapshot(QUEUE, now_us=LATER)
    assert (counts.waiting, counts.delayed, counts.leased, counts.dead) == (0, 0, 0, 0)
    assert engine.held("w1") == frozenset()


def test_an_entry_that_kills_its_workers_is_dead_in_the_end(
    open_engine: Callable[..., Engine],
) -> None:
    engine = open_engine(max_deliveries=1)
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.STARTED)
    assert reap_after_lease_time(engine) == Reaped(requeued=1)
    again = lease_one(engine, "w2", now_us=LATER)
    settle(engine, again, OutcomeKind.STARTED, worker="w2", now_us=LATER)
    assert reap_after_lease_time(engine, since_us=LATER) == Reaped(dead=1)
    (letter,) = engine.dead_letters(QUEUE)
    assert (letter.reason, letter.deliveries) == ("too many deliveries", 2)
    assert letter.died_at_us == LATER + LEASE_US


@pytest.mark.parametrize("said", [(), (OutcomeKind.STARTED,)])
def test_what_a_dead_worker_held_is_suspect_whether_it_said_that_it_started_or_not(
    engine: Engine, said: tuple[OutcomeKind, ...]
) -> None:
    store(engine, entries("a", 2))
    first = lease_one(engine)
    assert not first.is_suspect
    settle(engine, first, *said)
    reap_after_lease_time(engine)
    again, other = lease(engine, 2, "w2", now_us=LATER).leases
    assert (again.is_suspect, other.is_suspect) == (True, False)
    settle(engine, again, OutcomeKind.RELEASED, worker="w2", now_us=LATER)
    assert lease_one(engine, "w2", now_us=LATER).is_suspect


def test_what_a_living_worker_puts_off_is_suspect_no_more(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease_one(engine)
    reap_after_lease_time(engine)
    again = lease_one(engine, "w2", now_us=LATER)
    settle(engine, again, OutcomeKind.RELEASED, worker="w2", now_us=LATER, due_in_us=1)
    assert not lease_one(engine, "w2", now_us=LATER + 1).is_suspect


def test_deliveries_by_reaping_and_by_requeueing_count_together(
    open_engine: Callable[..., Engine],
) -> None:
    engine = open_engine(max_deliveries=1)
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.STARTED)
    reap_after_lease_time(engine)
    again = lease_one(engine, "w2", now_us=LATER)
    settle(engine, again, OutcomeKind.REQUEUED, worker="w2", now_us=LATER)
    assert [letter.entry_id for letter in engine.dead_letters(QUEUE)] == ["a-0"]


def test_a_reaped_entry_keeps_what_it_charged(engine: Engine) -> None:
    store(engine, entries("a", 2), entries("b", 2))
    lease(engine, 1, "w1")
    reap_after_lease_time(engine)
    assert keys(lease(engine, 4, "w2", now_us=LATER)) == ["b", "a", "b", "a"]


def test_a_reaped_entry_of_a_paused_key_waits_for_it_to_be_resumed(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    engine.pause(QUEUE, ("a",))
    reap_after_lease_time(engine)
    assert lease(engine, 1, "w2", now_us=LATER).leases == ()
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 1, "w2", now_us=LATER)) == ["a-0"]


def test_reaping_takes_at_most_limit_entries_and_says_when_there_are_more(engine: Engine) -> None:
    store(engine, entries("a", 3, "one"), entries("b", 2, "two"))
    lease(engine, 9, queues=["one", "two"])
    assert reap_after_lease_time(engine, limit=2) == Reaped(released=2, has_more=True)
    assert engine.reap(2, now_us=LATER) == Reaped(released=2, has_more=True)
    assert engine.reap(2, now_us=LATER) == Reaped(released=1)
    assert engine.reap(2, now_us=LATER) == Reaped()


def test_queues_are_reaped_by_name_workers_by_end_and_leases_by_number(engine: Engine) -> None:
    store(engine, entries("a", 4, "one"), entries("b", 1, "another"))
    lease(engine, 1, "late", queues=["one"])
    lease(engine, 2, "early", queues=["one"])
    lease(engine, 1, "late", queues=["another"])
    engine.heartbeat("late", now_us=NOW + 1)
    taken_back = []
    known = {worker: engine.held(worker) for worker in ("early", "late")}
    reap_after_lease_time(engine, limit=0)
    for _ in range(4):
        engine.reap(1, now_us=LATER + 1)
        for worker, before in known.items():
            known[worker] = engine.held(worker)
            taken_back += [entry_id for _, entry_id, _ in before - known[worker]]
    assert taken_back == ["b-0", "a-1", "a-2", "a-0"]


def test_a_dead_worker_without_leases_is_forgotten(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    assert reap_after_lease_time(engine) == Reaped()
    assert not engine.heartbeat("w1", now_us=LATER)


# -- holding back ----------------------------------------------------------------


def test_the_first_reaping_ever_holds_back_for_one_lease_time(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1, now_us=NOW - 10 * LEASE_US)
    for now_us in range(NOW, NOW + LEASE_US, LEASE_US // 3):
        assert engine.reap(10, now_us=now_us) == Reaped()
    assert engine.heartbeat("w1", now_us=NOW)
    assert engine.reap(10, now_us=NOW + LEASE_US) == Reaped(released=1)


def test_after_a_gap_of_more_than_a_third_live_workers_beat_first(engine: Engine) -> None:
    store(engine, entries("a", 2))
    lease(engine, 1, "alive")
    lease(engine, 1, "dead")
    for now_us in range(NOW - LEASE_US, NOW + 1, LEASE_US // 3):
        engine.reap(10, now_us=now_us)
    back_us = NOW + 100 * LEASE_US
    assert engine.reap(10, now_us=back_us) == Reaped()
    assert engine.heartbeat("alive", now_us=back_us)
    for step in (1, 2):
        assert engine.reap(10, now_us=back_us + step * LEASE_US // 3) == Reaped()
    engine.heartbeat("alive", now_us=back_us + LEASE_US // 2)
    assert engine.reap(10, now_us=back_us + LEASE_US) == Reaped(released=1)
    assert engine.held("alive")


def test_a_gap_of_exactly_a_third_is_no_gap(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    assert reap_after_lease_time(engine) == Reaped(released=1)
    lease(engine, 1, now_us=LATER - LEASE_US)
    assert engine.reap(10, now_us=LATER + LEASE_US // 3) == Reaped(released=1)


def test_a_gap_just_above_a_third_is_one(engine: Engine) -> None:
    store(engine, entries("a", 1))
    assert reap_after_lease_time(engine) == Reaped()
    lease(engine, 1, now_us=NOW)
    assert engine.reap(10, now_us=LATER + LEASE_US // 3 + 1) == Reaped()
    assert engine.held("w1")


def test_a_gap_while_holding_back_holds_back_anew(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    engine.reap(10, now_us=LATER)
    engine.reap(10, now_us=LATER + LEASE_US // 2)
    for now_us in range(LATER + LEASE_US // 2, LATER + LEASE_US * 3 // 2, LEASE_US // 4):
        assert engine.reap(10, now_us=now_us) == Reaped()
    assert engine.reap(10, now_us=LATER + LEASE_US * 3 // 2) == Reaped(released=1)


# -- idle keys --------------------------------------------------------------------

IDLE_US = 5 * LEASE_US


@pytest.fixture
def idling(open_engine: Callable[..., Engine]) -> Engine:
    """An engine that forgets keys after a short time, with a key just idle."""
    engine = open_engine(idle_key_us=IDLE_US)
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    return engine


def known_keys(engine: Engine) -> set[str]:
    cursor, page = engine.keys(QUEUE, 0, 1_000)
    assert cursor == 0
    return {snapshot.key[0] for snapshot in page}


def test_an_idle_key_is_forgotten_after_its_time(idling: Engine) -> None:
    idling.reap(10, now_us=NOW + IDLE_US - 1)
    assert known_keys(idling) == {"a"}
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == set()


def test_a_forgotten_key_counts_as_new(idling: Engine) -> None:
    store(idling, entries("b", 1))
    settle(idling, lease_one(idling), OutcomeKind.COMPLETED)
    idling.set_share(QUEUE, ("b",), 1.5)
    idling.reap(10, now_us=NOW + IDLE_US)
    store(idling, [entry("b-9", "b"), entry("n-0", "n"), entry("a-9", "a")])
    assert keys(lease(idling, 3, now_us=NOW + IDLE_US)) == ["n", "a", "b"]


def test_a_key_with_a_share_is_not_forgotten(idling: Engine) -> None:
    idling.set_share(QUEUE, ("a",), 2.0)
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == {"a"}
    idling.set_share(QUEUE, ("a",), 1.0)
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == {"a"}
    idling.set_share(QUEUE, ("a",), None)
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == set()


def test_a_paused_key_is_not_forgotten(idling: Engine) -> None:
    idling.pause(QUEUE, ("a",))
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == {"a"}
    idling.resume(QUEUE, ("a",))
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == set()


def test_a_key_with_work_is_not_forgotten(idling: Engine) -> None:
    store(idling, [entry("a-1", "a")])
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == {"a"}
    idling.cancel(QUEUE, "a-1", now_us=NOW)
    store(idling, [entry("a-2", "a", due_in_us=IDLE_US * 3)])
    idling.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(idling) == {"a"}


def test_what_a_key_has_in_service_keeps_it_known(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(idle_key_us=IDLE_US)
    store(engine, entries("a", 1), entries("b", 2))
    first, *_ = lease(engine, 3).leases
    engine.heartbeat("w1", now_us=NOW + IDLE_US)
    engine.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(engine) == {"a", "b"}
    settle(engine, first, OutcomeKind.COMPLETED, now_us=NOW + IDLE_US)
    engine.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(engine) == {"b"}


def test_a_key_ahead_of_virtual_time_is_not_forgotten(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(idle_key_us=IDLE_US)
    store(engine, entries("a", 1), entries("b", 3))
    first, _ = lease(engine, 2).leases
    settle(engine, first, OutcomeKind.COMPLETED)
    engine.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(engine) == {"a", "b"}
    lease(engine, 1, now_us=NOW + IDLE_US)
    engine.reap(10, now_us=NOW + IDLE_US)
    assert known_keys(engine) == {"b"}


def test_a_key_never_leased_from_is_forgotten_as_soon_as_it_has_nothing(engine: Engine) -> None:
    store(engine, entries("a", 1))
    engine.cancel(QUEUE, "a-0", now_us=NOW)
    assert known_keys(engine) == {"a"}
    engine.reap(10, now_us=NOW)
    assert known_keys(engine) == set()


def test_reaping_looks_at_no_more_than_limit_keys_and_gets_to_all(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", f"k{i}") for i in range(10)])
    for i in range(10):
        engine.cancel(QUEUE, f"e{i}", now_us=NOW)
    store(engine, entries("busy", 1))
    left = []
    while len(known_keys(engine)) > 1 and len(left) < 100:
        engine.reap(3, now_us=NOW)
        left.append(len(known_keys(engine)))
    assert known_keys(engine) == {"busy"}

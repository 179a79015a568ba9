"""What every engine promises of waiting: who is woken, and by what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import OutcomeKind
from tests.conformance.histories import (
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    lease,
    lease_one,
    reap_after_lease_time,
    settle,
    store,
)


def takes_token(engine: Engine, queue: str = QUEUE) -> bool:
    """Return whether there is a token, and take it."""
    return engine.wait([queue], 0.01)


@pytest.fixture
def waiting(engine: Engine) -> Iterator[Callable[[], Future[bool]]]:
    """Starts a waiter on the default queue in a thread of its own."""
    with ThreadPoolExecutor() as pool:

        def start() -> Future[bool]:
            is_running = threading.Event()

            def wait() -> bool:
                is_running.set()
                return engine.wait([QUEUE], 20)

            waiter = pool.submit(wait)
            assert is_running.wait(20)
            return waiter

        yield start


def test_waiting_for_nothing_ends_in_time(engine: Engine) -> None:
    assert not engine.wait([QUEUE], 0.01)
    assert not engine.wait([QUEUE], 0)


def test_a_waiter_wakes_when_something_is_stored(
    engine: Engine, waiting: Callable[[], Future[bool]]
) -> None:
    waiter = waiting()
    store(engine, entries("a", 1))
    assert waiter.result(20)


def test_a_waiter_wakes_when_an_entry_is_released(
    engine: Engine, waiting: Callable[[], Future[bool]]
) -> None:
    store(engine, entries("a", 1))
    leased = lease_one(engine)
    assert takes_token(engine)
    waiter = waiting()
    settle(engine, leased, OutcomeKind.RELEASED)
    assert waiter.result(20)


def test_a_waiter_on_several_queues_wakes_for_any(engine: Engine) -> None:
    store(engine, entries("a", 1, "two"))
    assert engine.wait(["one", "two", "three"], 20)
    assert not engine.wait(["one", "two", "three"], 0.01)


def test_a_token_is_there_for_who_comes_later(engine: Engine) -> None:
    store(engine, entries("a", 1))
    assert takes_token(engine)


def test_a_queue_has_at_most_one_token(engine: Engine) -> None:
    store(engine, entries("a", 1), entries("b", 1), entries("c", 1))
    assert takes_token(engine)
    assert not takes_token(engine)


def test_each_queue_has_a_token_of_its_own(engine: Engine) -> None:
    store(engine, [entry("e1", queue="one"), entry("e2", queue="two")])
    assert engine.wait(["one", "two"], 0.01)
    assert engine.wait(["one", "two"], 0.01)
    assert not engine.wait(["one", "two"], 0.01)


def test_two_waiters_are_both_woken_while_there_is_work_for_both(
    engine: Engine, waiting: Callable[[], Future[bool]]
) -> None:
    first, second = waiting(), waiting()
    store(engine, entries("a", 2))
    futures.wait([first, second], 20, futures.FIRST_COMPLETED)
    lease(engine, 1)
    assert first.result(20)
    assert second.result(20)


def test_a_lease_that_leaves_something_leasable_passes_the_token_on(engine: Engine) -> None:
    store(engine, entries("a", 2))
    assert takes_token(engine)
    lease(engine, 1)
    assert takes_token(engine)
    lease(engine, 1)
    assert not takes_token(engine)


def test_a_lease_that_leaves_nothing_takes_no_token_away(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    assert takes_token(engine)


def test_entries_of_a_paused_key_wake_nobody_until_it_is_resumed(engine: Engine) -> None:
    engine.pause(QUEUE, ("a",))
    store(engine, entries("a", 1))
    assert not takes_token(engine)
    engine.resume(QUEUE, ("a",))
    assert takes_token(engine)


def test_a_delayed_entry_wakes_when_it_is_the_earliest(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=60 * SECOND)])
    assert takes_token(engine)
    store(engine, [entry("e2", due_in_us=90 * SECOND)])
    assert not takes_token(engine)
    store(engine, [entry("e3", due_in_us=30 * SECOND)])
    assert takes_token(engine)


def test_a_requeued_entry_wakes_when_it_is_the_earliest_due(engine: Engine) -> None:
    store(engine, entries("a", 1))
    leased = lease_one(engine)
    assert takes_token(engine)
    settle(engine, leased, OutcomeKind.REQUEUED)
    assert takes_token(engine)


def test_an_entry_released_for_later_wakes_when_it_is_the_earliest_due(engine: Engine) -> None:
    store(engine, entries("a", 1))
    leased = lease_one(engine)
    assert takes_token(engine)
    settle(engine, leased, OutcomeKind.RELEASED, due_in_us=SECOND)
    assert takes_token(engine)


def test_completing_wakes_nobody_when_nothing_is_left(engine: Engine) -> None:
    store(engine, entries("a", 1))
    leased = lease_one(engine)
    assert takes_token(engine)
    settle(engine, leased, OutcomeKind.COMPLETED)
    assert not takes_token(engine)


def test_a_reaped_entry_wakes_a_waiter(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lease(engine, 1)
    assert takes_token(engine)
    assert reap_after_lease_time(engine).released == 1
    assert takes_token(engine)


def test_a_retried_dead_letter_wakes_a_waiter(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.DEAD)
    assert takes_token(engine)
    engine.retry_dead(QUEUE, "a-0", now_us=NOW)
    assert takes_token(engine)


def test_wake_leaves_a_token_where_something_is_leasable_or_delayed(engine: Engine) -> None:
    store(
        engine,
        entries("a", 1, "leasable"),
        entries("a", 1, "delayed", due_in_us=SECOND),
        entries("a", 1, "empty"),
        entries("a", 1, "paused"),
    )
    engine.pause("paused", ("a",))
    lease(engine, 1, queues=["empty"])
    names = ["leasable", "delayed", "empty", "paused", "unknown"]
    for name in names:
        engine.wait([name], 0.01)
    engine.wake(names)
    assert [name for name in names if takes_token(engine, name)] == ["leasable", "delayed"]


def test_no_wake_up_is_lost_between_many_publishers_and_workers(engine: Engine) -> None:
    total = 60
    taken: list[str] = []
    is_all_taken = threading.Event()

    def work(worker: str) -> None:
        while not is_all_taken.is_set():
            leased = engine.lease(worker, [QUEUE], 1)
            taken.extend(one.entry_id for one in leased.leases)
            if len(taken) == total:
                is_all_taken.set()
                engine.enqueue([entry("end", due_in_us=3_600 * SECOND)])
            if not leased.leases:
                engine.wait([QUEUE], 20)
        engine.wake([QUEUE])

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(work, f"w{i}") for i in range(3)]
        for i in range(total):
            pool.submit(engine.enqueue, [entry(f"e{i}", f"k{i % 7}")]).result(20)
        for one in running:
            one.result(20)
    assert sorted(taken) == sorted(f"e{i}" for i in range(total))

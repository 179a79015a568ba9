"""What every engine promises of limits: how much runs, how often it starts, how much waits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from celery_ranch.errors import InvalidLimitError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.limits import NO_LIMITS, UNLIMITED, Limits, Rate, limits_of
from celery_ranch.scheduling.model import Enqueued, Entry, KeyPath, Lease, OutcomeKind, Publish
from celery_ranch.scheduling.policies import Depth
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
    settle,
    store,
)

ACME = ("acme",)
ALICE, BOB = ("acme", "alice"), ("acme", "bob")
RATE = Rate(10 * SECOND)


def limit(engine: Engine, target: Any, now_us: int = NOW, **given: Any) -> None:
    engine.set_limits(QUEUE, target, limits_of(**given), now_us=now_us)


def of(key: KeyPath, count: int, **facts: Any) -> list[Entry]:
    name = "/".join(key)
    return [Entry(f"{name}-{i}", key, QUEUE, b"", **facts) for i in range(count)]


# -- concurrency -------------------------------------------------------------------------


def test_no_more_entries_of_a_key_are_leased_than_may_run(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=2)
    store(engine, entries("a", 5), entries("b", 5))
    assert keys(lease(engine, 9)) == ["a", "b", "a", "b", "b", "b", "b"]


@pytest.mark.parametrize(
    "kinds",
    [
        [OutcomeKind.COMPLETED],
        [OutcomeKind.FINISHED],
        [OutcomeKind.RELEASED],
        [OutcomeKind.STARTED, OutcomeKind.REQUEUED],
        [OutcomeKind.DEAD],
        [OutcomeKind.ACKNOWLEDGED, OutcomeKind.FINISHED],
    ],
    ids=lambda kinds: kinds[-1].value,
)
def test_another_may_run_when_one_has_ended(engine: Engine, kinds: list[OutcomeKind]) -> None:
    limit(engine, ("a",), concurrency=1)
    store(engine, entries("a", 2))
    (first,) = lease(engine, 9).leases
    settle(engine, first, *kinds)
    assert len(lease(engine, 9).leases) == 1


@pytest.mark.parametrize("kind", [OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED])
def test_an_entry_that_runs_on_holds_its_slot(engine: Engine, kind: OutcomeKind) -> None:
    limit(engine, ("a",), concurrency=1)
    store(engine, entries("a", 2))
    (first,) = lease(engine, 9).leases
    settle(engine, first, kind)
    assert lease(engine, 9).leases == ()


def test_the_slots_of_a_dead_worker_come_back_when_it_is_reaped(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=2)
    store(engine, entries("a", 4))
    running, _ = lease(engine, 9).leases
    settle(engine, running, OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED)
    for now_us in range(NOW - LEASE_US, NOW + LEASE_US, LEASE_US // 3):
        engine.reap(10, now_us=now_us)
    assert lease(engine, 9, "w2", now_us=NOW + LEASE_US).leases == ()
    engine.reap(10, now_us=NOW + LEASE_US)
    assert ids(lease(engine, 9, "w2", now_us=NOW + LEASE_US)) == ["a-1", "a-2"]


def test_a_tenants_limit_is_one_for_all_its_users_and_levels(engine: Engine) -> None:
    limit(engine, ACME, concurrency=3)
    limit(engine, ALICE, concurrency=2)
    store(engine, of(ALICE, 5, level=0), of(BOB, 5, level=5), of(ACME, 5, level=9))
    assert [one.key for one in lease(engine, 9).leases] == [ALICE, ALICE, BOB]


def test_an_expired_entry_takes_a_slot_until_it_is_announced(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=1)
    store(engine, [entry("late", "a", expires_at_us=NOW)], entries("a", 2))
    (late,) = lease(engine, 9).leases
    assert late.is_expired
    settle(engine, late, OutcomeKind.COMPLETED)
    assert ids(lease(engine, 9)) == ["a-0"]


def test_stepping_aside_earns_no_credit(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=1)
    store(engine, entries("a", 20), entries("b", 40))
    first = lease(engine, 20).leases[0]
    assert first.key == ("a",)
    limit(engine, ("a",))
    assert Counter(keys(lease(engine, 10))) == {"a": 5, "b": 5}


def test_the_limit_of_one_queue_is_not_that_of_another(engine: Engine) -> None:
    engine.set_limits("one", ("a",), Limits(1), now_us=NOW)
    store(engine, entries("a", 3, "one"), entries("a", 3, "two"))
    leased = lease(engine, 9, queues=["one", "two"]).leases
    assert Counter(one.queue for one in leased) == {"one": 1, "two": 3}


@pytest.mark.parametrize("seed", range(4))
def test_a_concurrency_limit_is_never_exceeded(engine: Engine, seed: int) -> None:
    source = random.Random(seed)
    limits = {ACME: 4, ALICE: 2, ("acme", "bob", "x"): 1, ("bolt",): 3}
    for path, concurrency in limits.items():
        limit(engine, path, concurrency=concurrency)
    held: list[Lease] = []
    paths = [ACME, ALICE, BOB, ("acme", "bob", "x"), ("bolt",), ("bolt", "y")]
    highest: Counter[KeyPath] = Counter()
    for step in range(300):
        path = source.choice(paths)
        store(engine, [Entry(f"e{step}", path, QUEUE, b"", level=source.choice([0, 5]))])
        held += lease(engine, source.randint(1, 3)).leases
        for node in limits:
            running = sum(one.key[: len(node)] == node for one in held)
            highest[node] = max(highest[node], running)
        source.shuffle(held)
        for one in held[source.randint(2, 9) :]:
            kind = source.choice([OutcomeKind.COMPLETED, OutcomeKind.RELEASED])
            settle(engine, one, kind)
            held.remove(one)
    assert highest == limits
    assert [*engine.check(QUEUE)] == []


# -- rate --------------------------------------------------------------------------------


def starts(engine: Engine, until_us: int, step_us: int) -> list[int]:
    """Lease all there is again and again; return when each entry started."""
    found: list[int] = []
    for now_us in range(NOW, NOW + until_us + 1, step_us):
        found += [now_us - NOW for _ in lease(engine, 100, now_us=now_us).leases]
    return found


def test_a_rate_lets_exactly_so_many_start(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, entries("a", 100))
    found = starts(engine, 60 * SECOND, SECOND)
    assert found == [10 * SECOND * number for number in range(7)]


def test_a_burst_lets_so_many_start_at_once_and_again_after_a_pause(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m", burst=3)
    store(engine, entries("a", 100))
    assert len(lease(engine, 9).leases) == 3
    assert len(lease(engine, 9, now_us=NOW + 10 * SECOND).leases) == 1
    assert len(lease(engine, 9, now_us=NOW + 29 * SECOND).leases) == 1
    assert len(lease(engine, 9, now_us=NOW + 600 * SECOND).leases) == 3


def test_a_reply_says_when_the_rate_lets_the_next_start(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, entries("a", 3))
    assert lease(engine, 9).next_due_in_us == 10 * SECOND
    assert lease(engine, 9, now_us=NOW + SECOND).next_due_in_us == 9 * SECOND
    assert engine.snapshot(QUEUE, now_us=NOW + SECOND).next_due_in_us == 9 * SECOND


def test_a_rate_holds_nobody_else_back(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, entries("a", 3), entries("b", 3))
    assert keys(lease(engine, 9)) == ["a", "b", "b", "b"]


def test_a_tenants_rate_is_one_for_all_its_users(engine: Engine) -> None:
    limit(engine, ACME, rate="6/m", burst=3)
    store(engine, of(ALICE, 5), of(BOB, 5, level=0), of(ACME, 5))
    assert len(lease(engine, 9).leases) == 3


def test_the_stricter_of_a_users_and_the_tenants_rate_holds(engine: Engine) -> None:
    limit(engine, ACME, rate="1/s")
    limit(engine, ALICE, rate="6/m")
    store(engine, of(ALICE, 50), of(BOB, 5))
    found = [(one.key, at) for at in range(12) for one in
             lease(engine, 9, now_us=NOW + at * SECOND).leases]  # fmt: skip
    assert [at for key, at in found if key == ALICE] == [0, 10]
    assert [at for key, at in found if key == BOB] == [1, 2, 3, 4, 5]


def test_an_expired_entry_is_no_start(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, [entry("late", "a", expires_at_us=NOW)], entries("a", 2))
    assert ids(lease(engine, 9)) == ["late", "a-0"]


def test_what_was_given_back_has_started(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, entries("a", 1))
    (first,) = lease(engine, 9).leases
    settle(engine, first, OutcomeKind.RELEASED)
    assert lease(engine, 9, now_us=NOW + 10 * SECOND - 1).leases == ()
    assert ids(lease(engine, 9, now_us=NOW + 10 * SECOND)) == ["a-0"]


def test_a_key_held_back_by_its_rate_stays_so_when_it_is_resumed(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, entries("a", 3))
    lease(engine, 1)
    engine.pause(QUEUE, ("a",))
    engine.resume(QUEUE, ("a",))
    assert lease(engine, 9).leases == ()
    engine.pause(QUEUE, ("a",))
    assert lease(engine, 9, now_us=NOW + 10 * SECOND).leases == ()
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 9, now_us=NOW + 10 * SECOND)) == ["a-1"]


def test_what_a_node_started_is_not_forgotten_with_the_node(
    open_engine: Callable[..., Engine],
) -> None:
    """Else who stays away for the shortest time has a full burst again."""
    engine = open_engine(idle_key_us=SECOND)
    limit(engine, Depth(1), rate="1/d", burst=2)
    store(engine, entries("a", 1))
    (first,) = lease(engine, 1).leases
    settle(engine, first, OutcomeKind.COMPLETED)
    later = NOW + 3_600 * SECOND
    engine.reap(10, now_us=later)
    store(engine, [entry(f"later-{i}", "a") for i in range(3)], now_us=later)
    assert ids(lease(engine, 9, now_us=later)) == ["later-0"]


def test_many_nodes_whose_time_has_come_are_let_in_256_at_a_time(engine: Engine) -> None:
    limit(engine, Depth(1), rate="6/m")
    store(engine, [entry(f"e{i}-{j}", f"k{i}") for i in range(300) for j in range(2)])
    assert len(lease(engine, 1_000).leases) == 300
    later = NOW + 10 * SECOND
    first = lease(engine, 1_000, now_us=later)
    assert (len(first.leases), first.has_more) == (256, True)
    second = lease(engine, 1_000, now_us=later)
    assert (len(second.leases), second.has_more) == (44, False)


# -- backlog -----------------------------------------------------------------------------


def test_a_batch_that_a_backlog_has_no_room_for_is_refused_whole(engine: Engine) -> None:
    limit(engine, ("a",), backlog=3)
    store(engine, entries("a", 2))
    batch = [entry("b-0", "b"), entry("x", "a"), entry("y", "a")]
    assert engine.enqueue(batch, now_us=NOW) == Enqueued(stored=0, full=("a",), limit=3)
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == 2
    assert engine.pending(QUEUE, ("b",)) == ()
    store(engine, [entry("b-0", "b"), entry("x", "a")])


def test_a_backlog_has_room_again_when_one_is_leased_or_cancelled(engine: Engine) -> None:
    limit(engine, ("a",), backlog=2)
    store(engine, entries("a", 2))
    assert engine.enqueue([entry("x", "a")], now_us=NOW).full == ("a",)
    lease(engine, 1)
    store(engine, [entry("x", "a")])
    engine.cancel(QUEUE, "x", now_us=NOW)
    store(engine, [entry("y", "a")])
    assert engine.enqueue([entry("z", "a")], now_us=NOW).stored == 0


def test_delayed_entries_fill_a_backlog_as_well(engine: Engine) -> None:
    limit(engine, ("a",), backlog=1)
    store(engine, [entry("later", "a", due_in_us=SECOND)])
    assert engine.enqueue([entry("x", "a")], now_us=NOW).full == ("a",)


def test_a_tenants_backlog_is_that_of_all_below_it(engine: Engine) -> None:
    limit(engine, ACME, backlog=3)
    store(engine, of(ALICE, 2), of(ACME, 1))
    assert engine.enqueue(of(BOB, 1), now_us=NOW) == Enqueued(stored=0, full=ACME, limit=3)


def test_exempt_entries_are_stored_whatever_waits_and_are_counted(engine: Engine) -> None:
    limit(engine, ("a",), backlog=2)
    store(engine, entries("a", 2))
    store(engine, [entry(f"x{i}", "a", is_exempt=True) for i in range(3)])
    lease(engine, 3)
    assert engine.enqueue([entry("y", "a")], now_us=NOW).stored == 0
    lease(engine, 1)
    store(engine, [entry("y", "a")])


def test_what_is_given_back_or_retried_is_never_refused(engine: Engine) -> None:
    limit(engine, ("a",), backlog=2)
    store(engine, entries("a", 2))
    released, dead = lease(engine, 2).leases
    store(engine, [entry(f"x{i}", "a") for i in range(2)])
    settle(engine, released, OutcomeKind.RELEASED)
    settle(engine, dead, OutcomeKind.DEAD, reason="no")
    assert engine.retry_dead(QUEUE, "a-1", now_us=NOW)
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == 4


def test_a_refused_publish_uses_its_number_up_for_nothing(engine: Engine) -> None:
    limit(engine, ("a",), backlog=1)
    publish = Publish("p", 1)
    assert engine.enqueue(entries("a", 2), publish=publish, now_us=NOW).full == ("a",)
    assert engine.enqueue(entries("a", 1), publish=publish, now_us=NOW).stored == 1
    assert engine.enqueue(entries("a", 1), publish=publish, now_us=NOW).is_repeated


# -- at once -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", [("acme",), ("acme", "alice")])
def test_a_limit_set_on_a_backlog_that_waits_holds_at_once(engine: Engine, path: KeyPath) -> None:
    store(engine, of(ALICE, 9))
    lease(engine, 2)
    limit(engine, path, concurrency=3)
    assert len(lease(engine, 9).leases) == 1
    limit(engine, path, concurrency=2)
    assert lease(engine, 9).leases == ()
    limit(engine, path, concurrency=5)
    assert len(lease(engine, 9).leases) == 2
    limit(engine, path, rate="6/m")
    assert len(lease(engine, 9).leases) == 1
    limit(engine, path)
    assert len(lease(engine, 9).leases) == 3


def test_a_slower_rate_counts_from_what_started(engine: Engine) -> None:
    limit(engine, ("a",), rate="1/s")
    store(engine, entries("a", 9))
    lease(engine, 1)
    limit(engine, ("a",), rate="6/m", now_us=NOW + SECOND)
    assert len(lease(engine, 9, now_us=NOW + SECOND).leases) == 1
    assert lease(engine, 9, now_us=NOW + 10 * SECOND).leases == ()
    assert len(lease(engine, 9, now_us=NOW + 11 * SECOND).leases) == 1


def test_a_faster_rate_does_not_wait_for_what_the_slower_one_asked(engine: Engine) -> None:
    limit(engine, ("a",), rate="1/d")
    store(engine, entries("a", 9))
    lease(engine, 1)
    later = NOW + SECOND
    limit(engine, ("a",), rate="6/m", burst=2, now_us=later)
    assert lease(engine, 9, now_us=later).next_due_in_us == 10 * SECOND
    assert len(lease(engine, 9, now_us=later + 10 * SECOND).leases) == 1
    assert len(lease(engine, 9, now_us=later + 40 * SECOND).leases) == 2


def test_a_rate_taken_back_forgets_what_had_started(engine: Engine) -> None:
    limit(engine, ("a",), rate="6/m")
    store(engine, entries("a", 9))
    lease(engine, 1)
    limit(engine, ("a",), concurrency=5)
    limit(engine, ("a",), rate="6/m")
    assert len(lease(engine, 9).leases) == 1


def test_a_limit_by_default_holds_for_what_is_stored_next(engine: Engine) -> None:
    limit(engine, Depth(2), concurrency=1)
    store(engine, of(ALICE, 3), of(BOB, 3), of(ACME, 3))
    assert Counter(one.key for one in lease(engine, 9).leases) == {ALICE: 1, BOB: 1, ACME: 3}


def test_a_limit_by_default_holds_for_what_waits_from_its_next_lease_on(engine: Engine) -> None:
    store(engine, entries("a", 5), entries("b", 5))
    limit(engine, Depth(1), rate="6/m")
    assert Counter(keys(lease(engine, 9))) == {"a": 1, "b": 1}


def test_a_keys_own_limit_holds_over_the_default(engine: Engine) -> None:
    limit(engine, Depth(1), concurrency=1, backlog=3)
    engine.set_limits(QUEUE, ("a",), Limits(concurrency=2, backlog=UNLIMITED), now_us=NOW)
    store(engine, entries("a", 5), entries("b", 3))
    assert Counter(keys(lease(engine, 9))) == {"a": 2, "b": 1}
    assert engine.enqueue(entries("c", 4), now_us=NOW).full == ("c",)


def test_limits_taken_back_hold_nobody_back(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=1, rate="6/m", backlog=5)
    store(engine, entries("a", 5))
    lease(engine, 1)
    engine.set_limits(QUEUE, ("a",), NO_LIMITS, now_us=NOW)
    assert len(lease(engine, 9).leases) == 4
    store(engine, [entry(f"x{i}", "a") for i in range(9)])


# -- waking ------------------------------------------------------------------------------


def test_a_worker_is_woken_when_another_may_run(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=1)
    store(engine, entries("a", 2))
    (first,) = lease(engine, 9).leases
    while engine.wait([QUEUE], 0):
        pass
    settle(engine, first, OutcomeKind.STARTED)
    assert not engine.wait([QUEUE], 0)
    settle(engine, first, OutcomeKind.COMPLETED)
    assert engine.wait([QUEUE], 0)


def test_a_worker_is_woken_when_a_limit_is_raised(engine: Engine) -> None:
    limit(engine, ("a",), concurrency=1)
    store(engine, entries("a", 3))
    lease(engine, 9)
    while engine.wait([QUEUE], 0):
        pass
    limit(engine, ("a",), concurrency=2)
    assert engine.wait([QUEUE], 0)


# -- bad values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [{"concurrency": 0}, {"rate": "5/y"}, {"backlog": -1}, {"burst": 2}]
)
def test_a_limit_that_is_none_changes_nothing(engine: Engine, bad: dict[str, Any]) -> None:
    limit(engine, ("a",), concurrency=1, rate="6/m", backlog=2)
    with pytest.raises(InvalidLimitError):
        limit(engine, ("a",), **bad)
    store(engine, entries("a", 2))
    assert engine.enqueue([entry("x", "a")], now_us=NOW).limit == 2
    assert len(lease(engine, 9).leases) == 1

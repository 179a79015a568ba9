"""What every engine promises of looking at it."""

from __future__ import annotations

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import KeyPath, KeySnapshot, OutcomeKind, QueueSnapshot
from tests.conformance.histories import (
    LEASE_US,
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    lease,
    lease_one,
    settle,
    store,
)


def all_keys(engine: Engine, count: int) -> list[KeyPath]:
    """Page through the keys of the default queue."""
    found: list[KeyPath] = []
    cursor = 0
    for _ in range(10_000):
        cursor, page = engine.keys(QUEUE, cursor, count)
        found += [snapshot.key for snapshot in page]
        if cursor == 0:
            return found
    raise AssertionError("the cursor never came to its end")


def test_a_queue_that_never_held_an_entry_is_empty_everywhere(engine: Engine) -> None:
    assert engine.queues() == frozenset()
    assert engine.snapshot(QUEUE, now_us=NOW) == QueueSnapshot(QUEUE, 0, 0, 0, 0, 0, None)
    assert engine.keys(QUEUE) == (0, ())
    assert engine.pending(QUEUE, ("a",)) == ()
    assert engine.held("w1") == frozenset()


def test_a_snapshot_counts_each_entry_in_its_place(engine: Engine) -> None:
    store(engine, entries("a", 7), entries("d", 2, due_in_us=5 * SECOND))
    one, two, three, *_ = lease(engine, 4).leases
    settle(engine, one, OutcomeKind.DEAD)
    settle(engine, two, OutcomeKind.COMPLETED)
    settle(engine, three, OutcomeKind.ACKNOWLEDGED)
    assert engine.snapshot(QUEUE, now_us=NOW + SECOND) == QueueSnapshot(
        QUEUE, waiting=3, delayed=2, leased=2, dead=1, workers=1, next_due_in_us=4 * SECOND
    )


def test_a_snapshots_next_due_time_is_never_negative(engine: Engine) -> None:
    store(engine, [entry("e1", due_in_us=SECOND)])
    counts = engine.snapshot(QUEUE, now_us=NOW + 9 * SECOND)
    assert (counts.waiting, counts.delayed, counts.next_due_in_us) == (0, 1, 0)


def test_a_snapshot_counts_only_workers_whose_leases_are_valid(engine: Engine) -> None:
    store(engine, entries("a", 2))
    lease(engine, 1, "w1")
    lease(engine, 1, "w2", now_us=NOW + 5)
    valid = [engine.snapshot(QUEUE, now_us=NOW + LEASE_US + step).workers for step in (-1, 0, 5)]
    assert valid == [2, 1, 0]


def test_a_queue_stays_in_the_list_when_it_is_empty(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    assert engine.queues() == {QUEUE}


def test_a_key_is_shown_as_it_stands(engine: Engine) -> None:
    store(engine, entries("a", 3), [entry("later", "a", due_in_us=SECOND)])
    lease(engine, 1)
    engine.set_share(QUEUE, ("a",), 2.5)
    engine.pause(QUEUE, ("a",))
    expected = KeySnapshot(("a",), 2, 1, 2.5, True, last_leased_at_us=NOW, in_service=1)
    assert engine.keys(QUEUE) == (0, (expected,))


def test_a_key_never_leased_from_shows_no_time(engine: Engine) -> None:
    store(engine, entries("a", 1), [entry("x", "a", expires_at_us=NOW)])
    assert engine.keys(QUEUE)[1][0].last_leased_at_us is None


def test_a_key_with_delayed_entries_only_is_shown(engine: Engine) -> None:
    store(engine, [entry("e1", "a", due_in_us=SECOND)])
    assert engine.keys(QUEUE) == (0, (KeySnapshot(("a",), 0, 1, 1.0, False, None),))


def test_an_expired_hand_over_is_no_time_of_a_lease(engine: Engine) -> None:
    store(engine, [entry("x", "a", expires_at_us=NOW)])
    lease(engine, 1)
    assert engine.keys(QUEUE)[1][0].last_leased_at_us is None


def test_an_idle_key_is_shown_while_it_is_remembered(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    assert engine.keys(QUEUE) == (0, (KeySnapshot(("a",), 0, 0, 1.0, False, NOW),))


def test_paging_shows_every_key(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", f"k{i}") for i in range(1_000)])
    for count in (7, 100, 1_000, 5_000):
        assert set(all_keys(engine, count)) == {(f"k{i}",) for i in range(1_000)}


def test_paging_shows_every_key_that_stays_while_others_go(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", f"k{i}") for i in range(600)])
    seen: set[KeyPath] = set()
    cursor, page = engine.keys(QUEUE, 0, 50)
    while cursor:
        seen |= {snapshot.key for snapshot in page}
        for i in range(0, 600, 2):
            engine.cancel(QUEUE, f"e{i}", now_us=NOW)
        engine.reap(1_000, now_us=NOW)
        cursor, page = engine.keys(QUEUE, cursor, 50)
    seen |= {snapshot.key for snapshot in page}
    assert seen >= {(f"k{i}",) for i in range(1, 600, 2)}


def test_pending_lists_due_entries_by_number_then_delayed_ones_by_time(engine: Engine) -> None:
    store(
        engine,
        [entry("d9", due_in_us=9), entry("w0"), entry("d5", due_in_us=5), entry("w1")],
        [entry("d5b", due_in_us=5), entry("w2"), entry("other", "bolt")],
    )
    settle(engine, lease_one(engine), OutcomeKind.RELEASED)
    expected = tuple((name, name.encode()) for name in ("w0", "w1", "w2", "d5", "d5b", "d9"))
    assert engine.pending(QUEUE, ("acme",)) == expected
    for offset in range(7):
        assert engine.pending(QUEUE, ("acme",), offset, 2) == expected[offset : offset + 2]


def test_pending_of_a_key_never_heard_of_is_empty(engine: Engine) -> None:
    store(engine, entries("a", 1))
    assert engine.pending(QUEUE, ("b",)) == ()


def test_held_lists_what_is_leased_in_every_queue(engine: Engine) -> None:
    store(engine, entries("a", 1, "one"), entries("b", 1, "two"))
    one, two = lease(engine, 2, queues=["one", "two"]).leases
    settle(engine, two, OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED)
    assert engine.held("w1") == {("one", "a-0", one.number), ("two", "b-0", two.number)}
    assert engine.held("w2") == frozenset()


def test_a_store_in_order_worries_nobody(engine: Engine) -> None:
    assert engine.warnings() == ()

"""What every engine promises of dead letters."""

from __future__ import annotations

from collections.abc import Callable

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Entry, KeyPath, OutcomeKind
from celery_ranch.scheduling.withdrawals import DeadCursor
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


def bury(engine: Engine, count: int) -> None:
    """Let a-0, a-1 and so on die, a microsecond apart."""
    store(engine, entries("a", count))
    for died, leased in enumerate(lease(engine, count).leases):
        settle(engine, leased, OutcomeKind.DEAD, now_us=NOW + died, reason=f"reason {died}")


def dead_ids(engine: Engine, offset: int = 0, limit: int = 100) -> list[str]:
    return [letter.entry_id for letter in engine.dead_letters(QUEUE, offset, limit)]


def test_dead_letters_are_listed_the_latest_first(engine: Engine) -> None:
    bury(engine, 4)
    assert dead_ids(engine) == ["a-3", "a-2", "a-1", "a-0"]
    assert dead_ids(engine, 1, 2) == ["a-2", "a-1"]
    assert dead_ids(engine, 4) == []


def test_letters_that_died_at_one_instant_are_listed_by_the_order_in_which_they_died(
    engine: Engine,
) -> None:
    store(engine, [entry("b"), entry("c"), entry("a")])
    for leased in lease(engine, 3).leases:
        settle(engine, leased, OutcomeKind.DEAD)
    assert dead_ids(engine) == ["a", "c", "b"]


def test_a_queue_without_dead_letters_lists_none(engine: Engine) -> None:
    assert engine.dead_letters(QUEUE) == ()


def test_a_dead_letter_is_not_leased(engine: Engine) -> None:
    bury(engine, 1)
    assert lease(engine, 5).leases == ()


def test_only_the_latest_dead_letters_are_kept(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(dead_letter_limit=2)
    bury(engine, 4)
    assert dead_ids(engine) == ["a-3", "a-2"]
    assert engine.snapshot(QUEUE, now_us=NOW).dead == 2
    store(engine, [entry("a-0")])


def test_a_limit_of_zero_keeps_no_dead_letters(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(dead_letter_limit=0)
    bury(engine, 1)
    assert dead_ids(engine) == []
    store(engine, [entry("a-0")])


def test_a_retried_letter_waits_at_the_end_as_if_just_stored(engine: Engine) -> None:
    store(engine, entries("a", 3))
    settle(engine, lease_one(engine), OutcomeKind.REQUEUED)
    later_us = NOW + SECOND
    again = lease_one(engine, now_us=later_us)
    assert (again.entry_id, again.deliveries) == ("a-0", 1)
    settle(engine, again, OutcomeKind.DEAD, now_us=later_us)
    assert engine.retry_dead(QUEUE, "a-0", now_us=later_us)
    leases = lease(engine, 5, now_us=later_us).leases
    assert [one.entry_id for one in leases] == ["a-1", "a-2", "a-0"]
    assert leases[-1].deliveries == 0
    assert leases[-1].message == b"a-0"
    assert dead_ids(engine) == []


def test_a_retried_letter_is_waiting_and_can_be_cancelled(engine: Engine) -> None:
    bury(engine, 1)
    engine.retry_dead(QUEUE, "a-0", now_us=NOW)
    assert engine.snapshot(QUEUE, now_us=NOW).waiting == 1
    assert engine.cancel(QUEUE, "a-0", now_us=NOW) == b"a-0"


def test_a_retried_letter_keeps_its_id_in_use(engine: Engine) -> None:
    bury(engine, 1)
    engine.retry_dead(QUEUE, "a-0", now_us=NOW)
    assert engine.enqueue([entry("a-0")], now_us=NOW).taken == ("a-0",)


def test_a_retried_letter_that_dies_again_is_the_latest(engine: Engine) -> None:
    bury(engine, 2)
    engine.retry_dead(QUEUE, "a-0", now_us=NOW)
    settle(engine, lease_one(engine), OutcomeKind.DEAD, now_us=NOW + 9, reason="again")
    first, second = engine.dead_letters(QUEUE)
    assert (first.entry_id, first.reason, second.entry_id) == ("a-0", "again", "a-1")


def test_a_retry_of_a_paused_key_waits_for_it_to_be_resumed(engine: Engine) -> None:
    bury(engine, 1)
    engine.pause(QUEUE, ("a",))
    engine.retry_dead(QUEUE, "a-0", now_us=NOW)
    assert keys(lease(engine, 1)) == []
    engine.resume(QUEUE, ("a",))
    assert ids(lease(engine, 1)) == ["a-0"]


def test_a_deleted_letter_is_gone_for_good(engine: Engine) -> None:
    bury(engine, 2)
    assert engine.delete_dead(QUEUE, "a-0")
    assert dead_ids(engine) == ["a-1"]
    assert not engine.retry_dead(QUEUE, "a-0", now_us=NOW)
    store(engine, [entry("a-0")])


def test_only_dead_letters_are_retried_and_deleted(engine: Engine) -> None:
    store(engine, entries("a", 2))
    lease(engine, 1)
    for queue, entry_id in ((QUEUE, "a-0"), (QUEUE, "a-1"), (QUEUE, "none"), ("none", "a-0")):
        assert not engine.retry_dead(queue, entry_id, now_us=NOW)
        assert not engine.delete_dead(queue, entry_id)
    assert ids(lease(engine, 5)) == ["a-1"]


# -- many at once ----------------------------------------------------------------------

PATHS = (("a",), ("a", "x"), ("aa",), ("b",))


def bury_of_each_path(engine: Engine) -> None:
    """Let an entry of each path die, a second one of each after all of those, named by place."""
    paths = [*PATHS, *PATHS]
    store(engine, [Entry(f"e{n}", path, QUEUE, b"") for n, path in enumerate(paths)])
    leased = {one.entry_id: one for one in lease(engine, 8).leases}
    for n in range(8):
        settle(engine, leased[f"e{n}"], OutcomeKind.DEAD)


def sweep_dead(engine: Engine, key: KeyPath | None, limit: int, *, is_retried: bool) -> list[int]:
    """Go through all dead letters; return how many of each slice were meant."""
    counts, cursor = [], DeadCursor()
    for _ in range(100):
        swept = engine.sweep_dead(
            QUEUE, key, limit, is_retried=is_retried, cursor=cursor, now_us=NOW
        )
        counts.append(swept.count)
        if swept.cursor is None:
            break
        cursor = swept.cursor
    return counts


def test_all_dead_letters_of_a_node_and_below_it_wait_again(engine: Engine) -> None:
    bury_of_each_path(engine)
    assert sweep_dead(engine, ("a",), 3, is_retried=True) == [2, 2, 0]
    assert dead_ids(engine) == ["e7", "e6", "e3", "e2"]
    assert sorted(ids(lease(engine, 9))) == ["e0", "e1", "e4", "e5"]
    assert [*engine.check(QUEUE)] == []


def test_all_dead_letters_of_a_node_and_below_it_are_dropped(engine: Engine) -> None:
    bury_of_each_path(engine)
    assert sweep_dead(engine, ("a",), 100, is_retried=False) == [4]
    assert dead_ids(engine) == ["e7", "e6", "e3", "e2"]
    assert sweep_dead(engine, None, 100, is_retried=False) == [4]
    assert dead_ids(engine) == []
    assert lease(engine, 9).leases == ()
    assert engine.enqueue(entries("e", 8), now_us=NOW).stored == 8
    assert [*engine.check(QUEUE)] == []


def test_who_waits_is_woken_when_dead_letters_wait_again(engine: Engine) -> None:
    bury_of_each_path(engine)
    engine.wait([QUEUE], 0)
    sweep_dead(engine, None, 100, is_retried=False)
    assert not engine.wait([QUEUE], 0)
    store(engine, entries("c", 1))
    settle(engine, lease_one(engine), OutcomeKind.DEAD)
    engine.wait([QUEUE], 0)
    sweep_dead(engine, None, 100, is_retried=True)
    assert engine.wait([QUEUE], 0)


def test_what_died_after_the_first_slice_is_not_looked_at(engine: Engine) -> None:
    bury_of_each_path(engine)
    first = engine.sweep_dead(QUEUE, None, 5, is_retried=True, now_us=NOW)
    for leased in lease(engine, 9).leases:
        settle(engine, leased, OutcomeKind.DEAD)
    assert first.cursor is not None
    rest = engine.sweep_dead(QUEUE, None, 100, is_retried=True, cursor=first.cursor, now_us=NOW)
    assert (first.count, rest.count, rest.cursor) == (5, 3, None)
    assert len(dead_ids(engine)) == 5


def test_where_nothing_died_nothing_is_swept(engine: Engine) -> None:
    assert sweep_dead(engine, None, 9, is_retried=True) == [0]
    assert sweep_dead(engine, ("a",), 9, is_retried=False) == [0]

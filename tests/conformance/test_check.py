"""What `check` says of a queue that nobody but the engine wrote to: nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import OutcomeKind
from tests.conformance.histories import (
    LEASE_US,
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

History = Callable[[Engine], object]
HISTORIES: dict[str, History] = {}


def history(write: History) -> History:
    HISTORIES[write.__name__] = write
    return write


def settled(*kinds: OutcomeKind, **facts: object) -> History:
    def write(engine: Engine) -> None:
        store(engine, entries("acme", 2))
        settle(engine, lease_one(engine), *kinds, **facts)  # type: ignore[arg-type]

    return write


for kind in OutcomeKind:
    HISTORIES[f"settled_as_{kind.value}"] = settled(kind)
    HISTORIES[f"started_and_then_{kind.value}"] = settled(OutcomeKind.STARTED, kind)
    HISTORIES[f"acknowledged_and_then_{kind.value}"] = settled(OutcomeKind.ACKNOWLEDGED, kind)
    HISTORIES[f"finished_and_then_{kind.value}"] = settled(OutcomeKind.FINISHED, kind)
HISTORIES["released_for_later"] = settled(OutcomeKind.RELEASED, due_in_us=SECOND)


@history
def nothing_ever_stored(engine: Engine) -> None:
    assert engine.queues() == frozenset()


@history
def many_waiting_keys_and_one_long_one(engine: Engine) -> None:
    store(engine, [entry(f"e{n}", f"key {n}") for n in range(30)], entries("long", 700))


@history
def many_delayed(engine: Engine) -> None:
    store(engine, entries("acme", 40, due_in_us=SECOND), entries("bolt", 40, due_in_us=2 * SECOND))


@history
def delayed_that_came_due(engine: Engine) -> None:
    many_delayed(engine)
    lease(engine, 3, now_us=NOW + SECOND)


@history
def expired_and_handed_over(engine: Engine) -> None:
    store(engine, entries("acme", 3, expires_in_us=SECOND))
    lease(engine, 1, now_us=NOW + SECOND)


@history
def drained_to_a_new_epoch(engine: Engine) -> None:
    store(engine, entries("acme", 2), entries("bolt", 1))
    for leased in lease(engine, 3).leases:
        settle(engine, leased, OutcomeKind.COMPLETED)
    store(engine, entries("later", 2))


@history
def stored_again_under_an_id_that_still_runs(engine: Engine) -> None:
    store(engine, [entry("e")])
    settle(engine, lease_one(engine), OutcomeKind.ACKNOWLEDGED)
    store(engine, [entry("e")])
    lease_one(engine, "w2")


@history
def reaped_in_every_state(engine: Engine) -> None:
    store(engine, entries("acme", 4))
    kinds = (OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED, OutcomeKind.FINISHED)
    for leased, report in zip(lease(engine, 4).leases, kinds, strict=False):
        settle(engine, leased, report)
    assert reap_after_lease_time(engine).requeued == 2


@history
def reaped_in_part(engine: Engine) -> None:
    store(engine, entries("acme", 4))
    lease(engine, 4)
    assert reap_after_lease_time(engine, limit=2).has_more


@history
def a_dead_letter_retried_and_one_deleted(engine: Engine) -> None:
    store(engine, entries("acme", 3))
    for leased in lease(engine, 3).leases:
        settle(engine, leased, OutcomeKind.DEAD, reason="why not")
    assert engine.retry_dead(QUEUE, "acme-0", now_us=NOW)
    assert engine.delete_dead(QUEUE, "acme-1")


@history
def paused_shared_and_resumed(engine: Engine) -> None:
    store(engine, entries("acme", 2), entries("bolt", 2), entries("cold", 2, due_in_us=SECOND))
    for key in ("acme", "bolt", "cold", "unheard of"):
        engine.pause(QUEUE, (key,))
        engine.set_share(QUEUE, (key,), 3.0)
    engine.resume(QUEUE, ("bolt",))
    lease(engine, 1, now_us=NOW + SECOND)


@history
def cancelled_wherever_it_waited(engine: Engine) -> None:
    store(engine, entries("acme", 2), entries("bolt", 1), entries("cold", 2, due_in_us=SECOND))
    for entry_id in ("acme-0", "bolt-0", "cold-0"):
        assert engine.cancel(QUEUE, entry_id)


@history
def forgotten_after_a_long_time(engine: Engine) -> None:
    store(engine, entries("acme", 1), entries("bolt", 1, due_in_us=SECOND))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    engine.reap(100, now_us=NOW + 1_000 * LEASE_US)


@pytest.mark.parametrize("name", HISTORIES)
def test_nothing_is_wrong_after(name: str, engine: Engine) -> None:
    HISTORIES[name](engine)
    assert [*engine.check(QUEUE, 7)] == []

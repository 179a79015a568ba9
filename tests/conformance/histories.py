"""The few lines that a test writes a history of an engine with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import (
    EngineSettings,
    Entry,
    Lease,
    Leased,
    Outcome,
    OutcomeKind,
    Reaped,
)

QUEUE = "celery"
SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
LEASE_US = EngineSettings().lease_us


def entry(entry_id: str, key: str = "acme", queue: str = QUEUE, **facts: Any) -> Entry:
    """Return an entry whose message names it."""
    return Entry(entry_id, (key,), queue, message=entry_id.encode(), **facts)


def entries(key: str, count: int, queue: str = QUEUE, **facts: Any) -> list[Entry]:
    """Return entries of one key, named key-0, key-1 and so on."""
    return [entry(f"{key}-{i}", key, queue, **facts) for i in range(count)]


def store(engine: Engine, *batches: Sequence[Entry], now_us: int = NOW) -> None:
    """Store batches whose ids are all new."""
    for batch in batches:
        assert engine.enqueue(batch, now_us=now_us).stored == len(batch)


def lease(
    engine: Engine,
    limit: int = 1,
    worker: str = "w1",
    queues: Sequence[str] = (QUEUE,),
    now_us: int = NOW,
) -> Leased:
    return engine.lease(worker, queues, limit, now_us=now_us)


def lease_one(engine: Engine, worker: str = "w1", now_us: int = NOW) -> Lease:
    """Lease the only entry there is, or the first."""
    (leased,) = lease(engine, 1, worker, now_us=now_us).leases
    return leased


def ids(leased: Leased) -> list[str]:
    return [one.entry_id for one in leased.leases]


def keys(leased: Leased) -> list[str]:
    return [one.key[0] for one in leased.leases]


def outcome(leased: Lease, kind: OutcomeKind, reason: str = "", due_in_us: int = 0) -> Outcome:
    return Outcome(kind, leased.queue, leased.entry_id, leased.number, reason, due_in_us)


def settle(
    engine: Engine,
    leased: Lease,
    *kinds: OutcomeKind,
    worker: str = "w1",
    now_us: int = NOW,
    **facts: Any,
) -> None:
    """Report outcomes of a lease that is held."""
    reports = [outcome(leased, kind, **facts) for kind in kinds]
    assert engine.settle(worker, reports, now_us=now_us) == ()


def reap_after_lease_time(engine: Engine, limit: int = 1_000, since_us: int = NOW) -> Reaped:
    """Reap regularly until a worker last heard of at `since_us` is dead."""
    until_us = since_us + LEASE_US
    for now_us in range(since_us - LEASE_US, until_us, LEASE_US // 3):
        assert engine.reap(limit, now_us=now_us) == Reaped()
    return engine.reap(limit, now_us=until_us)

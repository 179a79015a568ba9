"""Backlogs of many keys in one engine, of several kinds, that stay as large as they are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, repeat

from harness import PrivateRedis

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.limits import Limits, Rate
from celery_ranch.scheduling.model import (
    MAX_BATCH,
    EngineSettings,
    Entry,
    KeyPath,
    Lease,
    Outcome,
    OutcomeKind,
)
from celery_ranch.scheduling.policies import Depth

__all__ = ["FLAT", "KINDS", "QUEUE", "Backlog", "Kind", "Round"]

QUEUE = "celery"
WORKER = "celery@benchmark-host/0123456789abcdef"

#: Never reached: so many of a key are not leased at once, nor in a microsecond.
LOOSE = Limits(concurrency=1_000, rate=Rate(interval_us=1, burst=1_000))


@dataclass(frozen=True, slots=True)
class Kind:
    """What the entries of a backlog have, and what is set of its keys."""

    name: str
    levels: tuple[int, ...] = (5, 5)
    """Of each key's entries; those of the first are leased and stored anew."""
    parts: int = 1
    """Of each key; each node has as many children as the others, and the root 10 at least."""
    limits: Limits | None = None
    is_limited_by_key: bool = False
    level_floor: int = 0
    """In millionths."""


FLAT = Kind("one part, one level, no limits")
KINDS = (
    FLAT,
    Kind("3 levels", levels=(3, 3, 5, 7)),
    Kind("3 levels, level_floor 1/11", levels=(3, 3, 5, 7), level_floor=1_000_000 // 11),
    Kind("paths of 3 parts", parts=3),
    Kind("concurrency and rate of each key", limits=LOOSE),
)


@dataclass(frozen=True, slots=True)
class Round:
    """What it took to lease and settle a batch, in microseconds."""

    lease_us: float
    """On the client's clock."""
    settle_us: float
    redis_us: float
    """Of both together, on the server's clock: the scripts alone."""

    @property
    def both_us(self) -> float:
        """What the client waited for both."""
        return self.lease_us + self.settle_us


class Backlog:
    """Keys that each have entries, under a prefix of their own.

    Args:
        server: Where.
        keys: How many; of a path, leaves.
        kind: What kind of entries and keys.
        message: What each entry says.
    """

    def __init__(
        self, server: PrivateRedis, keys: int, kind: Kind = FLAT, message: bytes = b"-"
    ) -> None:
        self.keys = keys
        self.kind = kind
        self._server = server
        self._message = message
        self._numbers = count()
        self._children = max(10, round(keys ** (1 / kind.parts)))
        self.engine = RedisEngine(
            server.url,
            f"{kind.name}-{keys}:".replace(" ", "-"),
            EngineSettings(idle_key_us=10**15, level_floor=kind.level_floor),
            connection_kwargs={},
        )
        if kind.limits is not None and not kind.is_limited_by_key:
            self.engine.set_limits(QUEUE, Depth(kind.parts), kind.limits)

    def key(self, number: int) -> KeyPath:
        """Return a key: its last part is its own, those before divide the keys evenly."""
        above = [
            f"group-{number // self._children**part % self._children:04}"
            for part in range(self.kind.parts - 1)
        ]
        return (*above, f"tenant-{number:08}")

    def fill(self, rounds: int = 1) -> None:
        """Give each key its entries, an entry for one key after the other, then again."""
        for _ in range(rounds):
            for level in self.kind.levels:
                # One batch is made while Redis stores the other.
                with ThreadPoolExecutor(2) as pool:
                    list(pool.map(self._store, self._batches(), repeat(level)))
        if self.kind.limits is not None and self.kind.is_limited_by_key:
            for number in range(self.keys):
                self.engine.set_limits(QUEUE, self.key(number), self.kind.limits)

    def lease(self, limit: int, worker: str = WORKER) -> tuple[Lease, ...]:
        """Lease up to so many."""
        return self.engine.lease(worker, [QUEUE], limit).leases

    def settle(self, leases: Sequence[Lease], worker: str = WORKER) -> None:
        """Report that these have run."""
        kind = OutcomeKind.COMPLETED
        outcomes = [Outcome(kind, one.queue, one.entry_id, one.number) for one in leases]
        self.engine.settle(worker, outcomes)

    def round(self, batch: int) -> Round:
        """Lease and settle a batch, then store as much anew; return what the first two took."""
        before = self._script_us()
        started = time.perf_counter()
        leases = self.lease(batch)
        leased = time.perf_counter()
        self.settle(leases)
        settled = time.perf_counter()
        in_redis = self._script_us() - before
        if len(leases) != batch:
            raise RuntimeError(f"{len(leases)} entries leased instead of {batch}")
        self.store(leases)
        return Round((leased - started) * 1e6, (settled - leased) * 1e6, in_redis)

    def store(self, leases: Sequence[Lease]) -> None:
        """Store as much anew, of the same keys and levels, as was leased."""
        self._enqueue((lease.key, lease.level) for lease in leases)

    def drain(self) -> None:
        """Run everything, so that the keys are idle."""
        while leases := self.lease(500):
            self.settle(leases)

    def close(self) -> None:
        """Disconnect; a later call connects again."""
        self.engine.close()

    def _script_us(self) -> int:
        """Return for how long the server has run scripts so far, in microseconds."""
        told = self._server.client.info("commandstats")
        return int(told.get("cmdstat_evalsha", {"usec": 0})["usec"])

    def _batches(self) -> Iterator[range]:
        for first in range(0, self.keys, MAX_BATCH):
            yield range(first, min(first + MAX_BATCH, self.keys))

    def _store(self, numbers: Sequence[int], level: int) -> None:
        self._enqueue((self.key(number), level) for number in numbers)

    def _enqueue(self, entries: Iterable[tuple[KeyPath, int]]) -> None:
        self.engine.enqueue(
            [
                Entry(f"{next(self._numbers):012x}-scaling", key, QUEUE, self._message, level=level)
                for key, level in entries
            ]
        )

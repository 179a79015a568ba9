"""Counting what this worker runs, until the heartbeat reports it to the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.service import MAX_REPORTED_KEYS, Tally, merged
from celery_ranch.worker.leases import Holding
from celery_ranch.worker.native import native

__all__ = ["ServiceCounts"]

#: So many keys of a queue are told apart between two reports.
_MOST_KEYS = 1_000

#: By queue, level and key; (): of keys that are not told apart.
_Tallies: TypeAlias = "dict[tuple[str, int, KeyPath | None], Tally]"


class ServiceCounts:
    """Counts runs by queue, level and key; any thread may count.

    A report tells of the keys that cost most. The others are kept for the
    next one, so that of many keys that take turns each is told of in its turn.
    """

    def __init__(self) -> None:
        # Native, because the heartbeat's thread is, and reentrant, as the lease book's.
        self._lock = native("_thread", "RLock")()
        self._counted: _Tallies = {}
        self._kept: _Tallies = {}

    def count(self, holding: Holding, run_seconds: float, *, failed: bool) -> None:
        """Count a run that has ended."""
        lease = holding.lease
        wait_us, run_us = lease.waited_us, int(run_seconds * 1_000_000)
        if holding.is_started and holding.started_at > holding.taken_at:
            wait_us += int((holding.started_at - holding.taken_at) * 1_000_000)
        cost = run_us if lease.cost is None else lease.cost
        of = (lease.queue, lease.level, lease.key)
        with self._lock:
            tally = self._counted.get(of)
            if tally is None:
                if len(self._counted) >= _MOST_KEYS:
                    of = (lease.queue, lease.level, ())
                tally = self._counted.setdefault(of, Tally(lease.level, of[2]))
            tally.count(wait_us, run_us, cost, failed=failed)

    def take(self) -> dict[str, tuple[Tally, ...]]:
        """Return what is to be reported now, by queue; it is counted here no longer."""
        with self._lock:
            counted, self._counted = self._counted, {}
        found: dict[str, list[Tally]] = {}
        kept, self._kept = self._kept, {}
        for (queue, _, _), tally in counted.items():
            found.setdefault(queue, []).append(tally)
        report = {queue: _of_all(tallies) for queue, tallies in found.items()}
        for of, tally in kept.items():
            counted.setdefault(of, Tally(tally.level, tally.key)).add(tally)
        for queue in {queue for queue, _, _ in counted}:
            of_keys = [(of, tally) for of, tally in counted.items() if of[0] == queue]
            of_keys.sort(key=lambda each: -each[1].cost)
            told, rest = of_keys[:MAX_REPORTED_KEYS], of_keys[MAX_REPORTED_KEYS:]
            report.setdefault(queue, []).extend(tally for _, tally in told)
            self._kept |= rest[:_MOST_KEYS]
        return {queue: tuple(tallies) for queue, tallies in report.items()}


def _of_all(tallies: Iterable[Tally]) -> list[Tally]:
    """Return the sums of all keys, by level."""
    return [*merged(replace(tally, key=None) for tally in tallies).values()]

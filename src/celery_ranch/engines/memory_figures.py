"""What workers report and watchers ask for, of the engine in this process's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from celery_ranch.engines.memory_control import MemoryControl
from celery_ranch.scheduling.figures import MAX_MEASURED, NodeFigures, Survey, WorkerFigures
from celery_ranch.scheduling.model import TAG_LIMIT, EngineSettings, KeyPath
from celery_ranch.scheduling.service import (
    BUCKETS,
    MAX_BUCKET_COUNTS,
    Bucket,
    Service,
    ServiceReport,
    Tally,
    WorkerFacts,
    merged,
)

__all__ = ["MemoryFigures"]

_DEFAULT_SETTINGS = EngineSettings()


@dataclass(frozen=True, slots=True)
class _Reported:
    at_us: int
    facts: WorkerFacts


class MemoryFigures(MemoryControl):
    """The verbs of `MemoryEngine` by which workers report and watchers look.

    Args:
        settings: Lease time and limits.
        tag_limit: Where virtual time starts again from 0.
    """

    def __init__(
        self, settings: EngineSettings = _DEFAULT_SETTINGS, tag_limit: int = TAG_LIMIT
    ) -> None:
        super().__init__(settings, tag_limit)
        self._services: dict[tuple[str, Bucket | None], Service] = {}
        self._reported: dict[str, _Reported] = {}

    def report(self, worker: str, report: ServiceReport, *, now_us: int | None = None) -> None:
        with self._changed:
            now_us = self._now_us(now_us)
            self._reported[worker] = _Reported(now_us, report.facts)
            if report.is_last:
                del self._reported[worker]
            for queue in {*report.facts.queues, *report.tallies}:
                if queue in self._names():
                    self._count(queue, report.tallies.get(queue, ()), now_us)
                    if report.is_last:
                        self._queues[queue].leases.forget_if_empty(worker)
            self._forget(now_us)

    def service(self, queue: str, bucket: Bucket | None = None) -> Service:
        with self._changed:
            return self._services.get((queue, bucket), Service())

    def survey(self, queue: str, cursor: int = 0, *, now_us: int | None = None) -> Survey:
        with self._changed:
            now_us = self._now_us(now_us)
            if queue not in self._queues:
                return Survey(now_us, 0, 0, (), (), (), 0)
            return self._queues[queue].survey(cursor, now_us)

    def measure(self, queue: str, keys: Sequence[KeyPath]) -> tuple[NodeFigures, ...]:
        with self._changed:
            state = self._queues.get(queue)
            return () if state is None else state.measure(keys[:MAX_MEASURED])

    def watched(self, limit: int = 200) -> tuple[tuple[WorkerFigures, ...], int]:
        with self._changed:
            names = sorted(self._reported, key=lambda worker: -self._reported[worker].at_us)
            known = (queue.leases.workers() for queue in self._queues.values())
            names = list(dict.fromkeys([*names, *(worker for each in known for worker in each)]))
            shown = tuple(map(self._worker, names[:limit]))
            return shown, len(names) - len(shown)

    # -- within --------------------------------------------------------------------

    def _count(self, queue: str, tallies: Sequence[Tally], now_us: int) -> None:
        of_all = [tally for tally in tallies if tally.key is None]
        for kind in BUCKETS:
            bucket = Bucket(kind.seconds, now_us // 1_000_000 // kind.seconds * kind.seconds)
            before = self._services.get((queue, bucket))
            if before is None:
                before = Service(self._queues[queue].stored, now_us)
            more = _told_apart(tallies, before) if kind.has_keys else of_all
            self._services[queue, bucket] = _added(before, more)
        self._services[queue, None] = _added(self._services.get((queue, None), Service()), of_all)

    def _forget(self, now_us: int) -> None:
        """Drop buckets and what workers said when nobody asks for it any more."""
        kept = {kind.seconds: kind.kept_seconds for kind in BUCKETS}
        for _, bucket in [*self._services]:
            if bucket and (bucket.start + kept[bucket.seconds]) * 1_000_000 < now_us:
                for queue in self._queues:
                    self._services.pop((queue, bucket), None)
        oldest_us = now_us - 3 * self._settings.lease_us - 60_000_000
        for worker, reported in [*self._reported.items()]:
            if reported.at_us <= oldest_us:
                del self._reported[worker]

    def _worker(self, worker: str) -> WorkerFigures:
        queues = self._queues.values()
        until = [us for queue in queues if (us := queue.leases.valid_until_us(worker)) is not None]
        reported = self._reported.get(worker)
        return WorkerFigures(
            worker=worker,
            until_us=max(until, default=None),
            held=sum(len(queue.leases.of(worker)) for queue in queues),
            reported_at_us=None if reported is None else reported.at_us,
            facts=None if reported is None else reported.facts,
        )


def _told_apart(tallies: Sequence[Tally], before: Service) -> list[Tally]:
    """Return tallies as a bucket takes them, which has room for so many keys."""
    if sum(map(_counts, before.tallies)) < MAX_BUCKET_COUNTS:
        return list(tallies)
    known = {(tally.level, tally.key) for tally in before.tallies}
    return [t if not t.key or (t.level, t.key) in known else replace(t, key=()) for t in tallies]


def _counts(tally: Tally) -> int:
    sums = (tally.finished, tally.failed, tally.cost, tally.wait_us, tally.run_us)
    return sum(map(bool, sums)) + len(tally.waits) + len(tally.runs)


def _added(service: Service, tallies: Sequence[Tally]) -> Service:
    return replace(service, tallies=tuple(merged((*service.tallies, *tallies)).values()))

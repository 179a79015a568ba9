"""What workers report and watchers ask for, of the engine in Redis."""

from __future__ import annotations

from collections.abc import Sequence

from celery_ranch.engines import wire, wire_figures
from celery_ranch.engines.redis_control import RedisControl
from celery_ranch.engines.scripts import Argument, load_script
from celery_ranch.engines.wire import Request
from celery_ranch.errors import StoreError
from celery_ranch.scheduling.figures import MAX_MEASURED, NodeFigures, Survey, WorkerFigures
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.service import MAX_BUCKET_COUNTS, Bucket, Service, ServiceReport

__all__ = ["VERBS", "RedisFigures"]

VERBS = ("report", "survey", "measure", "watched")

#: Of a slice of all nodes, so many are looked at in one survey.
_NODES_SURVEYED = 100
_SAMPLE = 15

#: How many bytes of entries are read in one measuring.
_BYTES_READ = 2_000_000


class RedisFigures(RedisControl):
    """The verbs of `RedisEngine` by which workers report and watchers look."""

    def report(self, worker: str, report: ServiceReport, *, now_us: int | None = None) -> None:
        """As `Engine.report`."""
        self._run(self.request_report(worker, report, now_us))

    def request_report(
        self, worker: str, report: ServiceReport, now_us: int | None = None
    ) -> Request[None]:
        """Return the request of `report`."""
        places, bases = self._places((*report.facts.queues, *report.tallies))
        counts: list[Argument] = []
        for queue, tallies in report.tallies.items():
            counts += wire_figures.tally_arguments(places[queue], tallies)
        named = self._named(
            now_us,
            reporters=f"{self.prefix}reporters",
            worker=worker,
            facts=wire_figures.facts_text(report.facts),
            facts_ms=self.settings.lease_us // 1_000 * 3 + 60_000,
            most=MAX_BUCKET_COUNTS,
            is_last=int(report.is_last),
        )
        command = load_script("report").command(named, bases, counts)
        return Request("report", command, lambda _: None)

    def service(self, queue: str, bucket: Bucket | None = None) -> Service:
        """As `Engine.service`."""
        which = "0:0" if bucket is None else f"{bucket.seconds}:{bucket.start}"
        name = f"{self._base(queue)}service:{which}"
        try:
            return wire_figures.read_service(self._connections.run(("HGETALL", name)))
        except StoreError as error:
            if "WRONGTYPE" in str(error):
                # It is not ours, and makes room for what is reported next.
                return Service()
            raise

    def survey(self, queue: str, cursor: int = 0, *, now_us: int | None = None) -> Survey:
        """As `Engine.survey`."""
        request = self._on_queue(
            "survey",
            queue,
            wire_figures.read_survey,
            now_us,
            cursor=cursor,
            limit=_NODES_SURVEYED,
            sample=_SAMPLE,
        )
        return self._run(request)

    def measure(self, queue: str, keys: Sequence[KeyPath]) -> tuple[NodeFigures, ...]:
        """As `Engine.measure`."""
        named = self._named(None, base=self._base(queue), budget=_BYTES_READ)
        names = [wire.key_text(key) for key in keys[:MAX_MEASURED]]
        command = load_script("measure").command(named, (), names)
        return self._run(Request("measure", command, wire_figures.read_measured))

    def watched(self, limit: int = 200) -> tuple[tuple[WorkerFigures, ...], int]:
        """As `Engine.watched`."""
        named = self._named(None, reporters=f"{self.prefix}reporters", limit=limit)
        command = load_script("watched").command(named)
        return self._run(Request("watched", command, wire_figures.read_workers))

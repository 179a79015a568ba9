"""The bootstep that lets a Celery worker serve the fair side of its queues."""

from __future__ import annotations

import os
import secrets
from importlib.metadata import PackageNotFoundError, version
from socket import gethostname
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from celery_ranch.config import SerializerType
from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.errors import StoreError
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.service import ServiceReport, WorkerFacts
from celery_ranch.worker.capacity import Capacity
from celery_ranch.worker.feeding import Feeder
from celery_ranch.worker.heartbeat import Heartbeat
from celery_ranch.worker.inspecting import show_stock
from celery_ranch.worker.leases import Holding, LeaseBook
from celery_ranch.worker.loop import LoopDriver
from celery_ranch.worker.outage import Outage
from celery_ranch.worker.pipes import ResultPipes
from celery_ranch.worker.prefetch import restore_on_the_loop
from celery_ranch.worker.requests import job_of, keep_in_pipe
from celery_ranch.worker.service import ServiceCounts
from celery_ranch.worker.threads import ThreadDriver
from celery_ranch.worker.withdrawals import Finisher

__all__ = ["FairStep"]

logger = get_logger(__name__)

#: How long to listen for a wake-up before looking anyway, in seconds; less
#: where leases are shorter, because a token can die with its reader.
_LONGEST_WAIT_SECONDS = 5.0


class FairStep(bootsteps.StartStopStep):
    """Leases entries and feeds each to Celery's own task handler.

    It starts after the task consumer, whose strategies it uses, at every
    (re)connection to the broker; what it holds outlives reconnections and is
    given back when the worker shuts down, after the pool has drained.
    """

    label = "Fair scheduling"
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        self._ranch = Ranch(c.app)
        settings = self._ranch.settings
        self.worker = f"{c.hostname}:{secrets.token_hex(4)}"
        self._driver: LoopDriver | ThreadDriver | None = None
        self._heartbeat: Heartbeat | None = None
        self._finisher: Finisher | None = None
        self._wait_seconds = min(settings.lease_seconds / 2, _LONGEST_WAIT_SECONDS)
        self._outage = Outage()
        self._book = LeaseBook(self._on_outcome, settings.lease_seconds)
        self._jobs: tuple[Any, ...] = ()
        self._served: tuple[str, ...] = ()
        # What Celery calls when the broker's connection broke, to drop what it held.
        self._forget, c.on_close = c.on_close, self._on_connection_lost
        self._pipes = ResultPipes()
        self._capacity = Capacity(c, settings.lookahead_seconds)
        self._counts = ServiceCounts()
        self._version = _version()
        self._feeder = Feeder(
            c,
            self._book,
            self._capacity,
            counts=self._counts,
            before_run=self._before_run,
            say_now=self._say_now,
            accept_pickle=settings.redis_serializer is SerializerType.PICKLE,
            weights=self._ranch.weights,
        )
        show_stock(c, self._feeder)

    def start(self, c: Any) -> None:
        """Give back what a broken connection cut off, and begin to lease."""
        engine = self._ranch.engine
        if self._heartbeat is None:
            self._warn(c)
            self._finisher = Finisher(self._ranch)
            self._heartbeat = Heartbeat(
                engine,
                self.worker,
                self._book,
                self._ranch.settings.lease_seconds,
                self._outage,
                lambda: self._report(c),
                self._finisher.tell,
            )
        for holding in self._book.holdings():
            if not self._is_cut_off(holding, c):
                continue
            if holding.is_started:
                self._book.requeue(holding)
            else:
                self._book.release(holding)
        self._jobs = ()
        restore_on_the_loop(c)
        if self._has_pipes(c):
            self._pipes.watch(c.pool)
        self._feeder.connect()
        if c.hub is None:
            self._replace(
                ThreadDriver(
                    engine,
                    self.worker,
                    self._book,
                    self._feeder,
                    self._queues(c),
                    self._wait_seconds,
                    self._outage,
                )
            )

    def register_with_event_loop(self, c: Any, hub: Any) -> None:
        """Lease on Celery's event loop, where there is one."""
        if self._has_pipes(c):
            self._pipes.resume(c.pool, hub)
        self._replace(
            LoopDriver(
                hub,
                self._ranch.engine,
                self.worker,
                self._book,
                self._feeder,
                self._capacity,
                self._queues(c),
                self._wait_seconds,
                self._outage,
            )
        )

    def stop(self, c: Any) -> None:
        """Stop leasing; what runs goes on and is still reported."""
        # When the step shuts down, Celery's consumer of tasks is gone.
        self._served = self._queues(c)() or self._served
        if self._driver is not None:
            self._driver.stop_leasing()

    terminate = stop

    def shutdown(self, c: Any) -> None:
        """Say what became of everything, after the pool has drained."""
        for holding in self._book.holdings():
            if not holding.is_started:
                self._book.release(holding)
            elif holding.is_acknowledged:
                self._book.finish(holding)
            else:
                self._book.requeue(holding)
        # First, so that nobody but the driver has anything left to say.
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        if self._finisher is not None:
            self._finisher.stop()
            self._finisher = None
        self._replace(None)
        self._take_leave()

    def info(self, c: Any) -> dict[str, Any]:
        """Return the `celery_ranch` section of `celery inspect stats`."""
        return {
            "celery_ranch": {
                "worker": self.worker,
                "queues": list(self._queues(c)()),
                "leased": len(self._book.holdings()),
                "stocked": self._feeder.stock_size,
                "slots_taken": self._book.slots_taken,
                "slots": self._capacity.size,
                "lookahead": self._capacity.lookahead,
                "run_seconds": self._capacity.run_seconds,
            }
        }

    def _report(self, c: Any) -> ServiceReport:
        """Return what was run since the last report, and how this worker is."""
        facts = WorkerFacts(
            queues=self._queues(c)(),
            host=gethostname(),
            pid=os.getpid(),
            version=self._version,
            capacity=self._capacity.size,
            slots_taken=self._book.slots_taken,
            lookahead=self._capacity.lookahead,
            stocked=self._feeder.stock_size,
            run_seconds=self._capacity.run_seconds,
        )
        return ServiceReport(facts, self._counts.take())

    def _take_leave(self) -> None:
        """Report for the last time, so that nobody takes this worker for lost."""
        if self._outage.is_on:
            return
        facts = WorkerFacts(self._served, gethostname(), os.getpid(), self._version)
        try:
            report = ServiceReport(facts, self._counts.take(), is_last=True)
            self._ranch.engine.report(self.worker, report)
        except StoreError as error:
            logger.debug("The store does not know that this worker ends: %s", error)

    def _queues(self, c: Any) -> Any:
        def fair_queues() -> tuple[str, ...]:
            # The consumer itself, because before Celery 5.7 `add_consumer` and
            # `cancel_consumer` do not always change `amqp.queues.consume_from`.
            consumer = c.task_consumer
            names = [queue.name for queue in consumer.queues] if consumer else ()
            return tuple(dict.fromkeys(self._ranch.fair_queue(name) for name in names))

        return fair_queues

    def _on_connection_lost(self) -> None:
        """Keep the pool's jobs for the next `start`, and let Celery forget them."""
        requests = [holding.request for holding in self._book.holdings()]
        self._jobs = tuple(job_of(request) for request in requests if request is not None)
        self._forget()

    def _is_cut_off(self, holding: Holding, c: Any) -> bool:
        """Whether Celery has forgotten a request that no process runs or will run.

        When the broker's connection breaks, Celery drops what waits for the
        pool's semaphore, and on an event loop the pool of processes drops
        what no process has taken, before Celery 5.6 also what runs. Every
        other pool keeps what it was given.
        """
        if holding.is_parked:
            # Celery empties its buckets as well.
            return True
        if holding.is_finished or holding.request is None:
            return False
        return self._has_pipes(c) and not keep_in_pipe(holding.request, c.pool)

    def _has_pipes(self, c: Any) -> bool:
        """Whether there is a pool of processes on an event loop."""
        return c.hub is not None and c.pool.uses_semaphore

    def _replace(self, driver: LoopDriver | ThreadDriver | None) -> None:
        before, self._driver = self._driver, driver
        if before is not None:
            before.close()

    def _on_outcome(self) -> None:
        if self._driver is not None:
            self._driver.on_outcome()

    def _before_run(self) -> None:
        if self._driver is not None and self._capacity.runs_inline:
            self._driver.before_run()

    def _say_now(self) -> None:
        if self._driver is not None:
            self._driver.say_now()

    def _warn(self, c: Any) -> None:
        engine = self._ranch.engine
        if isinstance(engine, MemoryEngine) and c.pool.uses_semaphore:
            logger.warning(
                "celery-ranch keeps entries in this process's memory, and the pool's"
                " processes cannot reach it: this worker will run no fair task."
                " Configure a Redis store (the setting celery_ranch['url'])."
            )
        try:
            for warning in engine.warnings():
                logger.warning(warning)
        except StoreError as error:
            logger.warning("Could not look at the store: %s", error)


def _version() -> str:
    try:
        return version("celery-ranch")
    except PackageNotFoundError:  # run from its sources
        return ""

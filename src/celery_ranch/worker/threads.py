"""Leasing in threads, where Celery runs no event loop.

With gevent and eventlet the threads are green, because the worker has
patched `threading` by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from celery.utils.log import get_logger

from celery_ranch.errors import StoreError, StoreUnavailableError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.worker.feeding import Feeder
from celery_ranch.worker.leases import LeaseBook
from celery_ranch.worker.outage import BackOff, Outage

__all__ = ["ThreadDriver"]

logger = get_logger(__name__)

_LONGEST_SILENCE_SECONDS = 1.0


class ThreadDriver:
    """One thread leases and feeds, another one settles.

    Args: as for `loop.LoopDriver`.
    """

    def __init__(
        self,
        engine: Engine,
        worker: str,
        book: LeaseBook,
        feeder: Feeder,
        queues: Callable[[], Sequence[str]],
        wait_seconds: float,
        outage: Outage,
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._book = book
        self._feeder = feeder
        self._queues = queues
        self._wait_seconds = wait_seconds
        self._outage = outage
        self._is_drained = False
        self._stopped = threading.Event()
        self._closed = threading.Event()
        self._said = threading.Event()
        self._freed = threading.Event()
        self._settling = threading.Lock()
        self._leasing = threading.Lock()
        works = (
            (self._stopped, self._lease, "leasing"),
            (self._closed, self._settle, "settling"),
        )
        self._threads = [
            threading.Thread(target=self._run, args=work, daemon=True) for work in works
        ]
        for thread in self._threads:
            thread.start()

    def on_outcome(self) -> None:
        """Make sure an outcome is sent soon; any thread may call this."""
        self._said.set()
        self._freed.set()
        # What leases may be listening, with all that it leased at hand.
        self._feeder.admit_soon()

    def before_run(self) -> None:
        """Do nothing: the settling thread runs beside any task."""

    def say_now(self) -> None:
        """Tell the store at once what is to be said of leases, if it can be reached."""
        # The settling thread tries again, and tells of the outage.
        with suppress(StoreError):
            self._send_outcomes()

    def stop_leasing(self) -> None:
        """Take nothing new; outcomes are still sent."""
        self._stopped.set()
        self._feeder.stop()
        self._freed.set()
        with self._leasing:
            # What was asked for before has been entered in the book.
            return

    def close(self) -> None:
        """Say what is left to be said."""
        self._closed.set()
        self._said.set()
        try:
            self._send_outcomes()
        except StoreError as error:
            logger.error("Could not tell the store what became of leases: %s", error)

    def _run(self, until: threading.Event, step: Callable[[], Any], part: str) -> None:
        backoff = BackOff()
        while not until.is_set():
            try:
                step()
            except StoreError as error:
                self._outage.begin(part, error)
                until.wait(backoff.next_seconds())
            except Exception:
                logger.exception("Could not lease or settle; trying again")
                until.wait(backoff.next_seconds())
            else:
                backoff.reset()

    def _lease(self) -> None:
        self._freed.clear()
        self._feeder.feed()
        queues = self._queues()
        limit = self._feeder.room
        if self._feeder.has_stock and (self._is_drained or self._feeder.is_well_stocked):
            # Only a finish moves the stock on, or its age.
            self._freed.wait(self._feeder.stale_seconds)
            return
        if not queues or not limit or self._feeder.is_stopping:
            self._freed.wait(1.0)
            return
        with self._leasing:
            if self._stopped.is_set():
                return
            self._book.is_leasing = True
            try:
                leased = self._engine.lease(self._worker, queues, limit)
                holdings = self._book.take(leased.leases)
            finally:
                self._book.is_leasing = False
        self._outage.end("leasing")
        self._feeder.take(holdings)
        due = sum(not lease.is_expired for lease in leased.leases)
        self._is_drained = not leased.has_more and due < limit
        if not self._is_drained or self._feeder.has_stock:
            return
        seconds = self._wait_seconds
        if leased.next_due_in_us is not None:
            seconds = min(seconds, leased.next_due_in_us / 1_000_000)
        self._listen(queues, seconds)

    def _listen(self, queues: Sequence[str], seconds: float) -> None:
        """Wait until something may be leasable, or the queues served are others."""
        deadline = monotonic() + seconds
        is_heard = False
        while not is_heard and not self._stopped.is_set() and self._queues() == queues:
            left = deadline - monotonic()
            if left <= 0:
                return
            try:
                is_heard = self._engine.wait(queues, min(left, _LONGEST_SILENCE_SECONDS))
            except StoreError as error:
                # Of a store that is away leasing hears as well; this one may lease.
                if not isinstance(error, StoreUnavailableError):
                    self._outage.begin("listening", error)
                raise
            self._outage.end("listening")
        if is_heard:
            is_usable = self._feeder.room and not self._stopped.is_set()
            # Of a queue that was cancelled meanwhile this worker leases nothing.
            unused = {*queues}.difference(self._queues()) if is_usable else {*queues}
            if unused:
                self._engine.wake(tuple(unused))

    def _settle(self) -> None:
        # An outcome may come back from a driver that was stopped.
        self._said.wait(_LONGEST_SILENCE_SECONDS)
        self._said.clear()
        self._outage.journal.flush()
        self._send_outcomes()

    def _send_outcomes(self) -> None:
        with self._settling:
            outcomes = self._book.drain()
            if not outcomes:
                # The heartbeat has said what could not be said from here.
                self._outage.end("settling")
                return
            try:
                self._engine.settle(self._worker, outcomes)
            except BaseException:
                self._book.restore(outcomes)
                self._said.set()
                raise
            self._book.confirm(outcomes)
            self._outage.end("settling")

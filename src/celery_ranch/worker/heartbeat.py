"""Keeping this worker's leases alive, and taking back those of dead ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.utils.log import get_logger

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Outcome, OutcomeKind, Withdrawal
from celery_ranch.scheduling.service import ServiceReport
from celery_ranch.worker.leases import LeaseBook
from celery_ranch.worker.native import native
from celery_ranch.worker.outage import BackOff, Outage

__all__ = ["Heartbeat"]

logger = get_logger(__name__)

#: Beats per `lease_seconds`; reaping counts as paused after a third of it.
_BEATS_PER_LEASE = 6
_REAP_LIMIT = 200

#: How long runs are counted before they are reported, at most, in seconds.
_LONGEST_REPORT_SECONDS = 5.0

#: How often to look for what a blocked loop leaves unsaid, in seconds.
_LOOK_SECONDS = 0.5


class Heartbeat:
    """Beats, reaps and reconciles in a thread of its own, and speaks for a blocked loop.

    The thread is a native one, also where `threading` is patched: a loop
    that a task blocks must not cost the worker its leases.

    Args:
        engine: Where the leases are.
        worker: Whose leases to keep.
        book: What this worker knows it holds.
        lease_seconds: How long leases outlive a beat, in seconds.
        outage: Whom to tell that the store is away, and that it is back.
        report: Gives what was run since it was called last.
        on_abandoned: Called with withdrawals that nobody carries out any more.
    """

    def __init__(
        self,
        engine: Engine,
        worker: str,
        book: LeaseBook,
        lease_seconds: float,
        outage: Outage,
        report: Callable[[], ServiceReport],
        on_abandoned: Callable[[tuple[Withdrawal, ...]], None],
    ) -> None:
        self._verbs, is_native = _verbs(engine)
        self._worker = worker
        self._book = book
        self._lease_seconds = lease_seconds
        self._interval = self._wait_seconds = lease_seconds / _BEATS_PER_LEASE
        self._report_seconds = min(self._interval, _LONGEST_REPORT_SECONDS)
        self._next_report = monotonic() + self._report_seconds
        self._is_stopping = False
        self._report = report
        self._outage = outage
        self._on_abandoned = on_abandoned
        self._backoff = BackOff()
        self._strangers: frozenset[tuple[str, str, int]] = frozenset()
        self._drains = book.drains
        find = native if is_native else _patched
        self._speaking = find("_thread", "allocate_lock")()
        self._sleep = find("time", "sleep")
        find("_thread", "start_new_thread")(self._run, ())

    def stop(self) -> None:
        """End the thread within a second; leases are kept until they run out.

        What it was saying has been said by then, or is in the book again.
        """
        self._is_stopping = True
        with self._speaking:
            return

    def _run(self) -> None:
        while not self._is_stopping:
            self._try(self._beat)
            self._pause(self._wait_seconds)
        if not isinstance(self._verbs, MemoryEngine):
            self._verbs.close()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._outage.begin("heartbeat", error)
            self._wait_seconds = min(self._interval, self._backoff.next_seconds())

    def _note_store_answers(self) -> None:
        self._outage.end("heartbeat")
        self._backoff.reset()
        self._wait_seconds = self._interval

    def _pause(self, left: float) -> None:
        while left > 0 and not self._is_stopping:
            self._sleep(min(left, _LOOK_SECONDS))
            left -= _LOOK_SECONDS
            drains, self._drains = self._drains, self._book.drains
            if drains == self._drains and self._book.has_outcomes:
                self._try(self._speak)
            if monotonic() >= self._next_report:
                self._say_service()

    def _say_service(self) -> None:
        """Report what was run; a report that does not arrive loses counts and nothing else."""
        self._next_report = monotonic() + self._report_seconds
        with self._speaking:
            if self._is_stopping:
                return
            try:
                self._verbs.report(self._worker, self._report())
            except Exception as error:
                # Whether the store is away others find out, and say.
                self._outage.journal.say(logger.debug, "What was run is not reported: %r", error)

    def _speak(self) -> None:
        """Say what has waited since the last look.

        A solo pool runs a task that it takes for a short one before the loop
        has said that it started. If it is a long one, the store hears it from
        here: should it kill its worker, it must not count as never started.
        """
        with self._speaking:
            outcomes = [] if self._is_stopping else self._book.drain()
            if not outcomes:
                return
            try:
                self._verbs.settle(self._worker, outcomes)
            except BaseException:
                self._book.restore(outcomes)
                raise
            self._book.confirm(outcomes)
            self._note_store_answers()

    def _beat(self) -> None:
        owned = len(self._book.owned())
        beaten_at = monotonic()
        if not self._verbs.heartbeat(self._worker) and owned:
            # Too late to call anything back: what runs here goes on, and
            # what is reported of it changes nothing.
            self._outage.journal.say(
                logger.error,
                "The store took this worker for dead, and %d leases passed on to others",
                owned,
            )
        reaped = self._verbs.reap(_REAP_LIMIT)
        while reaped.has_more and not self._is_stopping:
            self._verbs.heartbeat(self._worker)
            reaped = self._verbs.reap(_REAP_LIMIT)
        if reaped.abandoned:
            self._on_abandoned(reaped.abandoned)
        self._reconcile()
        self._book.keep_until(beaten_at + self._lease_seconds)
        self._note_store_answers()

    def _reconcile(self) -> None:
        """Compare what the store says is leased here with what is known here.

        What is known and not leased here any more has passed on. What is
        leased here and nobody knows is given back.

        A lease whose reply was lost is such a stranger. One is released at
        its second sight: at the first its reply may still be on the way. A
        task may block the loop for long before it reads a reply, so while
        one is awaited there is no telling.
        """
        is_leasing, known = self._book.is_leasing, self._book.holdings()
        held = self._verbs.held(self._worker)
        self._book.keep(held, known)
        if is_leasing:
            self._strangers = frozenset()
            return
        strangers = held - self._book.owned()
        lost = strangers & self._strangers
        self._strangers = strangers - lost
        if lost:
            self._outage.journal.say(
                logger.warning, "Giving back %d leases whose replies were lost", len(lost)
            )
            released = OutcomeKind.RELEASED
            self._verbs.settle(
                self._worker,
                [Outcome(released, queue, entry_id, number) for queue, entry_id, number in lost],
            )


def _verbs(engine: Engine) -> tuple[Any, bool]:
    """Return where to beat, and whether a native thread may do it.

    An engine in this process is guarded by locks that may be green.
    """
    if isinstance(engine, MemoryEngine):
        return engine, False
    from celery_ranch.engines.redis import RedisEngine
    from celery_ranch.worker.line import BlockingVerbs

    assert isinstance(engine, RedisEngine)
    return BlockingVerbs(engine), True


def _patched(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)

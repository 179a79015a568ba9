"""Looking at an application's fair queues again and again: what `status` is computed by."""

from __future__ import annotations

import time
from typing import Any

from celery_ranch.errors import ConfigurationError
from celery_ranch.observing.queue_observer import QueueObserver
from celery_ranch.observing.status import KeyStatus, Status, WorkerStatus
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.figures import WorkerFigures
from celery_ranch.scheduling.model import key_path
from celery_ranch.scheduling.service import BUCKETS

__all__ = ["Observer"]

#: How many queues and workers are shown at most.
_MOST_QUEUES = 100
_MOST_WORKERS = 200

_SHORTEST_WINDOW, _LONGEST_WINDOW = BUCKETS[0].seconds, BUCKETS[-1].kept_seconds


class Observer:
    """Looks at an application's queues; one that looks again knows more.

    The first look finds keys by chance and by their turn, and finds what
    workers counted. Later ones also know the keys that were shown before, and
    what has come since. A look takes the store a few milliseconds for each queue,
    in steps of less than one, however many keys there are. Not for threads to share.

    Args:
        ranch: The application's fair scheduling.
        top: How many keys to show by each order (backlog, oldest wait, lead from
            either end), from 1 to 100.
        window_seconds: Of how long a time rates, spreads and parts received are, from 10
            to 21600. Beyond 900 nothing is told of single keys' flow.

    Raises:
        ConfigurationError: An argument is out of range.

    Example:
        Observer(Ranch(app)).look().to_json()
    """

    def __init__(self, ranch: Ranch, top: int = 10, window_seconds: float = 60.0) -> None:
        if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= 100:
            raise ConfigurationError("top", top, "a whole number from 1 to 100")
        is_number = isinstance(window_seconds, (int, float)) and not isinstance(top, bool)
        if not is_number or not _SHORTEST_WINDOW <= window_seconds <= _LONGEST_WINDOW:
            allowed = f"a number of seconds from {_SHORTEST_WINDOW} to {_LONGEST_WINDOW}"
            raise ConfigurationError("window_seconds", window_seconds, allowed)
        self._ranch = ranch
        self._top = top
        self._window_seconds = float(window_seconds)
        self._queues: dict[str, QueueObserver] = {}

    def look(self, queue: str | None = None) -> Status:
        """Return what goes on now.

        Args:
            queue: The only one to look at; None means all.

        Raises:
            StoreError, StoreUnavailableError: The store refused or is away.
        """
        engine = self._ranch.engine
        names = sorted(engine.queues()) if queue is None else [self._ranch.fair_queue(queue)]
        queues, now_us = [], time.time_ns() // 1_000
        for name in names[:_MOST_QUEUES]:
            status, now_us = self._observer(name).look()
            queues.append(status)
        workers, more_workers = engine.watched(_MOST_WORKERS)
        return Status(
            at=now_us / 1e6,
            window_seconds=self._window_seconds,
            queues=tuple(queues),
            workers=tuple(
                self._worker(each, now_us)
                for each in sorted(workers, key=lambda each: each.worker)
                if queue is None or each.facts is None or names[0] in each.facts.queues
            ),
            more_queues=max(0, len(names) - _MOST_QUEUES),
            more_workers=more_workers,
        )

    def key(self, key: Any, queue: str | None = None) -> KeyStatus:
        """Return how one key stands, whether or not it would be shown among others.

        Args:
            key: Which, or a part of its path from the outermost on.
            queue: Where; None means the default one.

        Raises:
            InvalidKeyError: It is no key.
            StoreError, StoreUnavailableError: The store refused or is away.
        """
        path = key_path(key)
        name = self._ranch.default_queue if queue is None else self._ranch.fair_queue(queue)
        status = self._observer(name).key(path)
        if status is not None:
            return status
        known = self._ranch.key(path, name)
        return KeyStatus(
            key=path,
            waiting=0,
            delayed=0,
            leased=0,
            oldest_wait=None,
            share=known.share,
            entitled=None,
            received=None,
            levels=(),
            limits=(),
            is_paused=known.is_paused,
            children=0,
            last_leased=None,
        )

    def _observer(self, queue: str) -> QueueObserver:
        observer = self._queues.get(queue)
        if observer is None:
            engine = self._ranch.engine
            observer = QueueObserver(engine, queue, self._top, self._window_seconds)
            self._queues[queue] = observer
        return observer

    def _worker(self, figures: WorkerFigures, now_us: int) -> WorkerStatus:
        lease_us = self._ranch.settings.lease_seconds * 1e6
        until_us, reported_at_us = figures.until_us, figures.reported_at_us
        beat_at_us = reported_at_us or now_us if until_us is None else until_us - lease_us
        facts = figures.facts
        known = facts and {
            "queues": facts.queues,
            "host": facts.host,
            "pid": facts.pid,
            "version": facts.version,
            "capacity": facts.capacity,
            "slots_taken": facts.slots_taken,
            "lookahead": facts.lookahead,
            "stocked": facts.stocked,
            "run_seconds": facts.run_seconds,
        }
        return WorkerStatus(
            worker=figures.worker,
            is_alive=beat_at_us + lease_us > now_us,
            beat_age=max(0.0, (now_us - beat_at_us) / 1e6),
            leased=figures.held,
            **(known or {}),  # type: ignore[arg-type]
        )

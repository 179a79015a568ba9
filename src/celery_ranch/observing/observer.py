"""Looking at an application's fair queues again and again: what `status` is computed by."""

from __future__ import annotations

import time

from celery_ranch.observing.status import Flow, KeyStatus, OtherKeys, QueueStatus, Status
from celery_ranch.observing.totals import totals
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import KeySnapshot

__all__ = ["Observer"]


class Observer:
    """Looks at an application's queues; one that looks again knows more.

    Args:
        ranch: The application's fair scheduling.
        top: How many keys to show by each order: backlog, oldest wait, lead.
        window_seconds: Of how long a time rates and parts received are.

    Example:
        Observer(Ranch(app)).look().to_json()
    """

    def __init__(self, ranch: Ranch, top: int = 10, window_seconds: float = 60.0) -> None:
        self._ranch = ranch
        self._top = top
        self._window_seconds = window_seconds

    def look(self, queue: str | None = None) -> Status:
        """Return what goes on now.

        Args:
            queue: The only one to look at; None means all.

        Raises:
            StoreError, StoreUnavailableError: The store refused or is away.
        """
        engine = self._ranch.engine
        names = sorted(engine.queues()) if queue is None else [self._ranch.fair_queue(queue)]
        return Status(
            at=time.time(),
            window_seconds=self._window_seconds,
            queues=tuple(self._queue(name) for name in names),
            workers=(),
        )

    def _queue(self, name: str) -> QueueStatus:
        engine = self._ranch.engine
        counts = engine.snapshot(name)
        found = [each for each in engine.keys(name, 0, 1_000)[1] if len(each.key) == 1]
        shown = sorted(found, key=lambda each: -each.waiting)[: self._top]
        return QueueStatus(
            queue=name,
            waiting=counts.waiting,
            delayed=counts.delayed,
            leased=counts.leased,
            dead=counts.dead,
            workers=counts.workers,
            next_due=None if counts.next_due_in_us is None else counts.next_due_in_us / 1e6,
            oldest_wait=None,
            evenness=None,
            flow=Flow(),
            levels=(),
            keys=tuple(map(_key, shown)),
            other=OtherKeys(
                keys=len(found) - len(shown),
                waiting=max(0, counts.waiting - sum(each.waiting for each in shown)),
                delayed=max(0, counts.delayed - sum(each.delayed for each in shown)),
                leased=max(0, counts.leased - sum(each.in_service for each in shown)),
            ),
            totals=totals(engine.survey(name).stored, engine.service(name)),
        )


def _key(snapshot: KeySnapshot) -> KeyStatus:
    last_us = snapshot.last_leased_at_us
    return KeyStatus(
        key=snapshot.key,
        waiting=snapshot.waiting,
        delayed=snapshot.delayed,
        leased=snapshot.in_service,
        oldest_wait=None,
        share=snapshot.share,
        entitled=None,
        received=None,
        levels=(),
        limits=(),
        is_paused=snapshot.is_paused,
        children=0,
        last_leased=None if last_us is None else max(0.0, time.time() - last_us / 1e6),
    )

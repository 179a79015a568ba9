"""How a queue fared in the last hours, minute by minute, as its workers counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

from celery_ranch.observing.flows import flow_of
from celery_ranch.observing.status import Flow
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.service import BUCKETS, Bucket, Service

__all__ = ["History", "Moment"]

_MINUTE = BUCKETS[-1]

#: Reports come late by a few seconds: until then a minute may still change.
_SETTLED_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Moment:
    """One minute of a queue."""

    at: int
    """When it began, in seconds since the epoch."""
    flow: Flow | None
    """What came and went in it; None: no worker said anything."""


class History:
    """Reads one queue's last hours again and again: of minutes that are over, only once.

    Args:
        engine: Where the queue is.
        queue: Its name.
    """

    def __init__(self, engine: Engine, queue: str) -> None:
        self._engine = engine
        self._queue = queue
        self._settled: dict[int, Service] = {}

    def read(self, hours: int, now: float | None = None) -> tuple[Moment, ...]:
        """Return the minutes of so many hours, from 1 to 6, up to the last one that is over.

        Args:
            hours: How far back.
            now: When that is, in seconds since the epoch; None: by this machine's clock.
        """
        now = time.time() if now is None else now
        starts = _MINUTE.starts(int(now * 1e6), min(hours * 3_600, _MINUTE.kept_seconds))
        found = {start: self._minute(start) for start in starts}
        settled_by = now - _MINUTE.seconds - _SETTLED_SECONDS
        oldest = now - _MINUTE.kept_seconds - _MINUTE.seconds
        fresh = {start: each for start, each in found.items() if start < settled_by}
        self._settled = {
            start: each for start, each in (self._settled | fresh).items() if start > oldest
        }
        return tuple(
            Moment(start, _flow(found[start], found[following]))
            for start, following in pairwise(starts)
        )

    def _minute(self, start: int) -> Service:
        settled = self._settled.get(start)
        if settled is not None:
            return settled
        return self._engine.service(self._queue, Bucket(_MINUTE.seconds, start))


def _flow(minute: Service, following: Service) -> Flow | None:
    if minute.stored is None:
        return None
    stored_per_second = None
    if following.stored is not None and minute.at_us is not None and following.at_us is not None:
        seconds = max(1.0, (following.at_us - minute.at_us) / 1e6)
        stored_per_second = max(0, following.stored - minute.stored) / seconds
    of_all = (tally for tally in minute.tallies if tally.key is None)
    return flow_of(of_all, _MINUTE.seconds, stored_per_second)

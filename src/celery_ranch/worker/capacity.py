"""How many entries a worker should lease now."""

from __future__ import annotations

from typing import Any

from celery.concurrency.solo import TaskPool as SoloPool

__all__ = ["Capacity"]

#: How much of a new run time enters the running estimate.
_WEIGHT = 0.1

#: A run time below this is taken as this, in seconds: what a pool spends on
#: handing a task over and back is not in the measured run time.
_SHORTEST_SECONDS = 0.0005


class Capacity:
    """Free slots of the pool, plus a lookahead measured in time.

    Whose task runs next is decided when an entry is leased, so a worker
    leases what it can start now. Short tasks would let the pool wait for the
    next lease, so a worker also leases what covers `lookahead_seconds` of
    work, by a running estimate of the run time: nothing for ten-second
    tasks, dozens for one-millisecond tasks.

    Args:
        consumer: Celery's consumer; its pool and its autoscaler tell the size,
            which is read anew at each call.
        lookahead_seconds: How much work to have at hand, in seconds.
    """

    def __init__(self, consumer: Any, lookahead_seconds: float) -> None:
        self._consumer = consumer
        self.lookahead_seconds = lookahead_seconds
        self.run_seconds: float | None = None
        """The running estimate of a task's run time; None before the first."""

    @property
    def size(self) -> int:
        """How many tasks the pool can run at once."""
        # The autoscaler only grows the pool when more is reserved than runs.
        # `celery control autoscale` changes its own maximum alone.
        autoscaler = getattr(self._consumer.controller, "autoscaler", None)
        if autoscaler is not None:
            return int(autoscaler.max_concurrency)
        return int(self._consumer.pool.num_processes or 1)

    @property
    def lookahead(self) -> int:
        """How many entries to have at hand beyond those that run."""
        if self.run_seconds is None or self.run_seconds >= self.lookahead_seconds:
            return 0
        per_slot = self.lookahead_seconds / max(self.run_seconds, _SHORTEST_SECONDS)
        return int(per_slot * self.size)

    @property
    def runs_inline(self) -> bool:
        """Whether the pool runs a task in the very call that hands it over."""
        return isinstance(self._consumer.pool, SoloPool)

    @property
    def handed_over_at_most(self) -> int:
        """How many entries may be with the pool at once.

        A pool of threads has a queue of its own that its threads take from
        without waiting for the worker's loop, so it gets as many again of what
        was leased ahead. It would take all of it, but a message that is with
        Celery has dozens of objects for Python's collector to look at, again
        and again, which would take a third of the worker's time.
        """
        pool = self._consumer.pool
        if pool.uses_semaphore or pool.is_green or self.runs_inline:
            return self.size
        return self.size + min(self.size, self.lookahead)

    def room(self, slots_taken: int) -> int:
        """Return how many more entries to lease; never negative."""
        return max(0, self.size + self.lookahead - slots_taken)

    def learn(self, run_seconds: float) -> None:
        """Take a measured run time, in seconds, into the estimate."""
        if self.run_seconds is None:
            self.run_seconds = run_seconds
        else:
            self.run_seconds += (run_seconds - self.run_seconds) * _WEIGHT

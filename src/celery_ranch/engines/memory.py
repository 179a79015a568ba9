"""The reference engine: the rule and its promises in this process's memory.

What it does is written up in ``docs/explanation/engine.md``. It is meant to be
read: where another engine differs, this one is right.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from celery_ranch.engines.memory_bulk import MemoryBulk
from celery_ranch.engines.memory_figures import MemoryFigures
from celery_ranch.engines.memory_leases import TakenBack
from celery_ranch.engines.memory_nodes import prefixes
from celery_ranch.engines.memory_queue import MemoryQueue
from celery_ranch.errors import BatchTooLargeError
from celery_ranch.scheduling.model import (
    ACTIVATION_BUDGET,
    MAX_BATCH,
    MOST_ABANDONED,
    TAG_LIMIT,
    EngineSettings,
    Enqueued,
    Entry,
    KeyPath,
    Lease,
    Leased,
    Outcome,
    OutcomeKind,
    Publish,
    Reaped,
    Withdrawal,
)

__all__ = ["MemoryEngine"]

_GIVING_BACK = frozenset({OutcomeKind.RELEASED, OutcomeKind.REQUEUED})
_DEFAULT_SETTINGS = EngineSettings()


class MemoryEngine(MemoryFigures, MemoryBulk):
    """An engine for one process; keeps every promise of `Engine` but outlives nothing.

    Safe for threads, and for greenlets when gevent or eventlet has patched
    `threading` before the engine is made.

    Args:
        settings: Lease time and limits. Default ``EngineSettings()``.
        tag_limit: Where virtual time starts again from 0. Default 2^52; a
            smaller one is for tests.

    Example:
        >>> engine = MemoryEngine()
        >>> engine.enqueue([Entry("1", ("acme",), "celery", b"a"),
        ...                 Entry("2", ("acme",), "celery", b"b"),
        ...                 Entry("3", ("bolt",), "celery", b"c")]).stored
        3
        >>> [lease.entry_id for lease in engine.lease("worker", ["celery"], 3).leases]
        ['1', '3', '2']
    """

    def __init__(
        self, settings: EngineSettings = _DEFAULT_SETTINGS, tag_limit: int = TAG_LIMIT
    ) -> None:
        super().__init__(settings, tag_limit)
        #: (queue of the first entry, publisher) -> number of its last stored batch.
        self._published: dict[tuple[str, str], int] = {}
        self._turn = 0
        self._last_reaped_at_us: int | None = None
        self._holds_back_until_us = 0

    # -- data --------------------------------------------------------------------

    def enqueue(
        self,
        entries: Sequence[Entry],
        *,
        publish: Publish | None = None,
        now_us: int | None = None,
    ) -> Enqueued:
        if len(entries) > MAX_BATCH:
            raise BatchTooLargeError(len(entries), MAX_BATCH)
        if not entries:
            return Enqueued(stored=0)
        with self._changed:
            now_us = self._now_us(now_us)
            publisher = (entries[0].queue, publish.publisher) if publish else None
            if publish and publisher and publish.number <= self._published.get(publisher, 0):
                return Enqueued(stored=0, is_repeated=True)
            taken: list[str] = []
            new: set[tuple[str, str]] = set()
            for entry in entries:
                if (entry.queue, entry.entry_id) in new or self._has(entry):
                    taken.append(entry.entry_id)
                new.add((entry.queue, entry.entry_id))
            if taken:
                return Enqueued(stored=0, taken=tuple(taken))
            if full := self._full(entries):
                return full
            if publish and publisher:
                self._published[publisher] = publish.number
            self._store(entries, now_us)
            return Enqueued(stored=len(entries))

    def lease(
        self, worker: str, queues: Sequence[str], limit: int, *, now_us: int | None = None
    ) -> Leased:
        with self._changed:
            now_us = self._now_us(now_us)
            served = self._that_held_entries(queues)
            budget = ACTIVATION_BUDGET
            for queue in served:
                queue.leases.register(worker, now_us)
                budget -= queue.activate(budget, now_us)
            leases, budget, is_stopped = self._hand_over(worker, served, limit, budget, now_us)
            for queue in served:
                queue.end_lease_call()
                self._leave_token(queue, queue.next_due_at_us())
            due_at_us = _earliest_due_at_us(served)
            has_due = due_at_us is not None and due_at_us <= now_us
            return Leased(
                leases=tuple(leases),
                has_more=is_stopped or (has_due and not budget),
                next_due_in_us=None if due_at_us is None else max(0, due_at_us - now_us),
            )

    def settle(
        self, worker: str, outcomes: Sequence[Outcome], *, now_us: int | None = None
    ) -> tuple[Outcome, ...]:
        with self._changed:
            now_us = self._now_us(now_us)
            stale: list[Outcome] = []
            changed: dict[str, MemoryQueue] = {}
            due_before: dict[str, int | None] = {}
            for outcome in outcomes:
                queue = self._queues.get(outcome.queue)
                due_at_us = None if queue is None else queue.next_due_at_us()
                if queue is None or not queue.settle(worker, outcome, now_us):
                    stale.append(outcome)
                    continue
                changed[queue.name] = queue
                if queue.nodes.take_unblocked() or outcome.kind in _GIVING_BACK:
                    due_before.setdefault(queue.name, due_at_us)
            for queue in changed.values():
                queue.begin_epochs()
                if queue.name in due_before:
                    self._leave_token(queue, due_before[queue.name])
            return tuple(stale)

    def heartbeat(self, worker: str, *, now_us: int | None = None) -> bool:
        with self._changed:
            now_us = self._now_us(now_us)
            is_known = [queue.leases.beat(worker, now_us) for queue in self._queues.values()]
            return any(is_known)

    def held(self, worker: str) -> frozenset[tuple[str, str, int]]:
        with self._changed:
            return frozenset(
                (queue.name, entry_id, number)
                for queue in self._queues.values()
                for entry_id, number in queue.held(worker)
            )

    def reap(self, limit: int, *, now_us: int | None = None) -> Reaped:
        with self._changed:
            now_us = self._now_us(now_us)
            queues = [self._queues[name] for name in sorted(self._names())]
            done: list[TakenBack] = []
            has_more = False
            abandoned: list[Withdrawal] = []
            if not self._holds_back(now_us):
                for queue in queues:
                    taken_back = queue.reap(limit - len(done), now_us)
                    is_given_back = {TakenBack.RELEASED, TakenBack.REQUEUED} & set(taken_back)
                    if queue.nodes.take_unblocked() or is_given_back:
                        self._leave_token(queue, queue.next_due_at_us())
                    done += taken_back
                    left = islice(queue.withdrawals.abandoned(now_us), MOST_ABANDONED)
                    abandoned += [Withdrawal(queue.name, number) for number in left]
                has_more = any(queue.is_reapable(now_us) for queue in queues)
            for queue in queues:
                queue.forget_idle_keys(limit, now_us)
            return Reaped(
                released=done.count(TakenBack.RELEASED),
                requeued=done.count(TakenBack.REQUEUED),
                freed=done.count(TakenBack.FREED),
                dead=done.count(TakenBack.DEAD),
                has_more=has_more,
                abandoned=tuple(abandoned),
            )

    def wait(self, queues: Sequence[str], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for name in queues:
                    if name in self._tokens:
                        self._tokens.remove(name)
                        return True
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._changed.wait(remaining)

    def wake(self, queues: Sequence[str]) -> None:
        with self._changed:
            for queue in self._that_held_entries(queues):
                self._leave_token(queue, None)

    # -- within --------------------------------------------------------------------

    def _has(self, entry: Entry) -> bool:
        """Return whether the entry's id is in use."""
        queue = self._queues.get(entry.queue)
        return queue is not None and queue.has(entry.entry_id)

    def _full(self, entries: Sequence[Entry]) -> Enqueued | None:
        """Return the refusal of a batch for which some node has no room, None if all have."""
        more: Counter[tuple[str, KeyPath]] = Counter()
        for entry in entries:
            queue = self._open(entry.queue)
            for path in prefixes(entry.key):
                more[entry.queue, path] += 1
                most = None if entry.is_exempt else queue.most_waiting(path)
                if most and queue.waiting_below(path) + more[entry.queue, path] > most:
                    return Enqueued(stored=0, full=path, limit=most)
        return None

    def _store(self, entries: Iterable[Entry], now_us: int) -> None:
        due_before: dict[str, int | None] = {}
        for entry in entries:
            queue = self._open(entry.queue)
            due_before.setdefault(queue.name, queue.next_due_at_us())
            queue.store(entry, now_us)
        for name, due_at_us in due_before.items():
            self._leave_token(self._queues[name], due_at_us)

    def _hand_over(
        self, worker: str, queues: Sequence[MemoryQueue], limit: int, budget: int, now_us: int
    ) -> tuple[list[Lease], int, bool]:
        """Lease in the rule's order; return leases, budget left, and whether it ended that."""
        leases: list[Lease] = []
        remaining = limit
        while remaining > 0:
            leasable = [
                (level, queue.turn, place)
                for place, queue in enumerate(queues)
                if (level := queue.first_level()) is not None
            ]
            if not leasable:
                break
            queue = queues[min(leasable)[2]]
            if not queue.is_next_expired(now_us):
                self._turn += 1
                queue.turn = self._turn
                remaining -= 1
            elif budget:
                budget -= 1
            else:
                return leases, budget, True
            leases.append(queue.hand_over(worker, now_us))
        return leases, budget, False

    def _holds_back(self, now_us: int) -> bool:
        """Return whether live workers are to beat first; note that reaping ran."""
        last_us, self._last_reaped_at_us = self._last_reaped_at_us, now_us
        if last_us is None or (now_us - last_us) * 3 > self._settings.lease_us:
            self._holds_back_until_us = now_us + self._settings.lease_us
        return now_us < self._holds_back_until_us


def _earliest_due_at_us(queues: Sequence[MemoryQueue]) -> int | None:
    due = [due for queue in queues if (due := queue.next_due_at_us()) is not None]
    return min(due, default=None)

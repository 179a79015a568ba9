"""Control and look, of the engine in this process's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from celery_ranch.engines.memory_queue import MemoryQueue
from celery_ranch.scheduling.explanation import EntryState, Explanation
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import (
    TAG_LIMIT,
    DeadLetter,
    EngineSettings,
    KeyDetails,
    KeyPath,
    KeySnapshot,
    QueueSnapshot,
    valid_share,
)
from celery_ranch.scheduling.policies import ShareTarget, Target
from celery_ranch.scheduling.turns import MOST_SIBLINGS

__all__ = ["MemoryControl"]

_DEFAULT_SETTINGS = EngineSettings()


class MemoryControl:
    """The verbs of `MemoryEngine` that steer its queues and look at them.

    Args:
        settings: Lease time and limits.
        tag_limit: Where virtual time starts again from 0.
    """

    def __init__(
        self, settings: EngineSettings = _DEFAULT_SETTINGS, tag_limit: int = TAG_LIMIT
    ) -> None:
        self._settings = settings
        self._tag_limit = tag_limit
        self._changed = threading.Condition()
        self._queues: dict[str, MemoryQueue] = {}
        self._tokens: set[str] = set()
        self._clock_us = 0

    # -- control -----------------------------------------------------------------

    def set_share(
        self, queue: str, target: ShareTarget, share: float | None, *, now_us: int | None = None
    ) -> None:
        share = None if share is None else valid_share(share)
        with self._changed:
            state = self._open(queue)
            due_at_us = state.next_due_at_us()
            state.nodes.set_share(target, share, self._now_us(now_us))
            # With it holds whatever limits were set by tags or by default meanwhile.
            self._leave_token(state, due_at_us)

    def set_limits(
        self, queue: str, target: Target, limits: Limits, *, now_us: int | None = None
    ) -> None:
        with self._changed:
            state = self._open(queue)
            due_at_us = state.next_due_at_us()
            state.nodes.set_limits(target, limits, self._now_us(now_us))
            self._leave_token(state, due_at_us)

    def add_tag(self, queue: str, key: KeyPath, tag: str, *, is_only: bool = False) -> None:
        with self._changed:
            self._open(queue).nodes.policies.add_tag(key, tag, is_only=is_only)

    def remove_tag(self, queue: str, key: KeyPath, tag: str) -> None:
        with self._changed:
            self._open(queue).nodes.policies.remove_tag(key, tag)

    def tagged(self, queue: str, tag: str) -> frozenset[KeyPath]:
        with self._changed:
            state = self._queues.get(queue)
            return frozenset() if state is None else state.nodes.policies.tagged(tag)

    def set_data(self, queue: str, key: KeyPath, name: str, text: str | None) -> bool:
        with self._changed:
            return self._open(queue).nodes.policies.set_data(key, name, text)

    def pause(self, queue: str, key: KeyPath) -> None:
        with self._changed:
            self._open(queue).nodes.pause(key)

    def resume(self, queue: str, key: KeyPath) -> None:
        with self._changed:
            state = self._queues.get(queue)
            if state is not None:
                state.nodes.resume(key)
                self._leave_token(state, state.next_due_at_us())

    def cancel(self, queue: str, entry_id: str, *, now_us: int | None = None) -> bytes | None:
        with self._changed:
            state = self._queues.get(queue)
            return None if state is None else state.cancel(entry_id)

    def dead_letters(self, queue: str, offset: int = 0, limit: int = 100) -> tuple[DeadLetter, ...]:
        with self._changed:
            state = self._queues.get(queue)
            return () if state is None else state.dead.page(offset, limit)

    def retry_dead(self, queue: str, entry_id: str, *, now_us: int | None = None) -> bool:
        with self._changed:
            state = self._queues.get(queue)
            if state is None or not state.retry_dead(entry_id, self._now_us(now_us)):
                return False
            self._leave_token(state, state.next_due_at_us())
            return True

    def delete_dead(self, queue: str, entry_id: str) -> bool:
        with self._changed:
            state = self._queues.get(queue)
            return state is not None and state.delete_dead(entry_id)

    # -- look --------------------------------------------------------------------

    def queues(self) -> frozenset[str]:
        with self._changed:
            return self._names()

    def snapshot(self, queue: str, *, now_us: int | None = None) -> QueueSnapshot:
        with self._changed:
            state = self._queues.get(queue)
            if state is None:
                return QueueSnapshot(queue, 0, 0, 0, 0, 0, None)
            return state.snapshot(self._now_us(now_us))

    def keys(
        self, queue: str, cursor: int = 0, count: int = 100
    ) -> tuple[int, tuple[KeySnapshot, ...]]:
        with self._changed:
            state = self._queues.get(queue)
            return (0, ()) if state is None else state.keys(cursor, count)

    def details(self, queue: str, key: KeyPath) -> KeyDetails:
        with self._changed:
            state = self._open(queue)
            policies = state.nodes.policies
            share = policies.set_by_hand(key).share
            by_hand = 1.0 if share is None else share
            return KeyDetails(state.key_snapshot(key), by_hand, policies.data(key))

    def pending(
        self, queue: str, key: KeyPath, offset: int = 0, limit: int = 1_000
    ) -> tuple[tuple[str, bytes], ...]:
        with self._changed:
            state = self._queues.get(queue)
            return () if state is None else state.pending(key, offset, limit)

    def explain(
        self,
        queue: str,
        entry_id: str,
        *,
        most: int = MOST_SIBLINGS,
        now_us: int | None = None,
    ) -> Explanation:
        with self._changed:
            now_us = self._now_us(now_us)
            state = self._queues.get(queue)
            if state is None:
                return Explanation(entry_id, queue, EntryState.UNKNOWN, now_us, 0, 0)
            return state.explain(entry_id, most, now_us)

    def check(self, queue: str, count: int = 100) -> Iterator[Violation]:
        with self._changed:
            state = self._queues.get(queue)
            return iter(() if state is None else tuple(state.violations()))

    def warnings(self) -> tuple[str, ...]:
        return ()

    def close(self) -> None:
        """Let go of nothing: the memory goes with the engine."""

    # -- within --------------------------------------------------------------------

    def _now_us(self, now_us: int | None) -> int:
        """Return the time given, or this process's clock, which never steps back."""
        if now_us is not None:
            return now_us
        self._clock_us = max(self._clock_us, time.time_ns() // 1_000)
        return self._clock_us

    def _open(self, name: str) -> MemoryQueue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = MemoryQueue(name, self._settings, self._tag_limit)
        return queue

    def _names(self) -> frozenset[str]:
        return frozenset(name for name, q in self._queues.items() if q.stored)

    def _that_held_entries(self, names: Sequence[str]) -> list[MemoryQueue]:
        """Return those of the queues that ever held an entry, each once, in order."""
        queues = (self._queues.get(name) for name in dict.fromkeys(names))
        return [queue for queue in queues if queue is not None and queue.stored]

    def _leave_token(self, queue: MemoryQueue, due_before_us: int | None) -> None:
        """Wake one waiter if something is leasable or comes due earlier than before."""
        queue.nodes.take_unblocked()
        due_at_us = queue.next_due_at_us()
        is_earlier = due_at_us is not None and (due_before_us is None or due_at_us < due_before_us)
        if queue.first_level() is not None or is_earlier:
            self._tokens.add(queue.name)
            self._changed.notify_all()

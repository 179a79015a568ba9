"""What waits, who waits, and whether all is where it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from celery_ranch.envelope import request_facts, unpack
from celery_ranch.ranch.access import Access
from celery_ranch.scheduling.explanation import EntryState, Explanation
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.model import (
    DeadLetter,
    KeyPath,
    KeySnapshot,
    QueueSnapshot,
    key_path,
)
from celery_ranch.scheduling.policies import tag_text, tags_named

__all__ = ["Look", "PendingTask"]


@dataclass(frozen=True, slots=True)
class PendingTask:
    """A task that waits."""

    entry_id: str
    task_id: str
    task: str
    args: Any
    """The positional arguments; their `repr` where the body cannot be read here."""
    kwargs: Any
    """The keyword arguments, likewise."""


class Look(Access):
    """Looking at an application's fair queues; nothing here changes anything."""

    def status(self) -> tuple[QueueSnapshot, ...]:
        """Return the counts of every queue that ever held an entry, by name."""
        engine = self.engine
        return tuple(engine.snapshot(queue) for queue in sorted(engine.queues()))

    def keys(self, queue: str | None = None) -> Iterator[KeySnapshot]:
        """Yield each key of a queue once, idle ones that are remembered too."""
        engine, name = self.engine, self._queue(queue)
        seen: set[KeyPath] = set()
        cursor = 0
        while True:
            cursor, page = engine.keys(name, cursor)
            for snapshot in page:
                if snapshot.key not in seen:
                    seen.add(snapshot.key)
                    yield snapshot
            if not cursor:
                return

    def key(self, key: Any, queue: str | None = None) -> KeySnapshot:
        """Return one key of a queue as it stands, an idle one if it is not remembered.

        Raises:
            InvalidKeyError, StoreError: It is no key; the store is away.
        """
        return self.engine.details(self._queue(queue), key_path(key)).snapshot

    def custom_data(self, key: Any, queue: str | None = None) -> dict[str, Any]:
        """Return what `set_custom_data` noted of a key, by name."""
        data = self.engine.details(self._queue(queue), key_path(key)).data
        return {name: json.loads(text) for name, text in sorted(data.items())}

    def tagged(self, name: str, value: str | None = None, queue: str | None = None) -> list[Any]:
        """Return the keys that have a tag, sorted; without a value, any of that name.

        Raises:
            InvalidTagError, StoreError: It is no tag; the store is away.
        """
        tag = tags_named(name) if value is None else tag_text(name, value)
        paths = self.engine.tagged(self._queue(queue), tag)
        return [path[0] if len(path) == 1 else path for path in sorted(paths)]

    def pending(
        self, key: Any, queue: str | None = None, offset: int = 0, limit: int = 1_000
    ) -> tuple[PendingTask, ...]:
        """Return a key's tasks that wait, in their order, delayed ones last."""
        path = key_path(key)
        entries = self.engine.pending(self._queue(queue), path, offset, limit)
        return tuple(self._pending_task(entry_id, message) for entry_id, message in entries)

    def explain(
        self, task_id: str, queue: str | None = None, *, since: Explanation | None = None
    ) -> Explanation:
        """Say where a task is, what holds it back, and how many go before it.

        As a text it is a sentence. Nothing changes by it, and it takes the
        store a few milliseconds at most, however many keys and tasks wait.

        Args:
            task_id: The task's id, or the entry's where a task has been
                published again under the same id, as a retry is.
            queue: Where it is; None means that all queues are looked in.
            since: What was said earlier of any task of its queue. Workers are
                taken to go on as fast as they did since then, and it is told
                when the task should start.

        Raises:
            StoreError: The store is away, or what is under its keys is not ours.
        """
        engine = self.engine
        names = [self._queue(queue)]
        if queue is None:
            names = sorted(engine.queues()) or names
        for name in names:
            told = engine.explain(name, task_id)
            if told.state is not EntryState.UNKNOWN:
                break
        return told if since is None else told.expected_after(since)

    def dead_letters(
        self, queue: str | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[DeadLetter, ...]:
        """Return a queue's dead letters, the latest first."""
        return self.engine.dead_letters(self._queue(queue), offset, limit)

    def task_of(self, letter: DeadLetter) -> PendingTask:
        """Return the task of a dead letter; its names are empty where it cannot be read."""
        return self._pending_task(letter.entry_id, letter.message)

    def check(self, queue: str | None = None, limit: int = 1_000) -> tuple[Violation, ...]:
        """Return what is wrong in the store; nothing where all is well.

        A store may be in use while it is checked, and goes on: it is looked at
        slice by slice, and what is returned was wrong at one instant. Something
        is wrong only where somebody else wrote to the store or took from it.

        Args:
            queue: Which to look at; None means all queues.
            limit: How many violations to return at most.

        Raises:
            StoreError: The store is away, or what is under its keys is not ours.
        """
        engine = self.engine
        names = {*engine.queues(), self.default_queue} if queue is None else {self._queue(queue)}
        found = chain.from_iterable(engine.check(name) for name in sorted(names))
        return tuple(dict.fromkeys(islice(found, limit)))

    def _pending_task(self, entry_id: str, message: bytes) -> PendingTask:
        try:
            envelope = unpack(message, accept_pickle=self._accepts_pickle())
        except ValueError:
            return PendingTask(entry_id, "", "", "", "")
        request = request_facts(envelope, self.app.conf.accept_content)
        return PendingTask(
            entry_id, request["id"], request["task"], request["args"], request["kwargs"]
        )

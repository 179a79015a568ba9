"""The guides' live views of a backlog, of when its keys were served, and of the whole."""

from __future__ import annotations

import weakref
from typing import Any

from celery import Celery
from celery.utils.log import get_logger

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.errors import StoreError
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import KeyPath

__all__ = [
    "BacklogView",
    "LastConfigured",
    "LastServedView",
    "get_status",
    "last_configured",
    "system_status",
]

logger = get_logger(__name__)


class LastConfigured:
    """The application that was configured last, or else the current one."""

    def __init__(self) -> None:
        self._app: weakref.ref[Celery] | None = None

    def remember(self, app: Celery) -> None:
        """Let the views look at this application from now on."""
        self._app = weakref.ref(app)

    @property
    def ranch(self) -> Ranch:
        """That application's fair scheduling."""
        return Ranch.of(self._app() if self._app is not None else None)


#: What the views look at that the guides import ready made.
last_configured = LastConfigured()


class BacklogView:
    """The tasks that wait, in all queues, as they are when asked."""

    def get_all_lru_keys(self) -> list[Any]:
        """Return every key with a task that waits, delayed ones included."""
        ranch = last_configured.ranch
        keys = {
            _shown(snapshot.key)
            for queue in ranch.engine.queues()
            for snapshot in ranch.keys(queue)
            if snapshot.waiting or snapshot.delayed
        }
        return sorted(keys, key=str)

    def get_tasks_by_lru_key(self, lru_key: Any) -> dict[str, tuple[str, Any, Any]]:
        """Return a key's tasks that wait: task id -> (task name, args, kwargs)."""
        ranch = last_configured.ranch
        tasks: dict[str, tuple[str, Any, Any]] = {}
        for queue in sorted(ranch.engine.queues()):
            offset = 0
            while page := ranch.pending(lru_key, queue, offset):
                offset += len(page)
                for task in page:
                    # A retry waits under its task's id a second time.
                    name = task.entry_id if task.task_id in tasks else task.task_id
                    tasks[name or task.entry_id] = (task.task, task.args, task.kwargs)
        return tasks


class LastServedView:
    """When keys were served, in all queues, as it is when asked."""

    def get_last_used_times(self) -> dict[Any, float]:
        """Return when a task of each key was leased last, in seconds since the epoch.

        Keys that were never served, or so long ago that it is forgotten, are
        not among them.
        """
        ranch = last_configured.ranch
        times: dict[Any, float] = {}
        for queue in ranch.engine.queues():
            for snapshot in ranch.keys(queue):
                if snapshot.last_leased_at_us is not None:
                    key, seconds = _shown(snapshot.key), snapshot.last_leased_at_us / 1_000_000
                    times[key] = max(seconds, times.get(key, 0.0))
        return times


def system_status(ranch: Ranch) -> dict[str, Any]:
    """Return how an application's queues are, together, as `LRUTask.get_system_status`."""
    engine = ranch.engine
    is_memory = isinstance(engine, MemoryEngine)
    status = {
        "initialized": True,
        "storage_type": "InMemoryStorage" if is_memory else "RedisStorage",
        "backlog_size": 0,
        "unique_lru_keys": 0,
        "running": 0,
        "dead_letters": 0,
        "health": False,
    }
    try:
        counts = ranch.status()
        keys = {
            snapshot.key
            for each in counts
            for snapshot in ranch.keys(each.queue)
            if snapshot.waiting or snapshot.delayed
        }
    except StoreError as error:
        logger.error("The store cannot be looked at: %s", error)
        return status
    return status | {
        "backlog_size": sum(each.waiting + each.delayed for each in counts),
        "unique_lru_keys": len(keys),
        "running": sum(each.leased for each in counts),
        "dead_letters": sum(each.dead for each in counts),
        "health": True,
    }


def get_status() -> dict[str, Any]:
    """Return `system_status` of the application that was configured last, or the current one."""
    return system_status(last_configured.ranch)


def _shown(key: KeyPath) -> str | KeyPath:
    return key[0] if len(key) == 1 else key

"""What the page asks for besides the live feed: keys, tasks, dead letters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from starlette.datastructures import QueryParams

from celery_ranch.observing.dashboard.answers import BadRequest
from celery_ranch.observing.dashboard.requests import asked, queue_named
from celery_ranch.observing.history import History
from celery_ranch.observing.observer import Observer
from celery_ranch.observing.status import Flow
from celery_ranch.ranch import PendingTask, Ranch
from celery_ranch.scheduling.explanation import Explanation
from celery_ranch.scheduling.figures import MAX_MEASURED
from celery_ranch.scheduling.model import KeyPath, key_path

__all__ = ["counts", "looks"]

Look: TypeAlias = Callable[[Ranch, QueryParams], dict[str, Any]]

#: How much of a task's arguments is shown.
_LONGEST_ARGUMENTS = 500
_MOST_SKIPPED = 10_000_000
_PAGE = 50

_LONGEST_ID = 1_024
_MOST_HOURS = 6
#: Over how long a time it is seen how fast workers go.
_WATCHED_US = 60_000_000
_MOST_QUEUES = 1_000


class _SeeingKeys:
    """Tells of keys, and knows more of those that it is asked for again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observer: Observer | None = None

    def __call__(self, ranch: Ranch, params: QueryParams) -> dict[str, Any]:
        """Return one key as it stands, and the first of its tasks."""
        queue, path = queue_named(ranch, params.get("queue")), _path(params)
        offset = asked(params, "offset", 0, _MOST_SKIPPED)
        with self._lock:
            self._observer = self._observer or Observer(ranch)
            status = self._observer.key(path, queue)
        return {
            "queue": queue,
            "status": status,
            "tags": ranch.key(path, queue).tags,
            "data": ranch.custom_data(path, queue),
            "tasks": [_task(each) for each in ranch.pending(path, queue, offset, _PAGE)],
        }


def _dead(ranch: Ranch, params: QueryParams) -> dict[str, Any]:
    """Return some of a queue's dead letters, the latest first."""
    queue = queue_named(ranch, params.get("queue"))
    offset = asked(params, "offset", 0, _MOST_SKIPPED)
    letters = ranch.dead_letters(queue, offset, _PAGE)
    return {
        "queue": queue,
        "offset": offset,
        "dead": ranch.engine.snapshot(queue).dead,
        "letters": [
            {
                **_task(ranch.task_of(each)),
                "key": each.key,
                "deliveries": each.deliveries,
                "reason": each.reason,
                "died_at": each.died_at_us / 1e6,
            }
            for each in letters
        ],
    }


def counts(ranch: Ranch, queue: str, paths: Sequence[KeyPath]) -> tuple[int, int, int]:
    """Return how many tasks of keys and of all below them wait, are delayed, and workers have."""
    waiting = delayed = in_service = 0
    for at in range(0, len(paths), MAX_MEASURED):
        for found in ranch.engine.measure(queue, paths[at : at + MAX_MEASURED]):
            waiting += sum(each.waiting for each in found.stands)
            delayed += found.delayed
            in_service += found.in_service
    return waiting, delayed, in_service


class _Remembering:
    """Tells how queues fared in the last hours; of minutes that are over it asks once."""

    def __init__(self) -> None:
        self._histories: dict[str, tuple[threading.Lock, History]] = {}

    def __call__(self, ranch: Ranch, params: QueryParams) -> dict[str, Any]:
        """Return the minutes of a queue's last hours, by column."""
        queue = queue_named(ranch, params.get("queue"))
        hours = asked(params, "hours", _MOST_HOURS, _MOST_HOURS)
        if len(self._histories) >= _MOST_QUEUES:
            self._histories.clear()
        new = (threading.Lock(), History(ranch.engine, queue))
        lock, history = self._histories.setdefault(queue, new)
        with lock:
            moments = history.read(max(1, hours))
        flows = [each.flow or Flow() for each in moments]
        return {
            "queue": queue,
            "at": [each.at for each in moments],
            "stored": [each.enqueued_per_second for each in flows],
            "ended": [each.finished_per_second for each in flows],
            "failed": [each.failed_per_second for each in flows],
            "wait_p50": [each.wait.p50 for each in flows],
            "wait_p95": [each.wait.p95 for each in flows],
            "run_p50": [each.run.p50 for each in flows],
            "run_p95": [each.run.p95 for each in flows],
        }


class _Explaining:
    """Says why a task waits, and when it should start, by how fast workers went since before."""

    def __init__(self) -> None:
        self._before: dict[str, Explanation] = {}

    def __call__(self, ranch: Ranch, params: QueryParams) -> dict[str, Any]:
        """Return where a task is, what holds it back, and what goes before it."""
        task_id = params.get("id", "")
        if not 0 < len(task_id) <= _LONGEST_ID or not _is_unicode(task_id):
            raise BadRequest(
                f"which task is meant has to be said: id=, of 1 to {_LONGEST_ID} letters"
            )
        told = ranch.explain(task_id)
        before = self._before.get(told.queue)
        if before is not None:
            told = told.expected_after(before)
        if before is None or told.at_us - before.at_us > _WATCHED_US:
            self._remember(told)
        return {"id": task_id, "sentence": str(told), "facts": told}

    def _remember(self, told: Explanation) -> None:
        if len(self._before) >= _MOST_QUEUES:
            self._before.clear()
        self._before[told.queue] = told


def looks() -> dict[str, Look]:
    """Return what can be looked for by one page's server, by the last part of its address.

    Some remember what they saw, of one application's queues.
    """
    return {
        "key": _SeeingKeys(),
        "dead": _dead,
        "task": _Explaining(),
        "history": _Remembering(),
    }


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)


def _path(params: QueryParams) -> KeyPath:
    parts = params.getlist("part")
    if not parts:
        raise BadRequest("which key is meant has to be said: part=acme&part=alice")
    return key_path(tuple(parts))


def _task(task: PendingTask) -> dict[str, Any]:
    return {
        "entry_id": task.entry_id,
        "task_id": task.task_id,
        "task": task.task,
        "args": _cut(task.args),
        "kwargs": _cut(task.kwargs),
    }


def _cut(value: Any) -> str:
    """Return arguments as text, not longer than a page can show."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_ARGUMENTS else text[: _LONGEST_ARGUMENTS - 1] + "…"

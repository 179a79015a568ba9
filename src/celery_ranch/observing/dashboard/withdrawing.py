"""Controls of what waits: cancelling it."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery_ranch.errors import UnknownEntryError
from celery_ranch.observing.dashboard.looking import counts
from celery_ranch.observing.dashboard.plans import Plan, number_of, queue_of, waiting_of
from celery_ranch.observing.dashboard.requests import Said
from celery_ranch.observing.notation import written_key
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.policies import tag_text

__all__ = ["plan_cancel_key", "plan_cancel_tag", "plan_cancel_task"]

#: Of how many keys with a tag it is counted what waits.
_MOST_COUNTED = 1_000

_CANCELLED = (
    "Their state becomes REVOKED, and chords hear of it. What is sent later is left alone.",
    "What workers have already runs on.",
)


def plan_cancel_task(ranch: Ranch, said: Said) -> Plan:
    """Say what cancelling a task will do."""
    said.only("task_id")
    task_id = said.text("task_id")

    def cancel() -> str:
        if not ranch.cancel(task_id):
            raise UnknownEntryError(task_id)
        return f"The task {task_id} is cancelled."

    return Plan(
        (
            f"The task {task_id} is dropped if it still waits; its state becomes REVOKED.",
            "One that runs already runs on.",
        ),
        "Cancel the task",
        True,
        cancel,
    )


def plan_cancel_key(ranch: Ranch, said: Said) -> Plan:
    """Say what cancelling all of a key will do."""
    said.only("queue", "key")
    queue, path = queue_of(ranch, said), said.key()
    waiting, delayed, _ = counts(ranch, queue, [path])
    return Plan(
        (
            waiting_of(ranch, queue, path),
            f"{number_of(waiting + delayed, 'task')} will be dropped, all at one instant.",
            *_CANCELLED,
        ),
        "Cancel all of them",
        True,
        partial(_cancelled, ranch, queue, written_key(path), key=path),
    )


def plan_cancel_tag(ranch: Ranch, said: Said) -> Plan:
    """Say what cancelling all of a tag will do."""
    said.only("queue", "tag")
    queue, tag = queue_of(ranch, said), said.tag()
    paths = sorted(ranch.engine.tagged(queue, tag_text(*tag)))
    known = paths[:_MOST_COUNTED]
    waiting, delayed, _ = counts(ranch, queue, known)
    more = "" if known == paths else "more than "
    return Plan(
        (
            f"{number_of(len(paths), 'key')} of the queue {queue} with the tag {'='.join(tag)}:"
            f" {more}{number_of(waiting, 'task')} waiting and {delayed:,} delayed.",
            "All of them will be dropped, those of each key at one instant.",
            *_CANCELLED,
        ),
        "Cancel all of them",
        True,
        partial(_cancelled, ranch, queue, f"the tag {'='.join(tag)}", tag=tag),
    )


def _cancelled(ranch: Ranch, queue: str, who: str, **whose: Any) -> str:
    number = ranch.cancel(queue=queue, **whose)
    return f"{number_of(number, 'task')} of {who} in {queue}: cancelled."

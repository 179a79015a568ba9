"""Controls that let what waits wait elsewhere: under another key, in another queue."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery_ranch.errors import UnknownEntryError
from celery_ranch.observing.dashboard.answers import BadRequest
from celery_ranch.observing.dashboard.looking import counts
from celery_ranch.observing.dashboard.plans import Plan, number_of, queue_of, waiting_of
from celery_ranch.observing.dashboard.requests import Said
from celery_ranch.observing.notation import written_key
from celery_ranch.ranch import Ranch

__all__ = ["plan_move_key", "plan_move_task"]

_MOVED = "Priority, cost, due time and expiry go along. What workers have already runs on."
_CALLS = " What they call has the new key as well."


def plan_move_key(ranch: Ranch, said: Said) -> Plan:
    """Say what moving all of a key will do."""
    said.only("queue", "key", "to_key", "to_queue")
    queue, path = queue_of(ranch, said), said.key()
    target = _target(said)
    waiting, delayed, _ = counts(ranch, queue, [path])
    number, where = number_of(waiting + delayed, "task"), _where(target)
    return Plan(
        (
            waiting_of(ranch, queue, path),
            f"{number} will wait {where}, from one instant on.",
            _MOVED + (_CALLS if "to_key" in target else ""),
        ),
        "Move all of them",
        False,
        partial(_move_key, ranch, queue, target, where, path),
    )


def plan_move_task(ranch: Ranch, said: Said) -> Plan:
    """Say what moving a task will do."""
    said.only("task_id", "to_key", "to_queue")
    task_id, target = said.text("task_id"), _target(said)
    where = _where(target)

    def move() -> str:
        if not ranch.move(task_id, **target):
            raise UnknownEntryError(task_id)
        return f"The task {task_id} waits {where}."

    return Plan(
        (f"The task {task_id} will wait {where}, if it still waits.", _MOVED),
        "Move the task",
        False,
        move,
    )


def _target(said: Said) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if said.has("to_key"):
        target["to_key"] = said.key("to_key")
    if said.has("to_queue"):
        target["to_queue"] = said.text("to_queue")
    if not target:
        raise BadRequest("where to has to be said: another key, another queue, or both")
    return target


def _where(target: dict[str, Any]) -> str:
    key = [f"under {written_key(target['to_key'])}"] if "to_key" in target else []
    queue = [f"in the queue {target['to_queue']}"] if "to_queue" in target else []
    return " ".join(key + queue)


def _move_key(ranch: Ranch, queue: str, target: dict[str, Any], where: str, key: Any) -> str:
    number = ranch.move(queue=queue, key=key, **target)
    return f"{number_of(number, 'task')} of {written_key(key)} in {queue}: now {where}."

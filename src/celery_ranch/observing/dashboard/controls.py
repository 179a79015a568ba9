"""The controls of the page: what each will do, and the doing of it.

Both are asked for with the same facts: first what it will do, in sentences with
figures of that moment, then that it be done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery_ranch.errors import UnknownEntryError
from celery_ranch.observing.dashboard.answers import BadRequest
from celery_ranch.observing.dashboard.looking import counts
from celery_ranch.observing.dashboard.requests import Said, queue_named
from celery_ranch.observing.notation import written_key
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import KeyPath, valid_share
from celery_ranch.scheduling.policies import tag_text

__all__ = ["CONTROLS", "Control", "Plan"]

#: How many dead letters are named in one request.
_MOST_NAMED = 1_000

#: Of how many keys with a tag it is counted what waits.
_MOST_COUNTED = 1_000

_CANCELLED = (
    "Their state becomes REVOKED, and chords hear of it. What is sent later is left alone.",
    "What workers have already runs on.",
)
_HOLDS = "It holds at once, for what waits already too."
_HOLDS_LATER = "It holds for a key when something of it is next stored, leased or ended."


@dataclass(frozen=True, slots=True)
class Plan:
    """What a control will do."""

    sentences: tuple[str, ...]
    """As people read it."""
    button: str
    """What the button says that does it."""
    drops: bool
    """Whether tasks are lost by it."""
    do: Callable[[], str | None]
    """Does it, and may return in a sentence what was done."""
    done: str = ""
    """What was done, where that is known before."""


Control = Callable[[Ranch, Said], Plan]


def _share(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "key", "tag", "depth", "share")
    queue, target = _queue(ranch, said), said.target()
    share = said.figure("share")
    if share is not None:
        valid_share(share)
    to = "its own share taken back" if share is None else f"share {share:g}"
    who = _named(target)
    before = _share_before(ranch, queue, target)
    return Plan(
        (
            f"{who}: {to}, in the queue {queue}.{before}",
            "Who has share 2 is served twice as often as who has 1.",
            _when(target),
        ),
        "Set share",
        False,
        partial(ranch.set_share, share=share, queue=queue, **target),
        f"{who} in {queue}: {to}.",
    )


def _limits(ranch: Ranch, said: Said) -> Plan:
    names = ("concurrency", "rate", "burst", "backlog")
    said.only("queue", "key", "tag", "depth", *names)
    queue, target = _queue(ranch, said), said.target()
    given = {name: said.figure(name) for name in names if said.has(name)}
    limits_of(**given)
    told = ", ".join(f"{name} {_figure(value)}" for name, value in given.items())
    who = _named(target)
    return Plan(
        (
            f"{who}: {told or 'no limits of its own'}, in the queue {queue}.",
            "All of its limits are set anew: what is left empty is not limited here, so that"
            " a tag or a default decides.",
            "A key at a limit steps aside; others go on. " + _when(target),
        ),
        "Set limits",
        False,
        partial(ranch.set_limits, queue=queue, **target, **given),
        f"{who} in {queue}: {told or 'no limits of its own'}.",
    )


def _pause(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "key")
    queue, path = _queue(ranch, said), said.key()
    who = written_key(path)
    return Plan(
        (
            _waiting(ranch, queue, path),
            "They wait until the key is resumed, and keep their places. What runs, runs on.",
        ),
        "Pause",
        False,
        partial(ranch.pause, path, queue),
        f"{who} in {queue} is paused.",
    )


def _resume(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "key")
    queue, path = _queue(ranch, said), said.key()
    who = written_key(path)
    return Plan(
        (
            _waiting(ranch, queue, path),
            "They are served again, with no credit for the pause.",
        ),
        "Resume",
        False,
        partial(ranch.resume, path, queue),
        f"{who} in {queue} is served again.",
    )


def _cancel_task(ranch: Ranch, said: Said) -> Plan:
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


def _cancel_key(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "key")
    queue, path = _queue(ranch, said), said.key()
    waiting, delayed, _ = counts(ranch, queue, [path])
    return Plan(
        (
            _waiting(ranch, queue, path),
            f"{_number(waiting + delayed, 'task')} will be dropped, all at one instant.",
            *_CANCELLED,
        ),
        "Cancel all of them",
        True,
        partial(_cancelled, ranch, queue, written_key(path), key=path),
    )


def _cancel_tag(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "tag")
    queue, tag = _queue(ranch, said), said.tag()
    paths = sorted(ranch.engine.tagged(queue, tag_text(*tag)))
    known = paths[:_MOST_COUNTED]
    waiting, delayed, _ = counts(ranch, queue, known)
    more = "" if known == paths else "more than "
    return Plan(
        (
            f"{_number(len(paths), 'key')} of the queue {queue} with the tag {'='.join(tag)}:"
            f" {more}{_number(waiting, 'task')} waiting and {delayed:,} delayed.",
            "All of them will be dropped, those of each key at one instant.",
            *_CANCELLED,
        ),
        "Cancel all of them",
        True,
        partial(_cancelled, ranch, queue, f"the tag {'='.join(tag)}", tag=tag),
    )


def _retry_dead(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "entry_ids")
    queue, ids = _queue(ranch, said), said.texts("entry_ids", _MOST_NAMED)
    return Plan(
        (
            f"{_number(len(ids), 'dead letter')} of the queue {queue} will wait again, as if"
            " just stored, with no deliveries counted.",
        ),
        "Retry",
        False,
        lambda: _of_each(ids, lambda one: ranch.retry_dead(one, queue), "waits again"),
    )


def _delete_dead(ranch: Ranch, said: Said) -> Plan:
    said.only("queue", "entry_ids")
    queue, ids = _queue(ranch, said), said.texts("entry_ids", _MOST_NAMED)
    return Plan(
        (
            f"{_number(len(ids), 'dead letter')} of the queue {queue} will be dropped for good.",
            "Nobody can bring them back.",
        ),
        "Delete for good",
        True,
        lambda: _of_each(ids, lambda one: ranch.delete_dead(one, queue), "is deleted"),
    )


#: By the last part of their addresses.
CONTROLS: dict[str, Control] = {
    "share": _share,
    "limits": _limits,
    "pause": _pause,
    "resume": _resume,
    "cancel-task": _cancel_task,
    "cancel-key": _cancel_key,
    "cancel-tag": _cancel_tag,
    "retry-dead": _retry_dead,
    "delete-dead": _delete_dead,
}


def _queue(ranch: Ranch, said: Said) -> str:
    return queue_named(ranch, said.text("queue") if said.has("queue") else None)


def _named(target: dict[str, Any]) -> str:
    if "key" in target:
        return written_key(target["key"])
    if "tag" in target:
        return "Each key with the tag {}={}".format(*target["tag"])
    return f"By default, each key of {target['depth']} parts"


def _when(target: dict[str, Any]) -> str:
    return _HOLDS if "key" in target else _HOLDS_LATER


def _share_before(ranch: Ranch, queue: str, target: dict[str, Any]) -> str:
    if "key" in target:
        return f" It is {ranch.key(target['key'], queue).share:g} now."
    if "tag" in target:
        number = len(ranch.tagged(target["tag"][0], target["tag"][1], queue))
        return f" {_number(number, 'key')} {'has' if number == 1 else 'have'} it now."
    return ""


def _waiting(ranch: Ranch, queue: str, path: KeyPath) -> str:
    waiting, delayed, in_service = counts(ranch, queue, [path])
    return (
        f"{written_key(path)}, with all below it, has {_number(waiting, 'task')} waiting,"
        f" {delayed:,} delayed and {in_service:,} with workers, in the queue {queue}."
    )


def _cancelled(ranch: Ranch, queue: str, who: str, **whose: Any) -> str:
    number = ranch.cancel(queue=queue, **whose)
    return f"{_number(number, 'task')} of {who} in {queue}: cancelled."


def _number(number: int, what: str) -> str:
    """Return how many of what.

    Example:
        >>> _number(1, "key"), _number(1234, "key"), _number(2, "key")
        ('1 key', '1,234 keys', '2 keys')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _figure(value: Any) -> str:
    return "unlimited" if value == float("inf") else str(value)


def _of_each(ids: tuple[str, ...], do: Callable[[str], None], done: str) -> str:
    """Do something with each, as far as it is there; return how many were."""
    missing = 0
    for one in ids:
        try:
            do(one)
        except UnknownEntryError:
            missing += 1
    if missing == len(ids):
        raise BadRequest(f"{_number(missing, 'dead letter')} had moved on; nothing was done.")
    rest = f", {missing:,} had moved on" if missing else ""
    return f"{_number(len(ids) - missing, 'dead letter')}: each {done}{rest}."

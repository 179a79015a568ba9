"""Controls of dead letters: back to life, or gone for good."""

from __future__ import annotations

from collections.abc import Callable

from celery_ranch.errors import UnknownEntryError
from celery_ranch.observing.dashboard.answers import BadRequest
from celery_ranch.observing.dashboard.plans import Plan, number_of, queue_of
from celery_ranch.observing.dashboard.requests import Said
from celery_ranch.observing.notation import written_key
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import KeyPath

__all__ = [
    "plan_delete_all_dead",
    "plan_delete_dead",
    "plan_retry_all_dead",
    "plan_retry_dead",
]

#: How many dead letters are named in one request.
_MOST_NAMED = 1_000


def plan_retry_dead(ranch: Ranch, said: Said) -> Plan:
    """Say what retrying dead letters will do."""
    said.only("queue", "entry_ids")
    queue, ids = queue_of(ranch, said), said.texts("entry_ids", _MOST_NAMED)
    return Plan(
        (
            f"{number_of(len(ids), 'dead letter')} of the queue {queue} will wait again, as if"
            " just stored, with no deliveries counted.",
        ),
        "Retry",
        False,
        lambda: _of_each(ids, lambda one: ranch.retry_dead(one, queue), "waits again"),
    )


def plan_delete_dead(ranch: Ranch, said: Said) -> Plan:
    """Say what deleting dead letters will do."""
    said.only("queue", "entry_ids")
    queue, ids = queue_of(ranch, said), said.texts("entry_ids", _MOST_NAMED)
    return Plan(
        (
            f"{number_of(len(ids), 'dead letter')} of the queue {queue} will be dropped for good.",
            "Nobody can bring them back.",
        ),
        "Delete for good",
        True,
        lambda: _of_each(ids, lambda one: ranch.delete_dead(one, queue), "is deleted"),
    )


def plan_retry_all_dead(ranch: Ranch, said: Said) -> Plan:
    """Say what retrying all dead letters, or all of a key, will do."""
    queue, key, sentence = _all(ranch, said)
    return Plan(
        (f"{sentence} will wait again, as if just stored, with no deliveries counted.",),
        "Retry all of them",
        False,
        lambda: f"{number_of(ranch.retry_all_dead(key, queue), 'dead letter')}: each waits again.",
    )


def plan_delete_all_dead(ranch: Ranch, said: Said) -> Plan:
    """Say what deleting all dead letters, or all of a key, will do."""
    queue, key, sentence = _all(ranch, said)
    return Plan(
        (f"{sentence} will be dropped for good.", "Nobody can bring them back."),
        "Delete all for good",
        True,
        lambda: f"{number_of(ranch.delete_all_dead(key, queue), 'dead letter')}: each is deleted.",
    )


def _all(ranch: Ranch, said: Said) -> tuple[str, KeyPath | None, str]:
    said.only("queue", "key")
    queue, key = queue_of(ranch, said), said.key() if said.has("key") else None
    number = number_of(ranch.engine.snapshot(queue).dead, "dead letter")
    if key is None:
        return queue, key, f"All of the queue {queue}: {number}"
    return queue, key, f"Those of {written_key(key)} among {number} of the queue {queue}"


def _of_each(ids: tuple[str, ...], do: Callable[[str], None], done: str) -> str:
    """Do something with each, as far as it is there; return how many were."""
    missing = 0
    for one in ids:
        try:
            do(one)
        except UnknownEntryError:
            missing += 1
    if missing == len(ids):
        raise BadRequest(f"{number_of(missing, 'dead letter')} had moved on; nothing was done.")
    rest = f", {missing:,} had moved on" if missing else ""
    return f"{number_of(len(ids) - missing, 'dead letter')}: each {done}{rest}."

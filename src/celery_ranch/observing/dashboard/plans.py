"""What a control of the page will do, in sentences with figures of the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from celery_ranch.observing.dashboard.looking import counts
from celery_ranch.observing.dashboard.requests import Said, queue_named
from celery_ranch.observing.notation import written_key
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import KeyPath

__all__ = ["Control", "Plan", "number_of", "queue_of", "waiting_of"]


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


Control: TypeAlias = Callable[[Ranch, Said], Plan]


def queue_of(ranch: Ranch, said: Said) -> str:
    """Return the queue that a request names, or the default one."""
    return queue_named(ranch, said.text("queue") if said.has("queue") else None)


def waiting_of(ranch: Ranch, queue: str, path: KeyPath) -> str:
    """Return how much of a key waits, is delayed and runs."""
    waiting, delayed, in_service = counts(ranch, queue, [path])
    return (
        f"{written_key(path)}, with all below it, has {number_of(waiting, 'task')} waiting,"
        f" {delayed:,} delayed and {in_service:,} with workers, in the queue {queue}."
    )


def number_of(number: int, what: str) -> str:
    """Return how many of what.

    Example:
        >>> number_of(1, "key"), number_of(1234, "key"), number_of(2, "key")
        ('1 key', '1,234 keys', '2 keys')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"

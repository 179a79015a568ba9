"""From a message and its call to the entry that is stored."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from numbers import Real
from typing import Any

from celery.app.amqp import task_message
from celery.utils.time import maybe_iso8601, maybe_make_aware

from celery_ranch.publishing.terms import Terms
from celery_ranch.scheduling.model import Entry, KeyPath

__all__ = [
    "EntryFacts",
    "TimedMessage",
    "another_id",
    "facts_of",
    "message_facts",
    "short_repr",
    "timed",
]

#: The longest delay and the latest date an entry takes, in microseconds:
#: beyond the year 2190, and their sum is still an exact integer everywhere.
_LONGEST_US = 7_000_000_000_000_000

_PLAIN_NUMBERS = frozenset((int, float, bool, type(None)))


class TimedMessage(task_message):
    """A Celery task message that still knows what was given in seconds.

    Celery turns `countdown` and `expires` into dates by this computer's
    clock; the store counts them by its own.
    """

    countdown: float | None = None
    expires_in: float | None = None


def timed(message: Any, countdown: Any, expires: Any) -> Any:
    """Return a message that knows its countdown and expiry in seconds, if any."""
    has_expiry = isinstance(expires, Real)
    if not countdown and not has_expiry:
        return message
    message = TimedMessage(*message)
    message.countdown = float(countdown) if countdown else None
    message.expires_in = float(expires) if has_expiry else None
    return message


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What is known of an entry before its message is written."""

    entry_id: str
    key: KeyPath
    queue: str
    terms: Terms
    due_in_us: int | None = None
    due_at_us: int | None = None
    expires_in_us: int | None = None
    expires_at_us: int | None = None

    def entry(self, message: bytes) -> Entry:
        """Return the entry."""
        return Entry(
            entry_id=self.entry_id,
            key=self.key,
            queue=self.queue,
            message=message,
            due_at_us=self.due_at_us,
            due_in_us=self.due_in_us,
            expires_at_us=self.expires_at_us,
            expires_in_us=self.expires_in_us,
            level=self.terms.level,
            cost=self.terms.cost,
            is_exempt=self.terms.is_exempt,
        )


def another_id(entry: Entry, task_id: str) -> Entry:
    """Return the entry under another id, because its task's own is taken."""
    return replace(entry, entry_id=_suffixed(task_id))


def facts_of(message: Any) -> Mapping[str, Any]:
    """Return where a message of either task protocol says what it is."""
    facts: Mapping[str, Any] = message[0] if "id" in message[0] else message[2]
    return facts


def message_facts(
    message: Any, key: KeyPath, queue: str, terms: Terms, running_id: str | None, timezone: Any
) -> EntryFacts:
    """Return what is known of a message's entry.

    The entry bears the task's id, but for a retry or a replacement: those
    are published while the task's first entry is still there.

    Args:
        message: What Celery sends, of either task protocol.
        key: On whose behalf it waits.
        queue: Where.
        terms: On what terms.
        running_id: The id of the task that is running in this thread.
        timezone: What dates without a timezone are in.
    """
    facts = facts_of(message)
    task_id = str(facts["id"])
    is_first = not facts.get("retries") and task_id != running_id
    due_in = getattr(message, "countdown", None)
    expires_in = getattr(message, "expires_in", None)
    eta, expires = facts.get("eta"), facts.get("expires")
    return EntryFacts(
        entry_id=task_id if is_first else _suffixed(task_id),
        key=key,
        queue=queue,
        terms=terms,
        due_in_us=_microseconds(due_in) if due_in is not None else None,
        due_at_us=_since_epoch_us(eta, timezone) if eta and due_in is None else None,
        expires_in_us=_microseconds(expires_in) if expires_in is not None else None,
        expires_at_us=(
            _since_epoch_us(expires, timezone) if expires and expires_in is None else None
        ),
    )


def short_repr(arguments: Any) -> str | None:
    """Return what Celery's `saferepr` says of arguments, where that is quickly found out.

    It takes a good part of a call, also for nothing but a number or two.

    Example:
        >>> short_repr((1, None, 2.5)), short_repr({}), short_repr(("a",))
        ('(1, None, 2.5)', '{}', None)
    """
    if type(arguments) is dict:
        return None if arguments else "{}"
    is_short = type(arguments) in (tuple, list) and len(arguments) <= 4
    if not is_short or not all(type(each) in _PLAIN_NUMBERS for each in arguments):
        return None
    text = repr(arguments)
    return text if len(text) <= 100 else None


def _suffixed(task_id: str) -> str:
    return f"{task_id}.{secrets.token_urlsafe(6)}"


def _microseconds(seconds: float) -> int:
    return max(0, min(round(seconds * 1_000_000), _LONGEST_US))


def _since_epoch_us(date: str | datetime, timezone: Any) -> int:
    return _microseconds(maybe_make_aware(maybe_iso8601(date), timezone).timestamp())

"""Entries of task types whose rate is limited: who runs next, who comes back later."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celery_ranch.scheduling.model import KeyPath
from celery_ranch.worker.leases import Holding
from celery_ranch.worker.messages import FairMessage

__all__ = ["RateLimits"]

#: How much of a key's work to keep at hand, in seconds. A sleeping Redis looks
#: only ten times a second for what came due.
_AT_HAND_SECONDS = 0.2

#: How many entries of one type are kept at hand at most.
_MOST_AT_HAND = 256

#: For how long an entry is held back before it is asked again, in seconds. A
#: limit may be raised or lifted meanwhile.
_LONGEST_HOLD_SECONDS = 30.0

#: How many entries of a type may come back in vain, per second.
_VAIN_PER_SECOND = 50

#: How many keys are remembered before those without an entry are forgotten.
_MANY_KEYS = 1_000


class RateLimits:
    """Keeps the next entries of each key at hand, and spreads the rest over time.

    One entry of a type at a time is in Celery's token bucket, which says when
    it may run: that of the key that ran least recently. So a key that comes
    new waits for one slot of the rate, whatever others have sent before.
    Neither that entry nor what is kept at hand takes a slot of the pool.
    """

    def __init__(self) -> None:
        self._limits: dict[str, _Limit] = {}
        self.given = 0
        """How many entries it has returned for Celery's buckets."""

    def offer(self, message: FairMessage, bucket: Any, now: float) -> float:
        """Take an entry, or return for how many seconds to send it back.

        Args:
            message: The entry's message.
            bucket: Celery's present token bucket of that task type.
            now: By `time.monotonic`, in seconds.
        """
        limit = self._limits.setdefault(message.headers.get("task", ""), _Limit())
        return limit.offer(message, 1 / bucket.fill_rate, now)

    def next(self, buckets: Mapping[str, Any]) -> FairMessage | None:
        """Return an entry to give to Celery's bucket, if one has none of ours.

        Args:
            buckets: Celery's present token buckets, by the name of the task type.
        """
        for task, limit in self._limits.items():
            message = limit.next(buckets.get(task))
            if message is not None:
                self.given += 1
                return message
        return None

    @property
    def has_more(self) -> bool:
        """Whether something is kept at hand."""
        return any(limit.at_hand for limit in tuple(self._limits.values()))

    def messages(self) -> list[FairMessage]:
        """Return what is kept at hand."""
        at_hand = [each for limit in self._limits.values() for each in limit.at_hand.values()]
        return [message for messages in at_hand for message in messages]

    def clear(self) -> list[Holding]:
        """Let go of what is kept at hand, and return it."""
        holdings = [message.holding for message in self.messages()]
        self._limits.clear()
        return holdings


class _Limit:
    """The entries of one task type."""

    def __init__(self) -> None:
        self.at_hand: dict[KeyPath, deque[FairMessage]] = {}
        self._count = 0
        self._given: FairMessage | None = None
        self._bucket: Any = None
        self._turn = 0
        self._last_turns: dict[KeyPath, int] = {}
        self._ends: dict[KeyPath, float] = {}

    def offer(self, message: FairMessage, interval: float, now: float) -> float:
        """As `RateLimits.offer`; `interval` is the time between two tokens."""
        key = message.holding.lease.key
        mine = len(self.at_hand.get(key, ()))
        keys = max(1, len(self.at_hand))
        enough = 1 + int(_AT_HAND_SECONDS / (keys * interval))
        if mine < enough and self._count < _MOST_AT_HAND:
            self.at_hand.setdefault(key, deque()).append(message)
            self._count += 1
            return 0.0
        # As if the key were alone, so that no token is lost when it soon is;
        # but with many keys most would come back in vain.
        apart = max(interval, min(keys * interval, keys / _VAIN_PER_SECOND))
        end = max(self._ends.get(key, 0.0), now + mine * interval) + apart
        if end - now > _LONGEST_HOLD_SECONDS:
            return _LONGEST_HOLD_SECONDS
        if len(self._ends) > _MANY_KEYS:
            self._ends = {each: end for each, end in self._ends.items() if end > now}
        self._ends[key] = end
        return max(end - now - _AT_HAND_SECONDS / 2, interval / 2, 0.001)

    def next(self, bucket: Any) -> FairMessage | None:
        """Return the next entry of the key that ran least recently."""
        if self._given is not None and self._given.holding.is_parked:
            if bucket is self._bucket:
                return None
            # The limit is another one now, and with it the bucket.
            if not _taken_out(self._given, self._bucket):
                return None
            self._bucket = bucket
            return self._given
        if not self.at_hand:
            return None
        key = min(self.at_hand, key=lambda each: self._last_turns.get(each, 0))
        message = self.at_hand[key].popleft()
        self._count -= 1
        if not self.at_hand[key]:
            del self.at_hand[key]
        self._turn += 1
        self._last_turns[key] = self._turn
        if len(self._last_turns) > 2 * _MANY_KEYS:
            oldest = self._turn - _MANY_KEYS
            self._last_turns = {k: n for k, n in self._last_turns.items() if n > oldest}
        self._given, self._bucket = message, bucket
        return message


def _taken_out(message: FairMessage, bucket: Any) -> bool:
    """Take an entry out of a bucket that Celery no longer uses, and return whether it was there.

    Celery leaves there what is there, until the old limit lets go of it. Where
    its timers run in a thread, that may have it in hand just now, to put it
    back or to let it run.

    That a bucket's `contents` are of (request, tokens) is private to Celery
    (checked on 5.4 to 5.7); `tests/integration/test_private_points.py` fails when
    it is otherwise.
    """
    for each in bucket.contents.copy():
        if each[0].message is message:
            with suppress(ValueError):
                bucket.contents.remove(each)
                return True
    return False

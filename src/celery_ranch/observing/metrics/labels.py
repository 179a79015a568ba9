"""Which keys are told apart by a label, and how it is written: never without end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable

from celery_ranch.observing.notation import written_key
from celery_ranch.scheduling.model import KeyPath

__all__ = ["OTHER", "KeyLabels", "key_label"]

#: The label of all keys that are not told apart. No key is written so.
OTHER = "other"

_LONGEST = 100

#: After so long a key that was not shown counts as new.
_FORGOTTEN_SECONDS = 24 * 3_600.0


def key_label(path: KeyPath) -> str:
    r"""Return a key as a label, of at most 117 characters.

    It is written as it is everywhere. What is longer than 100 characters is cut, and
    ends with a digest of all of it.

    Example:
        >>> print(key_label(("acme",)), key_label(("24/7",)), key_label(("other",)))
        acme 24\/7 \x6fther
        >>> len(key_label(("x" * 500,)))
        117
    """
    label = written_key(path)
    if label == OTHER:
        return rf"\x{ord(label[0]):02x}{label[1:]}"
    if len(label) <= _LONGEST:
        return label
    digest = hashlib.sha256(label.encode()).hexdigest()[:16]
    return f"{label[:_LONGEST]}…{digest}"


class KeyLabels:
    """Gives labels to keys, and to so many new ones an hour only.

    Who makes up ever new keys, or lets them take turns at the top, makes no more
    series than that.

    Args:
        most: How many keys that have had no label for a day may get one in an hour,
            in each queue.
        clock: Returns seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._queues: dict[str, _Labelled] = {}

    def of(self, queue: str, keys: Iterable[KeyPath]) -> dict[KeyPath, str]:
        """Return the labels of those of a queue's keys that have one; the first come first."""
        now = self._clock()
        labelled = self._queues.get(queue)
        if labelled is None:
            labelled = self._queues[queue] = _Labelled(self._most, now)
        return labelled.choose(keys, now)


class _Labelled:
    """The keys of one queue that have a label."""

    def __init__(self, most: int, now: float) -> None:
        self._most = most
        self._left = float(most)
        self._at = now
        self._shown_at: dict[str, float] = {}

    def choose(self, keys: Iterable[KeyPath], now: float) -> dict[KeyPath, str]:
        self._left = min(self._most, self._left + (now - self._at) * self._most / 3_600)
        self._at = now
        chosen: dict[KeyPath, str] = {}
        for key in keys:
            label = key_label(key)
            if label in chosen.values():  # of two digests that are the same
                continue
            if label not in self._shown_at:
                if self._left < 1:
                    continue
                self._left -= 1
            # The latest shown stand last.
            self._shown_at.pop(label, None)
            self._shown_at[label] = now
            chosen[key] = label
        while self._shown_at:
            oldest = next(iter(self._shown_at))
            if now - self._shown_at[oldest] < _FORGOTTEN_SECONDS:
                break
            del self._shown_at[oldest]
        return chosen

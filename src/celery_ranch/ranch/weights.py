"""What an application's weight function says of keys, asked in a thread of its own."""

from __future__ import annotations

import json
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, TypeAlias

from celery.utils.log import get_logger
from kombu.utils.functional import LRUCache

from celery_ranch.errors import ConfigurationError, InvalidShareError, RanchError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import KeyDetails, KeyPath, valid_share
from celery_ranch.scheduling.policies import Weighed, tag_parts

__all__ = [
    "LRUKeyMetadata",
    "WeightFunction",
    "Weights",
    "metadata_of",
    "share_of_weight",
    "weight_of_share",
]

logger = get_logger(__name__)

#: How often a key is weighed at most, in seconds.
_INTERVAL_SECONDS = 1.0

#: How many keys are remembered, and how many may wait to be weighed.
_MOST_KEYS = 10_000

#: How long the thread waits for a key before it ends, in seconds.
_IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LRUKeyMetadata:
    """What a weight function is told of a key."""

    timestamp: float
    """When a task of the key was leased last, in seconds since the epoch; now, if never."""
    weight: float = 1.0
    """1/share, without what the weight function said before."""
    tags: dict[str, str] | None = None
    """Its tags, by name; None if it has none. Of several values of a name the first by alphabet."""
    custom_data: dict[str, Any] | None = None
    """What was noted of it, by name; None if nothing was."""
    last_execution: float | None = None
    """As `timestamp`, but None if never, or so long ago that it is forgotten."""
    pending: int = 0
    """How many of its tasks wait, delayed ones included."""


WeightFunction: TypeAlias = Callable[[Any, LRUKeyMetadata], float]


def metadata_of(details: KeyDetails) -> LRUKeyMetadata:
    """Return what is told of a key of which so much is known."""
    key, data = details.snapshot, details.data
    last_us = key.last_leased_at_us
    last = None if last_us is None else last_us / 1_000_000
    return LRUKeyMetadata(
        timestamp=time() if last is None else last,
        weight=weight_of_share(details.share_by_hand),
        tags=dict(map(tag_parts, reversed(key.tags))) or None,
        custom_data={name: json.loads(data[name]) for name in sorted(data)} or None,
        last_execution=last,
        pending=key.waiting + key.delayed,
    )


class Weights:
    """Lets a weight function say what the shares of keys in use are.

    Whoever stores or leases something of a key notes it here, which takes no
    time. A thread, started when it is needed, asks the function and sets what
    it returns: at most once a second of each key in each process. Where gevent
    or eventlet has patched `threading`, it is a green one.

    Args:
        engine: Returns where the keys are.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self.function: WeightFunction | None = None
        """What is asked; with None nothing happens here."""
        self._is_running = False
        self._begin()

    def use(self, function: Any) -> None:
        """Ask this function from now on; None leaves things as they are.

        Raises:
            ConfigurationError: It cannot be called.
        """
        if function is None:
            return
        if not callable(function):
            allowed = "a function (lru_key, metadata) -> weight"
            raise ConfigurationError("weight_function", function, allowed)
        if self.function not in (None, function):
            logger.warning("%r takes the place of %r for all keys", function, self.function)
        self.function = function

    def note(self, queue: str, key: KeyPath) -> None:
        """Have a key weighed soon, unless it was within the last second."""
        if self.function is None:
            return
        if self._pid != os.getpid():  # forked: the thread and perhaps a lock are the parent's
            self._begin()
        place = (queue, key)
        if place in self._waiting or not self._is_due(place):
            return
        with self._noted:
            if len(self._waiting) >= _MOST_KEYS:
                return  # it will be noted again
            self._waiting[place] = None
            if self._is_running:
                self._noted.notify()
                return
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="celery-ranch-weights", daemon=True).start()
        except RuntimeError:  # no more threads, or the process ends: that is not the caller's
            self._is_running = False

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._noted = threading.Condition()
        self._is_running = False
        self._waiting: OrderedDict[tuple[str, KeyPath], None] = OrderedDict()
        self._weighed_at: Any = LRUCache(_MOST_KEYS)
        self._complained_of: Any = LRUCache(_MOST_KEYS)

    def _is_due(self, place: tuple[str, KeyPath]) -> bool:
        return bool(monotonic() - self._weighed_at.get(place, -math.inf) >= _INTERVAL_SECONDS)

    def _run(self) -> None:
        try:
            while (place := self._next()) is not None:
                self._weigh(*place)
        except BaseException:
            self._is_running = False
            raise

    def _next(self) -> tuple[str, KeyPath] | None:
        """Return a key to weigh, or None when there was none for a while."""
        with self._noted:
            self._noted.wait_for(lambda: self._waiting, _IDLE_SECONDS)
            if not self._waiting:
                # Now, because whoever notes a key from here on must start another thread.
                self._is_running = False
                return None
            place, _ = self._waiting.popitem(last=False)
            self._weighed_at[place] = monotonic()
            return place

    def _weigh(self, queue: str, key: KeyPath) -> None:
        function = self.function
        if function is None:
            return
        try:
            engine = self._engine()
            details = engine.details(queue, key)
            share = self._share(function, queue, details)
            # Of the same share for the sake of which nothing was set before, nothing is.
            if share is None or math.isclose(share, details.snapshot.share):
                return
            is_by_hand = math.isclose(share, details.share_by_hand)
            engine.set_share(queue, Weighed(key), None if is_by_hand else share)
        except RanchError as error:
            # The worker's leasing and the caller tell of a store that is away.
            logger.debug("%s of queue %s could not be weighed: %s", key, queue, error)

    def _share(self, function: WeightFunction, queue: str, details: KeyDetails) -> float | None:
        """Return what the function makes of a key; None, said once, if that is nothing."""
        key = details.snapshot.key
        shown = key[0] if len(key) == 1 else key
        try:
            share = share_of_weight(function(shown, metadata_of(details)))
        except InvalidShareError as error:
            self._complain((queue, key), "The weight function's answer for %r: %s", shown, error)
        except Exception:
            told = "The weight function failed for %r; its share stays as it is"
            self._complain((queue, key), told, shown, exc_info=True)
        else:
            self._complained_of.pop((queue, key), None)
            return share
        return None

    def _complain(self, place: Any, told: str, *facts: Any, exc_info: bool = False) -> None:
        if place not in self._complained_of:
            self._complained_of[place] = True
            logger.error(told, *facts, exc_info=exc_info)


def share_of_weight(weight: Any) -> float:
    """Return the share that a weight of the guides stands for: lower is served more.

    Raises:
        InvalidShareError: It is not a number from 0.01 to 100.

    Example:
        >>> share_of_weight(0.5)
        2.0
    """
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not is_number or not 0.01 <= weight <= 100:
        raise InvalidShareError(weight, "a priority weight from 0.01 to 100")
    return valid_share(min(100.0, max(0.01, 1 / weight)))


def weight_of_share(share: float) -> float:
    """Return the weight of the guides that a share is.

    Example:
        >>> weight_of_share(4.0)
        0.25
    """
    return 1 / share

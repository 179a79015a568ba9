"""Which level is served next: the first one, but none starves if a floor is set.

A level is a strict class: what waits at 0 goes before what waits at 1, and so
on to 10. With a *floor* each level that has something eligible gains that much
credit with every dispatch of its queue, and the one with most credit goes next
as soon as it has a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from celery_ranch.errors import InvalidLevelError
from celery_ranch.scheduling.model import LEVELS, WHOLE_CREDIT

__all__ = ["LevelOrder", "PriorityOrder"]


class PriorityOrder(str, Enum):
    """What a user's priority means; the numbers are those of the levels."""

    LOW_FIRST = "low-first"
    """0 is served first, as Celery has it on Redis."""
    HIGH_FIRST = "high-first"
    """10 is served first, as RabbitMQ has it."""

    def level(self, priority: Any) -> int:
        """Return the level that a priority means.

        Raises:
            InvalidLevelError: It is not a whole number from 0 to 10.

        Example:
            >>> PriorityOrder.LOW_FIRST.level(3), PriorityOrder.HIGH_FIRST.level(3)
            (3, 7)
        """
        is_whole = isinstance(priority, int) and not isinstance(priority, bool)
        if not is_whole or priority not in LEVELS:
            raise InvalidLevelError(priority, f"a whole number from 0 to {LEVELS[-1]}")
        return int(priority if self is PriorityOrder.LOW_FIRST else LEVELS[-1] - priority)


class LevelOrder:
    """The order between the levels of one queue.

    Over any n dispatches during which a level stays eligible it gets at least
    floor * n - 2 of them.

    Args:
        floor: What an eligible level gains with each dispatch, in millionths;
            0: the order is strict.

    Example:
        >>> order = LevelOrder(floor=250_000)
        >>> served = []
        >>> for _ in range(8):
        ...     level = order.next([0, 5])
        ...     order.dispatched(level, [0, 5])
        ...     served.append(level)
        >>> served
        [0, 0, 0, 0, 5, 0, 0, 0]
    """

    def __init__(self, floor: int) -> None:
        self._floor = floor
        self._credits: dict[int, int] = {}

    def next(self, eligible: Sequence[int]) -> int:
        """Return which of the levels is served next; there is one at least."""
        first = min(eligible)
        if not self._floor:
            return first
        owed = max(eligible, key=lambda level: (self._credits.get(level, 0), -level))
        return owed if self._credits.get(owed, 0) >= WHOLE_CREDIT else first

    def dispatched(self, served: int, eligible: Sequence[int]) -> None:
        """Note that one level was served, and which could have been."""
        if not self._floor:
            return
        self._credits = {level: self._credits.get(level, 0) + self._floor for level in eligible}
        self._credits[served] = max(0, self._credits[served] - WHOLE_CREDIT)

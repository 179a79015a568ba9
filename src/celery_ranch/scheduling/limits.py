"""How much of a node may run at once, start in a time, and wait.

A rate is kept by the generic cell rate algorithm (ITU-T I.371, "virtual
scheduling"): a node has a theoretical arrival time, each start moves it on by
the rate's interval, and the next start may come before it by as much as the
burst allows. All of it in whole microseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from celery_ranch.errors import InvalidLimitError

__all__ = ["NO_LIMITS", "UNLIMITED", "Limits", "Rate", "limits_of"]

#: Says that there is no limit although a tag or a default would set one.
UNLIMITED = 0

MAX_LIMIT = 2**31
_PERIODS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
#: What a burst may take to fill, some thirty years: arrival times stay exact integers below 2^53.
_MAX_FILL_US = 10**15
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([smhd])")
_RATE_ALLOWED = 'a text such as "10/s", "100/m", "5000/h" or "1/d"'
_BURST_ALLOWED = "an int from 1 to 1000000 that the rate fills within thirty years"
_COUNT_ALLOWED = f"an int from 1 to {MAX_LIMIT}, math.inf for no limit, or None"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often entries may start."""

    interval_us: int
    """Between two starts, rounded up."""
    burst: int = 1
    """How many may start at once after a pause."""

    @classmethod
    def parse(cls, text: str, burst: int = 1) -> Rate:
        """Return the rate that a text means.

        Raises:
            InvalidLimitError: It is no such text, or the burst is no count.

        Example:
            >>> Rate.parse("100/m"), Rate.parse("3/s", burst=10)
            (Rate(interval_us=600000, burst=1), Rate(interval_us=333334, burst=10))
        """
        found = _RATE.fullmatch(text) if isinstance(text, str) else None
        number = found and Fraction(found[1])
        if not found or not number:
            raise InvalidLimitError("rate", text, _RATE_ALLOWED)
        interval_us = math.ceil(_PERIODS_US[found[2]] / number)
        if interval_us > _MAX_FILL_US:
            raise InvalidLimitError("rate", text, _RATE_ALLOWED)
        is_count = isinstance(burst, int) and not isinstance(burst, bool)
        if not is_count or not 1 <= burst <= min(1_000_000, _MAX_FILL_US // interval_us):
            raise InvalidLimitError("burst", burst, _BURST_ALLOWED)
        return cls(interval_us, burst)

    def next_start_us(self, arrival_us: int) -> int:
        """Return from when on another may start, by the node's theoretical arrival time."""
        return arrival_us - self.interval_us * (self.burst - 1)

    def after_start_us(self, arrival_us: int, now_us: int) -> int:
        """Return the theoretical arrival time after a start now."""
        return max(arrival_us, now_us) + self.interval_us

    def after_change_us(self, arrival_us: int, now_us: int) -> int:
        """Return the theoretical arrival time from when this rate takes another's place.

        What started by then counts as a full burst at most: who gets a faster
        rate does not wait for what the slower one would have asked.
        """
        return min(arrival_us, now_us + self.interval_us * self.burst)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is limited of a node. None: not set here, so a tag or a default decides."""

    concurrency: int | None = None
    """How many entries may be leased at once, or `UNLIMITED`."""
    rate: Rate | None = None
    """How often entries may start; an interval of `UNLIMITED` for no limit."""
    backlog: int | None = None
    """How many entries may wait, delayed ones included, or `UNLIMITED`."""

    def over(self, others: Iterable[Limits]) -> Limits:
        """Return these limits, with the strictest of others where nothing is set here."""
        others, found = list(others), dict[str, Any]()
        for field in fields(self):
            own = getattr(self, field.name)
            set_by_others = [v for o in others if (v := getattr(o, field.name)) is not None]
            if own is None and set_by_others:
                own = min(set_by_others, key=_strictness)
            found[field.name] = own
        return Limits(**found)


#: Nothing is limited.
NO_LIMITS = Limits()


def _strictness(limit: int | Rate) -> tuple[bool, int, int]:
    """Return what sorts a stricter limit before others."""
    if isinstance(limit, Rate):
        return limit.interval_us == UNLIMITED, -limit.interval_us, limit.burst
    return limit == UNLIMITED, limit, 0


def limits_of(
    *, concurrency: Any = None, rate: Any = None, burst: Any = None, backlog: Any = None
) -> Limits:
    """Return limits as somebody gives them, or refuse them.

    Args:
        concurrency: How many may run at once; `math.inf` for no limit.
        rate: How often they may start, "100/m" for instance; `math.inf` for no limit.
        burst: How many may start at once after a pause, 1 if None.
        backlog: How many may wait; `math.inf` for no limit.

    Raises:
        InvalidLimitError: One of them is out of range.

    Example:
        >>> limits_of(concurrency=3, rate="2/s")
        Limits(concurrency=3, rate=Rate(interval_us=500000, burst=1), backlog=None)
    """
    if burst is not None and rate is None:
        raise InvalidLimitError("burst", burst, "only together with a rate")
    parsed = None
    if rate == float("inf"):
        parsed = Rate(UNLIMITED)
    elif rate is not None:
        parsed = Rate.parse(rate, 1 if burst is None else burst)
    return Limits(_count("concurrency", concurrency), parsed, _count("backlog", backlog))


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value == float("inf"):
        return UNLIMITED
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if not is_count or not 1 <= value <= MAX_LIMIT:
        raise InvalidLimitError(name, value, _COUNT_ALLOWED)
    return int(value)

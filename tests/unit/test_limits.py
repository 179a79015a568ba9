"""Limits: a rate beside a model that counts, what texts mean, which limit holds, refusals."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_ranch.errors import InvalidLimitError
from celery_ranch.scheduling.limits import MAX_LIMIT, NO_LIMITS, UNLIMITED, Limits, Rate, limits_of

PERIODS = {"s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6}


class _Bucket:
    """A node's tokens, added one by one: what a rate with a burst means."""

    def __init__(self, rate: Rate) -> None:
        self.interval_us, self.burst = rate.interval_us, rate.burst
        self.tokens = Fraction(rate.burst)
        self.at_us = 0

    def may_start(self, now_us: int) -> bool:
        self.tokens += Fraction(now_us - self.at_us, self.interval_us)
        self.tokens = min(self.tokens, Fraction(self.burst))
        self.at_us = now_us
        return self.tokens >= 1

    def start(self) -> None:
        self.tokens -= 1


rates = st.builds(Rate, st.integers(1, 50), st.integers(1, 6))


@given(rates, st.lists(st.integers(0, 120), max_size=60))
@settings(max_examples=300, deadline=None)
def test_a_start_is_allowed_exactly_when_a_bucket_of_tokens_has_one(
    rate: Rate, steps: list[int]
) -> None:
    bucket, arrival_us, now_us = _Bucket(rate), 0, 0
    for step in steps:
        now_us += step
        may_start = rate.next_start_us(arrival_us) <= now_us
        assert may_start is bucket.may_start(now_us)
        if may_start:
            bucket.start()
            arrival_us = rate.after_start_us(arrival_us, now_us)


@given(rates, st.lists(st.integers(0, 40), min_size=1, max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_stretch_of_time_has_more_starts_than_the_rate_and_the_burst_allow(
    rate: Rate, steps: list[int]
) -> None:
    starts: list[int] = []
    arrival_us = now_us = 0
    for step in steps:
        now_us += step
        while rate.next_start_us(arrival_us) <= now_us:
            starts.append(now_us)
            arrival_us = rate.after_start_us(arrival_us, now_us)
    for first, since_us in enumerate(starts):
        for last in range(first, len(starts)):
            allowed = rate.burst + (starts[last] - since_us) // rate.interval_us
            assert last - first + 1 <= allowed


def test_a_node_that_is_always_busy_starts_exactly_at_its_rate() -> None:
    rate, arrival_us, starts = Rate(interval_us=600_000, burst=3), 0, []
    for now_us in range(0, 6_000_001, 100_000):
        while rate.next_start_us(arrival_us) <= now_us:
            starts.append(now_us)
            arrival_us = rate.after_start_us(arrival_us, now_us)
    assert starts == [0, 0, 0, *range(600_000, 6_000_001, 600_000)]


def test_after_a_change_what_had_started_counts_as_a_full_burst_at_most() -> None:
    rate = Rate(interval_us=10, burst=3)
    assert [rate.after_change_us(arrival, now_us=100) for arrival in (90, 120, 131, 10**9)] == [
        *(90, 120, 130, 130)
    ]


# -- what texts mean ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, interval_us",
    [
        ("10/s", 100_000),
        ("100/m", 600_000),
        ("5000/h", 720_000),
        ("1/d", 86_400_000_000),
        ("3/s", 333_334),
        ("0.5/s", 2_000_000),
        ("0.3/m", 200_000_000),
        ("0.7/m", 85_714_286),
        ("2000000/s", 1),
    ],
)
def test_a_rate_is_an_interval_in_whole_microseconds_rounded_up(
    text: str, interval_us: int
) -> None:
    assert Rate.parse(text) == Rate(interval_us, burst=1)


@given(st.integers(1, 10**6), st.integers(0, 3), st.sampled_from("smhd"))
def test_no_rate_is_faster_than_its_text_nor_slower_by_a_microsecond(
    digits: int, places: int, unit: str
) -> None:
    text = f"{digits // 10**places}.{digits % 10**places:0{places}d}" if places else str(digits)
    exact = PERIODS[unit] / Fraction(text)
    assert 0 <= Rate.parse(f"{text}/{unit}").interval_us - exact < 1


@pytest.mark.parametrize(
    "rate",
    [
        *("", "10", "10/", "/s", "10/y", "-1/s", "1e3/s", "1 /s", " 1/s", "1/s\n", "0/s", "0.0/m"),
        *("1,5/s", ".5/s", "5./s", "10/S", "٣/s", "nan/s", "inf/s"),
        *(10, 1.5, True, b"10/s", ("10/s",), -math.inf, math.nan, "0.0000001/d"),
    ],
)
def test_a_rate_that_is_none_is_refused_and_shown(rate: Any) -> None:
    with pytest.raises(InvalidLimitError) as refused:
        limits_of(rate=rate)
    assert refused.value.limit == "rate"
    assert refused.value.value is rate


@pytest.mark.parametrize("burst", [0, -1, 1.0, True, "2", 1_000_001, math.inf])
def test_a_burst_that_is_none_is_refused_and_shown(burst: Any) -> None:
    with pytest.raises(InvalidLimitError) as refused:
        limits_of(rate="1/s", burst=burst)
    assert (refused.value.limit, refused.value.value) == ("burst", burst)


def test_a_burst_without_a_rate_is_refused() -> None:
    with pytest.raises(InvalidLimitError):
        limits_of(burst=2)


def test_a_burst_that_takes_lifetimes_to_fill_is_refused() -> None:
    """Arrival times are to stay exact where numbers are floats."""
    limits_of(rate="1/d", burst=10_000)
    with pytest.raises(InvalidLimitError):
        limits_of(rate="1/d", burst=100_000)


@pytest.mark.parametrize("name", ["concurrency", "backlog"])
@pytest.mark.parametrize("count", [0, -1, 1.0, True, "3", MAX_LIMIT + 1, math.nan, -math.inf])
def test_a_count_that_is_none_is_refused_and_shown(name: str, count: Any) -> None:
    with pytest.raises(InvalidLimitError) as refused:
        limits_of(**{name: count})
    assert refused.value.limit == name
    assert refused.value.value is count


def test_limits_are_what_was_given() -> None:
    assert limits_of() == NO_LIMITS
    given = limits_of(concurrency=1, rate="1/s", burst=4, backlog=MAX_LIMIT)
    assert given == Limits(1, Rate(1_000_000, 4), MAX_LIMIT)
    unlimited = limits_of(concurrency=math.inf, rate=math.inf, backlog=math.inf)
    assert unlimited == Limits(UNLIMITED, Rate(UNLIMITED), UNLIMITED)


# -- which limit holds ---------------------------------------------------------------------


def test_what_is_set_holds_over_what_others_say() -> None:
    own = Limits(concurrency=9)
    others = [Limits(1, Rate(10), 5), Limits(2, Rate(20), 3)]
    assert own.over(others) == Limits(9, Rate(20), 3)


def test_of_several_limits_the_strictest_holds() -> None:
    counts = [Limits(concurrency=n) for n in (5, UNLIMITED, 3, 4)]
    assert NO_LIMITS.over(counts).concurrency == 3
    given = [Rate(10, 1), Rate(UNLIMITED), Rate(20, 9), Rate(20, 2)]
    assert NO_LIMITS.over(Limits(rate=rate) for rate in given).rate == Rate(20, 2)


def test_no_limit_at_all_is_kept_where_nobody_limits() -> None:
    assert NO_LIMITS.over([]) == NO_LIMITS
    assert NO_LIMITS.over([Limits(concurrency=UNLIMITED)]) == Limits(concurrency=UNLIMITED)


def test_no_limit_that_was_set_holds_over_a_limit_of_others() -> None:
    own = Limits(UNLIMITED, Rate(UNLIMITED), UNLIMITED)
    assert own.over([Limits(1, Rate(10), 1)]) == own

"""Counting runs: bins that are true to a fifth, and keys told of in their turn."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_ranch.scheduling.model import Lease
from celery_ranch.scheduling.service import (
    MAX_REPORTED_KEYS,
    Tally,
    bin_bounds_us,
    bin_of,
    merged,
    quantile_us,
)
from celery_ranch.worker.leases import Holding
from celery_ranch.worker.service import ServiceCounts

times = st.integers(0, 2**39)


@given(times)
def test_a_time_lies_in_its_bin(us: int) -> None:
    low, high = bin_bounds_us(bin_of(us))
    assert low <= us < high


@given(times, times)
def test_longer_times_have_later_bins(one: int, other: int) -> None:
    assert (one < other) >= (bin_of(one) < bin_of(other))


def test_times_without_end_are_counted_as_the_longest() -> None:
    assert bin_of(2**60) == bin_of(2**52) == bin_of(2**40 - 1)


@given(st.lists(times, min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bin_of_the_true_one(us: list[int], part: float) -> None:
    bins: dict[int, int] = {}
    for each in us:
        bins[bin_of(each)] = bins.get(bin_of(each), 0) + 1
    found = quantile_us(bins, part)
    rank = part * len(us)
    true = next(each for place, each in enumerate(sorted(us), 1) if place >= rank)
    low, high = bin_bounds_us(bin_of(true))
    assert found is not None
    assert low <= found <= high


def holding(key: str, *, queue: str = "q", level: int = 5, cost: int | None = 1_000_000) -> Holding:
    lease = Lease("e", (key,), queue, 1, 0, b"", level=level, cost=cost, waited_us=500_000)
    return Holding(lease, is_started=True, taken_at=10.0, started_at=10.25)


def test_a_run_is_counted_with_its_whole_wait_and_what_it_costs() -> None:
    counts = ServiceCounts()
    counts.count(holding("a"), 0.1, failed=False)
    counts.count(holding("a", cost=None), 0.1, failed=True)
    of_all, of_a = counts.take()["q"]
    assert (of_all.key, of_a.key) == (None, ("a",))
    assert (of_a.finished, of_a.failed, of_a.cost) == (2, 1, 1_100_000)
    assert (of_a.wait_us, of_a.run_us) == (1_500_000, 200_000)
    assert of_a.waits == {bin_of(750_000): 2}
    assert of_all == Tally(5, None, *(getattr(of_a, name) for name in Tally.__slots__[2:]))
    assert counts.take() == {}


def test_queues_and_levels_are_counted_apart() -> None:
    counts = ServiceCounts()
    for each in (holding("a"), holding("a", level=2), holding("a", queue="r")):
        counts.count(each, 0.1, failed=False)
    taken = counts.take()
    assert sorted((t.level, t.key or ()) for t in taken["q"]) == [
        (2, ()),
        (2, ("a",)),
        (5, ()),
        (5, ("a",)),
    ]
    assert [tally.finished for tally in taken["r"]] == [1, 1]


def test_each_of_many_keys_is_told_of_by_and_by_and_no_run_twice() -> None:
    counts = ServiceCounts()
    for number in range(3 * MAX_REPORTED_KEYS):
        for _ in range(1 + number % 3):
            counts.count(holding(f"k{number}"), 0.1, failed=False)
    tallies: list[Tally] = []
    while taken := counts.take():
        assert sum(bool(tally.key) for tally in taken["q"]) <= MAX_REPORTED_KEYS
        tallies += taken["q"]
    found = merged(tallies)
    assert found.pop((5, None)).finished == 6 * MAX_REPORTED_KEYS
    assert {key: tally.finished for (_, key), tally in found.items()} == {
        (f"k{number}",): 1 + number % 3 for number in range(3 * MAX_REPORTED_KEYS)
    }


def test_keys_beyond_a_thousand_are_not_told_apart_and_still_counted() -> None:
    counts = ServiceCounts()
    for number in range(1_200):
        counts.count(holding(f"k{number}"), 0.1, failed=False)
    taken = {tally.key: tally.finished for tally in counts.take()["q"]}
    assert (taken[None], taken[()]) == (1_200, 200)


@pytest.mark.parametrize("threads", [4])
def test_threads_lose_no_count(threads: int) -> None:
    counts, found = ServiceCounts(), list[Tally]()

    def run() -> None:
        for _ in range(2_000):
            counts.count(holding("a"), 0.1, failed=False)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        found += counts.take().get("q", ())
    found += counts.take().get("q", ())
    assert merged(found)[5, None].finished == merged(found)[5, ("a",)].finished == 2_000 * threads

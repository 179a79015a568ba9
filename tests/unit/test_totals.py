"""What a queue has ever seen: sums and cumulative counts of what workers reported."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celery_ranch.observing.totals import BOUNDS, totals
from celery_ranch.scheduling.service import Service, Tally

TIMES = st.lists(st.integers(0, 2**41), max_size=30)


def tally(level: int, times: list[int], key: tuple[str, ...] | None = None) -> Tally:
    made = Tally(level, key)
    for us in times:
        made.count(us, us // 2, 1, failed=us % 2 == 1)
    return made


@given(TIMES)
def test_times_are_counted_below_each_bound_they_are_below(times: list[int]) -> None:
    found = totals(7, Service(tallies=(tally(3, times),)))
    [level] = found.levels
    assert (found.stored, level.level, level.finished) == (7, 3, len(times))
    assert level.failed == sum(us % 2 for us in times)
    assert level.wait.count == level.run.count == len(times)
    assert round(level.wait.seconds * 1_000_000) == sum(times)
    for bound, within in zip(BOUNDS, level.wait.within, strict=True):
        assert within == sum(us < bound * 1_000_000 for us in times)


def test_levels_are_in_order_and_keys_are_not_counted_twice() -> None:
    of_levels = (tally(5, [1_000]), tally(0, [1_000]), tally(0, [1_000], key=("acme",)))
    assert [each.level for each in totals(0, Service(tallies=of_levels)).levels] == [0, 5]
    assert [each.finished for each in totals(0, Service(tallies=of_levels)).levels] == [1, 1]

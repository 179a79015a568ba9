"""The last hours of a queue, as every engine has kept what workers counted."""

from __future__ import annotations

import pytest

from celery_ranch.observing.history import History
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.service import ServiceReport, Tally
from tests.conformance.histories import NOW, QUEUE, SECOND, entries, store
from tests.conformance.test_figures import FACTS

MINUTE = 60 * SECOND
#: The beginning of a minute.
START = NOW // MINUTE * 60


def report(engine: Engine, minute: int, finished: int, failed: int = 0) -> None:
    """Report tasks that each waited two seconds and ran for half a second."""
    tally = Tally(5)
    for at in range(finished):
        tally.count(2 * SECOND, SECOND // 2, 1_000_000, failed=at < failed)
    now_us = (START + 60 * minute + 5) * SECOND
    engine.report("w", ServiceReport(FACTS, {QUEUE: (tally,)}), now_us=now_us)


def test_each_minute_tells_what_came_and_went_in_it(engine: Engine) -> None:
    store(engine, entries("a", 10))
    report(engine, 0, finished=6, failed=2)
    store(engine, entries("b", 30))
    report(engine, 1, finished=12)

    told = History(engine, QUEUE).read(1, START + 130)
    assert [each.at for each in told][-3:] == [START - 60, START, START + 60]
    assert [each.flow for each in told[:-2]] == [None] * (len(told) - 2)
    first, second = (each.flow for each in told[-2:])
    assert first is not None
    assert second is not None
    assert (first.finished_per_second, first.failed_per_second) == (6 / 60, 2 / 60)
    assert first.enqueued_per_second == pytest.approx(30 / 60)
    assert first.wait.p50 == pytest.approx(2, rel=0.25)
    assert first.run.p50 == pytest.approx(0.5, rel=0.25)
    assert second.finished_per_second == 12 / 60
    assert second.enqueued_per_second is None


def test_hours_are_as_many_as_were_asked_for_and_at_most_six(engine: Engine) -> None:
    store(engine, entries("a", 1))
    lengths = [len(History(engine, QUEUE).read(hours, START + 1)) for hours in (1, 3, 6, 7)]
    assert lengths == [60, 180, 360, 360]


def test_minutes_that_are_over_are_asked_for_once(engine: Engine) -> None:
    store(engine, entries("a", 1))
    report(engine, 0, finished=6)
    history = History(engine, QUEUE)
    before = history.read(1, START + 200)
    report(engine, 0, finished=6)
    assert history.read(1, START + 200) == before
    assert History(engine, QUEUE).read(1, START + 200) != before

"""What every engine shows to watchers: a survey, nodes as they stand, what workers counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.figures import LevelFigures, NodeFigures, StandFigures
from celery_ranch.scheduling.limits import Limits, Rate
from celery_ranch.scheduling.model import Entry, KeyPath, OutcomeKind
from celery_ranch.scheduling.nodes import Block
from celery_ranch.scheduling.service import (
    MAX_BUCKET_COUNTS,
    Bucket,
    Service,
    ServiceReport,
    Tally,
    WorkerFacts,
)
from tests.conformance.histories import (
    LEASE_US,
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    lease,
    lease_one,
    settle,
    store,
)

FACTS = WorkerFacts(
    queues=(QUEUE,),
    host="here",
    pid=7,
    version="1.0",
    capacity=4,
    slots_taken=3,
    lookahead=2,
    stocked=1,
    run_seconds=0.25,
)
START = NOW // SECOND
TEN, SIXTY = Bucket(10, START // 10 * 10), Bucket(60, START // 60 * 60)


def below(key: KeyPath, count: int, **facts: object) -> list[Entry]:
    name = "/".join(key)
    return [Entry(f"{name}-{i}", key, QUEUE, b"", **facts) for i in range(count)]  # type: ignore[arg-type]


def measured(engine: Engine, *keys: KeyPath) -> list[NodeFigures]:
    return list(engine.measure(QUEUE, keys))


# -- measuring ---------------------------------------------------------------------


def test_a_key_is_measured_where_it_stands(engine: Engine) -> None:
    store(engine, entries("a", 3), [entry("later", "a", due_in_us=SECOND)])
    lease(engine, now_us=NOW + SECOND // 2)
    assert measured(engine, ("a",)) == [
        NodeFigures(
            key=("a",),
            share=1.0,
            blocks=Block(0),
            in_service=1,
            delayed=1,
            children=0,
            last_leased_at_us=NOW + SECOND // 2,
            waiting_since_us=NOW,
            stands=(StandFigures(5, waiting=2, lead=1_000_000, is_racing=True, racing_below=0),),
        )
    ]


def test_an_unknown_key_is_not_measured(engine: Engine) -> None:
    assert measured(engine, ("a",)) == []
    store(engine, entries("a", 1))
    assert [each.key for each in measured(engine, ("b",), ("a",))] == [("a",)]


def test_no_more_than_a_hundred_are_measured_at_once(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", f"k{i}") for i in range(120)])
    assert len(measured(engine, *((f"k{i}",) for i in range(120)))) == 100


def test_a_key_is_measured_with_all_that_is_below_it(engine: Engine) -> None:
    store(engine, below(("a",), 1), below(("a", "x"), 2), below(("a", "y"), 3, level=2))
    store(engine, [Entry("later", ("a", "y"), QUEUE, b"", due_in_us=SECOND)])
    (a, x, y) = measured(engine, ("a",), ("a", "x"), ("a", "y"))
    assert [(s.level, s.waiting, s.racing_below) for s in a.stands] == [(2, 3, 1), (5, 3, 2)]
    assert (a.children, a.delayed, a.waiting_since_us) == (3, 1, NOW)
    assert [(s.level, s.waiting) for s in (*x.stands, *y.stands)] == [(5, 2), (2, 3)]
    assert (x.delayed, y.delayed) == (0, 1)


def test_the_first_entry_of_a_line_tells_since_when_it_waits(engine: Engine) -> None:
    store(engine, entries("a", 1, level=7), now_us=NOW - 5 * SECOND)
    store(engine, [entry("later", "a")], [entry("due", "b", due_in_us=SECOND)])
    lease(engine, 0, now_us=NOW + 2 * SECOND)
    assert [each.waiting_since_us for each in measured(engine, ("a",), ("b",))] == [
        NOW - 5 * SECOND,
        NOW + SECOND,
    ]


def test_a_key_without_work_waits_since_no_time(engine: Engine) -> None:
    store(engine, entries("a", 1))
    settle(engine, lease_one(engine), OutcomeKind.COMPLETED)
    assert [each.waiting_since_us for each in measured(engine, ("a",))] == [None]


def test_leads_are_counted_in_charges_from_virtual_time(engine: Engine) -> None:
    engine.set_share(QUEUE, ("b",), 2)
    store(engine, entries("a", 5), entries("b", 5), entries("c", 5))
    lease(engine, 4)
    leads = {each.key[0]: each.stands[0].lead for each in measured(engine, ("a",), ("b",), ("c",))}
    # a, b, c, b: virtual time is where b was served the second time.
    assert leads == {"a": 500_000, "b": 500_000, "c": 500_000}


def test_a_paused_key_does_not_race(engine: Engine) -> None:
    store(engine, entries("a", 2))
    engine.pause(QUEUE, ("a",))
    (a,) = measured(engine, ("a",))
    assert (a.blocks, a.stands[0].waiting, a.stands[0].is_racing) == (Block.PAUSED, 2, False)


def test_limits_are_measured_with_what_is_used_of_them(engine: Engine) -> None:
    limits = Limits(concurrency=2, rate=Rate(SECOND, 3), backlog=9)
    engine.set_limits(QUEUE, ("a",), limits, now_us=NOW)
    store(engine, entries("a", 4))
    lease(engine, 4)
    (a,) = measured(engine, ("a",))
    assert (a.limits, a.arrival_us, a.in_service) == (limits, NOW + 2 * SECOND, 2)
    assert a.blocks == Block.CONCURRENCY


# -- surveying ---------------------------------------------------------------------


def test_a_survey_counts_each_level(engine: Engine) -> None:
    store(engine, entries("a", 3), entries("b", 2), entries("c", 1, level=2))
    lease(engine, 2)
    found = engine.survey(QUEUE, now_us=NOW + 3)
    assert (found.now_us, found.stored, found.known) == (NOW + 3, 6, 3)
    assert found.levels == (LevelFigures(2, 0, 1, 0), LevelFigures(5, 4, 1, 2))


def test_a_survey_of_a_queue_that_never_held_anything_is_empty(engine: Engine) -> None:
    found = engine.survey(QUEUE, now_us=NOW)
    assert (found.stored, found.levels, found.keys, found.sampled) == (0, (), (), ())


def test_a_survey_of_few_keys_names_all_that_have_something_waiting(engine: Engine) -> None:
    store(engine, [entry(f"e{i}", f"k{i}") for i in range(10)], below(("p", "q"), 1))
    found = engine.survey(QUEUE)
    assert {*found.keys} >= {*((f"k{i}",) for i in range(10)), ("p", "q")}
    assert {*found.sampled} <= {*((f"k{i}",) for i in range(10)), ("p",)}


def test_a_survey_names_a_key_that_has_most_of_the_backlog_among_thousands(engine: Engine) -> None:
    store(engine, *([entry(f"e{n}-{i}", f"k{n}-{i}") for i in range(1_000)] for n in range(3)))
    store(engine, *([entry(f"m{n}-{i}", "much") for i in range(1_000)] for n in range(3)))
    cursor, found = 0, set[KeyPath]()
    for _ in range(40):
        survey = engine.survey(QUEUE, cursor)
        cursor = survey.cursor
        found |= {*survey.keys}
        if ("much",) in found:
            return
    pytest.fail("40 surveys did not name it")


def test_surveys_that_go_on_name_every_blocked_key(engine: Engine) -> None:
    store(engine, *([entry(f"e{n}-{i}", f"k{n}-{i}") for i in range(1_000)] for n in range(2)))
    paused = {(f"k{n}-{i}",) for n in range(2) for i in range(0, 1_000, 250)}
    for key in paused:
        engine.pause(QUEUE, key)
    cursor, found = 0, set[KeyPath]()
    for _ in range(100):
        survey = engine.survey(QUEUE, cursor)
        cursor = survey.cursor
        found |= {*survey.keys}
        if not cursor:
            break
    assert found >= paused


# -- what workers counted ------------------------------------------------------------


def tally(key: KeyPath | None = None, *, level: int = 5, **counts: object) -> Tally:
    facts = {
        "finished": 2,
        "failed": 1,
        "cost": 2_000_000,
        "waits": {20: 2},
        "runs": {30: 1, 41: 1},
    }
    return Tally(level, key, **(facts | counts))  # type: ignore[arg-type]


def report(engine: Engine, *tallies: Tally, worker: str = "w1", now_us: int = NOW) -> None:
    engine.report(worker, ServiceReport(FACTS, {QUEUE: tallies}), now_us=now_us)


def of(service: Service) -> dict[tuple[int, KeyPath | None], Tally]:
    return {(each.level, each.key): each for each in service.tallies}


@pytest.fixture
def in_use(engine: Engine) -> Engine:
    store(engine, entries("a", 3))
    return engine


def test_what_workers_counted_is_added_up(in_use: Engine) -> None:
    report(in_use, tally(wait_us=5, run_us=7), tally(("a",)))
    report(in_use, tally(level=2), tally(waits={20: 1, 21: 4}), worker="w2")
    assert of(in_use.service(QUEUE, TEN)) == {
        (2, None): tally(level=2),
        (5, None): Tally(5, None, 4, 2, 4_000_000, 5, 7, {20: 3, 21: 4}, {30: 2, 41: 2}),
        (5, ("a",)): tally(("a",)),
    }


def test_keys_are_told_apart_in_the_finest_buckets_only(in_use: Engine) -> None:
    report(in_use, tally(), tally(("a", "b")), tally(()))
    assert {*of(in_use.service(QUEUE, TEN))} == {(5, None), (5, ("a", "b")), (5, ())}
    assert {*of(in_use.service(QUEUE, SIXTY))} == {*of(in_use.service(QUEUE))} == {(5, None)}


def test_a_key_of_odd_characters_is_told_apart(in_use: Engine) -> None:
    odd = ("5f/", "\x1f\x1e0", "\U0001f404")
    report(in_use, tally(odd))
    assert of(in_use.service(QUEUE, TEN)) == {(5, odd): tally(odd)}


def test_a_bucket_tells_what_had_been_stored_when_it_began(in_use: Engine) -> None:
    report(in_use, now_us=NOW + SECOND)
    store(in_use, entries("b", 2))
    report(in_use, now_us=NOW + 2 * SECOND)
    assert in_use.service(QUEUE, TEN) == Service(3, NOW + SECOND)


def test_each_report_is_counted_in_the_bucket_of_its_time(in_use: Engine) -> None:
    for seconds in (0, 9, 10, 59, 60):
        report(in_use, tally(), now_us=TEN.start * SECOND + seconds * SECOND)
    counts = [
        in_use.service(QUEUE, replace(TEN, start=TEN.start + seconds)).tallies
        for seconds in (0, 10, 20, 50, 60)
    ]
    assert [sum(each.finished for each in found) for found in counts] == [4, 2, 0, 2, 2]
    assert of(in_use.service(QUEUE))[5, None].finished == 10


def test_a_queue_that_never_held_anything_has_no_counts(engine: Engine) -> None:
    report(engine, tally())
    assert engine.service(QUEUE, TEN) == engine.service(QUEUE) == Service()
    assert [worker.worker for worker in engine.watched()[0]] == ["w1"]


def test_a_full_bucket_tells_no_more_keys_apart_and_loses_no_count(in_use: Engine) -> None:
    many = [Tally(5, (f"k{i}",), finished=1) for i in range(MAX_BUCKET_COUNTS)]
    report(in_use, *many)
    report(in_use, Tally(5, ("k7",), finished=2), Tally(5, ("new",), finished=3))
    found = of(in_use.service(QUEUE, TEN))
    assert (found[5, ("k7",)].finished, found[5, ()].finished) == (3, 3)
    assert (5, ("new",)) not in found


# -- workers -------------------------------------------------------------------------


def test_a_worker_is_shown_with_its_leases_and_what_it_said(in_use: Engine) -> None:
    lease(in_use, 2)
    report(in_use, now_us=NOW + SECOND)
    ((worker,), more) = in_use.watched()
    assert (worker.worker, worker.until_us, worker.held) == ("w1", NOW + LEASE_US, 2)
    assert (worker.reported_at_us, worker.facts, more) == (NOW + SECOND, FACTS, 0)


def test_a_worker_that_said_nothing_is_shown_all_the_same(in_use: Engine) -> None:
    lease(in_use, 1, "silent")
    ((worker,), _) = in_use.watched()
    assert (worker.worker, worker.held, worker.facts) == ("silent", 1, None)


def test_what_a_worker_said_is_forgotten_when_it_is_silent_for_long(in_use: Engine) -> None:
    report(in_use, worker="gone")
    report(in_use, worker="here", now_us=NOW + 3 * LEASE_US + 60 * SECOND)
    assert [worker.worker for worker in in_use.watched()[0]] == ["here"]


def test_a_worker_that_has_taken_its_leave_is_shown_no_longer(in_use: Engine) -> None:
    settle(in_use, lease_one(in_use), OutcomeKind.RELEASED)
    report(in_use, worker="stays")
    in_use.report("w1", ServiceReport(FACTS, {QUEUE: (tally(),)}, is_last=True), now_us=NOW)
    assert [worker.worker for worker in in_use.watched()[0]] == ["stays"]
    assert in_use.snapshot(QUEUE, now_us=NOW).workers == 0
    assert of(in_use.service(QUEUE))[5, None].finished == tally().finished
    assert not in_use.heartbeat("w1", now_us=NOW)


def test_what_a_worker_has_when_it_takes_its_leave_is_taken_back(in_use: Engine) -> None:
    in_use.reap(10, now_us=NOW)
    lease_one(in_use)
    in_use.report("w1", ServiceReport(FACTS, is_last=True), now_us=NOW)
    ((worker,), _) = in_use.watched()
    assert (worker.worker, worker.held, worker.facts) == ("w1", 1, None)
    for at in range(1, 8):
        reaped = in_use.reap(10, now_us=NOW + at * LEASE_US // 4)
        if reaped.released:
            break
    assert reaped.released == 1
    assert in_use.watched()[0] == ()


def test_so_many_workers_are_shown_as_asked_for(in_use: Engine) -> None:
    for number in range(7):
        report(in_use, worker=f"w{number}", now_us=NOW + number)
    workers, more = in_use.watched(3)
    assert ([each.worker for each in workers], more) == (["w6", "w5", "w4"], 4)

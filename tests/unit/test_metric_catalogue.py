"""Every metric is read from a status, and tells what stands there."""

from __future__ import annotations

from celery_ranch.observing.metrics.catalogue import METRICS
from celery_ranch.observing.metrics.readings import View
from celery_ranch.observing.status import (
    Flow,
    KeyLevelStatus,
    KeyStatus,
    LevelStatus,
    LevelTotals,
    LimitStatus,
    OtherKeys,
    QueueStatus,
    Status,
    Times,
    Totals,
    WorkerStatus,
)


def key(path: tuple[str, ...], waiting: int) -> KeyStatus:
    return KeyStatus(
        key=path,
        waiting=waiting,
        delayed=12,
        leased=13,
        oldest_wait=14.5,
        share=2.0,
        entitled=0.5,
        received=0.25,
        levels=(KeyLevelStatus(5, waiting, -3.0, True),),
        limits=(LimitStatus("rate", 10.0, 7.5, False),),
        is_paused=True,
        children=0,
        last_leased=15.5,
    )


TIMES = Times(3, 4.5, (1, 2))
QUEUE = QueueStatus(
    queue="celery",
    waiting=1,
    delayed=2,
    leased=3,
    dead=4,
    workers=5,
    next_due=6.0,
    oldest_wait=7.0,
    evenness=0.75,
    flow=Flow(),
    levels=(LevelStatus(5, 21, 22, 23),),
    keys=(key(("acme",), 31), key(("acme", "alice"), 30), key(("bolt",), 32)),
    other=OtherKeys(keys=41, waiting=42, delayed=43, leased=44, received=0.125),
    totals=Totals(51, (LevelTotals(5, 52, 53, TIMES, TIMES),)),
)
WORKER = WorkerStatus(
    worker="w1@host:1",
    is_alive=True,
    beat_age=61.0,
    leased=62,
    capacity=63,
    slots_taken=64,
    lookahead=65,
    stocked=66,
    run_seconds=67.5,
)
STATUS = Status(0.0, 60.0, (QUEUE,), (WORKER,), more_queues=71, more_workers=72)
VIEW = View(STATUS, 0.5, {"celery": {("acme",): "acme"}})


def told() -> dict[str, dict[tuple[str, ...], object]]:
    found = {}
    for metric in METRICS:
        samples = list(metric.read(VIEW))
        assert all(len(each.labels) == len(metric.labels) for each in samples)
        found[metric.name.removeprefix("celery_ranch_")] = {
            each.labels: each.value for each in samples
        }
    return found


def test_every_metric_tells_what_stands_in_the_status() -> None:
    found = told()
    version = found.pop("build_info")
    assert [*version.values()] == [1]
    queue, level, acme, other = (
        ("celery",),
        ("celery", "5"),
        ("celery", "acme"),
        ("celery", "other"),
    )
    assert found == {
        "up": {(): 1},
        "look_seconds": {(): 0.5},
        "hidden_queues": {(): 71},
        "hidden_workers": {(): 72},
        "queue_waiting_entries": {queue: 1},
        "queue_delayed_entries": {queue: 2},
        "queue_leased_entries": {queue: 3},
        "queue_dead_letters": {queue: 4},
        "queue_workers": {queue: 5},
        "queue_oldest_wait_seconds": {queue: 7.0},
        "queue_evenness_ratio": {queue: 0.75},
        "queue_unshown_keys": {queue: 41},
        "queue_stored_entries_total": {queue: 51},
        "level_waiting_entries": {level: 21},
        "level_leased_entries": {level: 22},
        "level_racing_keys": {level: 23},
        "level_finished_tasks_total": {level: 52},
        "level_failed_tasks_total": {level: 53},
        "level_wait_seconds": {level: TIMES},
        "level_run_seconds": {level: TIMES},
        # Of the others: those not shown, and bolt, which has no label.
        "key_waiting_entries": {acme: 31, other: 42 + 32},
        "key_delayed_entries": {acme: 12, other: 43 + 12},
        "key_leased_entries": {acme: 13, other: 44 + 13},
        "key_received_ratio": {acme: 0.25, other: 0.125 + 0.25},
        "key_entitled_ratio": {acme: 0.5},
        "key_share": {acme: 2.0},
        "key_oldest_wait_seconds": {acme: 14.5},
        "key_unserved_seconds": {acme: 15.5},
        "key_is_paused": {acme: True},
        "key_lead": {(*acme, "5"): -3.0},
        "key_limit_most": {(*acme, "rate"): 10.0},
        "key_limit_used": {(*acme, "rate"): 7.5},
        "key_limit_is_reached": {(*acme, "rate"): False},
        "worker_is_alive": {("w1@host:1",): True},
        "worker_beat_age_seconds": {("w1@host:1",): 61.0},
        "worker_leased_entries": {("w1@host:1",): 62},
        "worker_capacity_tasks": {("w1@host:1",): 63},
        "worker_taken_slots": {("w1@host:1",): 64},
        "worker_lookahead_entries": {("w1@host:1",): 65},
        "worker_stocked_entries": {("w1@host:1",): 66},
        "worker_task_run_seconds": {("w1@host:1",): 67.5},
    }

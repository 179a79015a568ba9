"""What is measured of each side, and how."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

import apps
from harness import FAIR, PLAIN, PrivateRedis, RecordingWorker, Side, worker

from celery_ranch.demo.report import percentile

__all__ = [
    "Drained",
    "Footprint",
    "Latency",
    "PublishRates",
    "drain",
    "footprint",
    "latency",
    "publish_rates",
    "quiet_waits",
]

KEYS = 100
WARM_UP_TASKS = 20
GAP_SECONDS = 0.02
MEASURED_POOLS = {"prefork": 2, "solo": 1, "threads": 4}


@dataclass(frozen=True, slots=True)
class Drained:
    """One backlog, published one by one and then run."""

    published_per_second: float
    ran_per_second: float
    """From the first task's start to the last one's end, in the worker."""
    redis_cpu_us: float
    """Redis's processor time per task, from publishing to its end."""


@dataclass(frozen=True, slots=True)
class PublishRates:
    """Tasks published per second, by way; groups and batches are of a thousand."""

    plain_one_by_one: float
    fair_one_by_one: float
    plain_groups: float
    fair_groups: float
    map: float
    submit: float


@dataclass(frozen=True, slots=True)
class Latency:
    """From the call that publishes a task to its start on an idle worker."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Footprint:
    """Redis memory of what waits."""

    bytes_per_entry: float
    """At ten entries per key, the keys' own memory included."""
    bytes_per_backlogged_key: float
    bytes_per_idle_key: float


def drain(side: Side, server: PrivateRedis, pool: str, tasks: int) -> Drained:
    """Publish tasks that do nothing, one by one, then start a worker on them."""
    for number in range(WARM_UP_TASKS):
        side.publish(f"key-{number % KEYS}", number)
    cpu_seconds = server.cpu_seconds()
    began_at = time.perf_counter()
    for number in range(tasks):
        side.publish(f"key-{number % KEYS}", number)
    publish_seconds = time.perf_counter() - began_at
    with worker(side, server, pool, MEASURED_POOLS[pool]) as running:
        running.wait_for(WARM_UP_TASKS + tasks)
        cpu_seconds = server.cpu_seconds() - cpu_seconds
        records = running.records()
    first = min(record.started_at for record in records)
    last = max(record.ended_at for record in records)
    return Drained(
        published_per_second=tasks / publish_seconds,
        ran_per_second=len(records) / (last - first),
        redis_cpu_us=cpu_seconds / tasks * 1e6,
    )


def publish_rates(server: PrivateRedis, tasks: int) -> PublishRates:
    """Publish tasks in every way, a thousand at a time, the ways taking turns."""
    ways: dict[str, Callable[[Iterable[int]], None]] = {
        "plain_one_by_one": lambda numbers: _one_by_one(PLAIN, numbers),
        "fair_one_by_one": lambda numbers: _one_by_one(FAIR, numbers),
        "plain_groups": apps.group_plainly,
        "fair_groups": apps.group_fairly,
        "map": apps.map_fairly,
        "submit": apps.submit_fairly,
    }
    for publish in ways.values():
        publish(range(WARM_UP_TASKS))
    seconds = dict.fromkeys(ways, 0.0)
    for first in range(0, tasks, 1_000):
        numbers = range(first, min(first + 1_000, tasks))
        for name, publish in ways.items():
            began_at = time.perf_counter()
            publish(numbers)
            seconds[name] += time.perf_counter() - began_at
    server.client.flushall()
    return PublishRates(**{name: tasks / each for name, each in seconds.items()})


def _one_by_one(side: Side, numbers: Iterable[int]) -> None:
    for number in numbers:
        side.publish(f"key-{number % KEYS}", number)


def latency(side: Side, server: PrivateRedis, tasks: int, chance: random.Random) -> Latency:
    """Publish a task to an idle prefork worker every 20 ms or so."""
    published_at: dict[int, float] = {}
    with worker(side, server, "prefork", MEASURED_POOLS["prefork"]) as running:
        for number in range(WARM_UP_TASKS):
            side.publish("warm-up", -1)
            running.wait_for(number + 1)
        for number in range(tasks):
            time.sleep(GAP_SECONDS * chance.uniform(0.5, 1.5))
            published_at[number] = time.monotonic()
            side.publish(f"key-{number % KEYS}", number)
        running.wait_for(WARM_UP_TASKS + tasks)
        waits = [
            (record.started_at - published_at[record.number]) * 1000
            for record in running.records()
            if record.number in published_at
        ]
    return Latency(percentile(waits, 50), percentile(waits, 99))


def footprint(side: Side, server: PrivateRedis, entries: int) -> Footprint:
    """Measure the memory of a backlog at ten entries per key, and at one.

    The second has the same entries over ten times the keys: what it takes
    more is the keys'. What is left once a worker has run it is the idle keys'.
    """
    numbers = count()
    keys = max(1, entries // 10)
    at_ten, _ = _backlog_bytes(side, server, entries, keys, numbers)
    at_one, left_bytes = _backlog_bytes(side, server, entries, entries, numbers)
    return Footprint(
        bytes_per_entry=at_ten / entries,
        bytes_per_backlogged_key=(at_one - at_ten) / (entries - keys),
        bytes_per_idle_key=left_bytes / entries,
    )


def _backlog_bytes(
    side: Side, server: PrivateRedis, entries: int, keys: int, numbers: Iterator[int]
) -> tuple[int, int]:
    """Return what a backlog takes, and what is left of it once it has run."""
    side.publish("warm-up", next(numbers))
    with worker(side, server, "solo", 1) as running:
        running.wait_for(1)
    base_bytes = server.used_memory_bytes()
    for index in range(entries):
        number = next(numbers)
        side.publish(
            f"tenant-{keys}-{index % keys:08}",
            number,
            0.0,
            f"report-{number:012}",
            account=f"account-{number % 977:06}",
            formats=["pdf", "csv"],
            notify=True,
        )
    backlog_bytes = server.used_memory_bytes() - base_bytes
    with worker(side, server, "solo", 1) as running:
        running.wait_for(entries)
    return backlog_bytes, server.used_memory_bytes() - base_bytes


def quiet_waits(
    server: PrivateRedis,
    flood_tasks: int,
    run_seconds: float,
    quiet_tasks: int,
    chance: random.Random,
) -> list[float]:
    """Return a quiet key's waits under a flood, in multiples of a task's run time.

    The flood waits before the worker starts, and never ends. The quiet key
    sends its next task at a random moment after its last one has started.
    The server is empty afterwards.
    """
    for number in range(flood_tasks):
        FAIR.publish("flood", -1 - number, run_seconds)
    published_at: dict[int, float] = {}
    with worker(FAIR, server, "prefork", MEASURED_POOLS["prefork"]) as running:
        running.wait_for(WARM_UP_TASKS)
        for number in range(quiet_tasks):
            time.sleep(run_seconds * chance.uniform(1, 3))
            published_at[number] = time.monotonic()
            FAIR.publish("quiet", number, run_seconds)
            _wait_until_ran(running, number)
        records = running.records()
    server.client.flushall()
    return [
        (record.started_at - published_at[record.number]) / run_seconds
        for record in records
        if record.number in published_at
    ]


def _wait_until_ran(running: RecordingWorker, number: int) -> None:
    """Return when the task of this number has ended."""
    seen = 0
    while True:
        running.wait_for(seen + 1)
        records = running.records()
        if any(record.number == number for record in records[seen:]):
            return
        seen = len(records)

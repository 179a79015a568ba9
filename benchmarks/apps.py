"""The same task in a plain Celery application and in one made fair.

This is what ``celery --app apps:plain worker`` loads. Each task leaves a
record of fixed size in its process's memory, and a thread writes them to a
file twenty times a second: a write of the task's own would hand the
interpreter's lock over each time, which is dear in a pool of threads.
"""

from __future__ import annotations

import functools
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from celery import Celery, group

from celery_ranch import lru_task, submit

#: Number of the task, when it started, when it ended (monotonic seconds).
RECORD = struct.Struct("<qdd")

#: How long a record stays in memory.
WRITE_SECONDS = 0.05

#: Which file the tasks of a worker write to; the worker is told by its environment.
RECORDS_VARIABLE = "CELERY_RANCH_BENCHMARK_RECORDS"

SETTINGS = {"task_ignore_result": True, "broker_connection_retry_on_startup": True}

plain = Celery("plain")
plain.conf.update(SETTINGS, task_default_queue="plain")

fair = Celery("fair")
fair.conf.update(SETTINGS, task_default_queue="fair")

seconds = Celery("seconds")
seconds.conf.update(SETTINGS, task_default_queue="seconds", celery_ranch={"cost": "seconds"})


def work(number: int, run_seconds: float = 0.0, *details: Any, **options: Any) -> None:
    """Take a while, and write down when."""
    started_at = time.monotonic()
    if run_seconds > 0:
        time.sleep(run_seconds)
    _records().append(RECORD.pack(number, started_at, time.monotonic()))


@functools.cache
def _records() -> deque[bytes]:
    """Return what is written to the file a moment later, and start writing."""
    records: deque[bytes] = deque()
    threading.Thread(target=_write, args=[records], daemon=True).start()
    return records


def _write(records: deque[bytes]) -> None:
    """Write records as they come; what is appended in one write stays together."""
    file = os.open(os.environ[RECORDS_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        time.sleep(WRITE_SECONDS)
        if records:
            os.write(file, b"".join(records.popleft() for _ in range(len(records))))


# Celery shares an application's tasks with every other one of the process,
# and a fair task makes the applications fair that it comes to.
work_plainly = plain.task(name="work", shared=False)(work)
work_fairly = lru_task(fair, name="work", shared=False)(work)
work_by_seconds = lru_task(seconds, name="work", shared=False)(work)


def publish_plainly(key: str, number: int, *args: Any, **options: Any) -> None:
    work_plainly.delay(number, *args, **options)


def publish_fairly(key: str, number: int, *args: Any, **options: Any) -> None:
    work_fairly.lru_delay(key, number, *args, **options)


def publish_by_seconds(key: str, number: int, *args: Any, **options: Any) -> None:
    work_by_seconds.lru_delay(key, number, *args, **options)


def submit_jobs_plainly(jobs: Iterable[tuple[Any, int, float]]) -> None:
    """Submit jobs, of each its key, number and run time."""
    group([work_plainly.s(number, run_seconds) for _, number, run_seconds in jobs]).apply_async()


def submit_jobs_fairly(jobs: Iterable[tuple[Any, int, float]]) -> None:
    submit(fair, _job_calls(work_fairly, jobs))


def submit_jobs_by_seconds(jobs: Iterable[tuple[Any, int, float]]) -> None:
    submit(seconds, _job_calls(work_by_seconds, jobs))


def _job_calls(task: Any, jobs: Iterable[tuple[Any, int, float]]) -> list[Any]:
    return [task.s(number, run_seconds).set(lru_key=key) for key, number, run_seconds in jobs]


def group_plainly(numbers: Iterable[int]) -> None:
    group([work_plainly.s(number) for number in numbers]).apply_async()


def group_fairly(numbers: Iterable[int]) -> None:
    group(_fair_calls(numbers)).apply_async()


def map_fairly(numbers: Iterable[int]) -> None:
    work_fairly.lru_map("key-0", numbers)


def submit_fairly(numbers: Iterable[int]) -> None:
    submit(fair, _fair_calls(numbers))


def _fair_calls(numbers: Iterable[int]) -> list[Any]:
    return [work_fairly.s(number).set(lru_key=f"key-{number % 100}") for number in numbers]

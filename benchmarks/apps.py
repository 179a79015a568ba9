"""The same task in a plain Celery application and in one made fair.

This is what ``celery --app apps:plain worker`` loads. Each task writes one
record of fixed size to a file, which costs both sides the same two
microseconds.
"""

from __future__ import annotations

import functools
import os
import struct
import time
from typing import Any

from celery import Celery

from celery_ranch import lru_task

#: Number of the task, when it started, when it ended (monotonic seconds).
RECORD = struct.Struct("<qdd")

#: Which file the tasks of a worker write to; the worker is told by its environment.
RECORDS_VARIABLE = "CELERY_RANCH_BENCHMARK_RECORDS"

SETTINGS = {"task_ignore_result": True, "broker_connection_retry_on_startup": True}

plain = Celery("plain")
plain.conf.update(SETTINGS, task_default_queue="plain")

fair = Celery("fair")
fair.conf.update(SETTINGS, task_default_queue="fair")


def work(number: int, run_seconds: float = 0.0, *details: Any, **options: Any) -> None:
    """Take a while, and write down when."""
    started_at = time.monotonic()
    if run_seconds > 0:
        time.sleep(run_seconds)
    os.write(_records(), RECORD.pack(number, started_at, time.monotonic()))


@functools.cache
def _records() -> int:
    """Return the descriptor of the file; what is appended in one write stays together."""
    return os.open(os.environ[RECORDS_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


# Celery shares an application's tasks with every other one of the process,
# and a fair task makes the applications fair that it comes to.
work_plainly = plain.task(name="work", shared=False)(work)
work_fairly = lru_task(fair, name="work", shared=False)(work)


def publish_plainly(key: str, number: int, *args: Any, **options: Any) -> None:
    work_plainly.delay(number, *args, **options)


def publish_fairly(key: str, number: int, *args: Any, **options: Any) -> None:
    work_fairly.lru_delay(key, number, *args, **options)

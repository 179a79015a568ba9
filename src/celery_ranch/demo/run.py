"""One run of the workload: submit it, watch it start, measure the waits."""

from __future__ import annotations

import time
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from pathlib import Path

from celery import Celery
from redis import Redis

from celery_ranch.demo.apps import STARTS
from celery_ranch.demo.worker import WorkerFailedError, WorkerProcess
from celery_ranch.demo.workload import (
    FLOODER,
    PROCESSES,
    RUN_SECONDS,
    Submission,
    TaskWait,
)
from celery_ranch.engines.embedded import EmbeddedRedis

__all__ = ["Submit", "run"]

#: Publishes the task of a number and a run time in seconds for a tenant.
Submit = Callable[[str, int, float], object]

#: How long a living worker may be silent before it counts as stuck.
SILENCE_SECONDS = 30.0

WARM_UP = -1


def run(
    app: Celery,
    submit: Submit,
    planned: Sequence[Submission],
    server: EmbeddedRedis,
    on_start: Callable[[TaskWait], None],
    check: Callable[[], None],
) -> tuple[TaskWait, ...]:
    """Run what is planned on a worker of its own; return every task's wait.

    The worker is warm before the first task is submitted, and has ended when
    this returns or raises. `on_start` hears of each task as it starts. `check`
    is called at least once a second, and ends the run by raising.

    Raises:
        WorkerFailedError: The worker ended, started nothing for 30 seconds, or
            started a task twice.
    """
    url = server.broker_url()
    app.conf.update(broker_url=url, result_backend=url)
    log = Path(server.folder) / f"{app.main}.log"
    name = f"celery_ranch.demo.apps:{app.main}"
    with (
        app,
        Redis(unix_socket_path=server.socket_path) as redis,
        WorkerProcess(
            name,
            url,
            log,
            concurrency=PROCESSES,
            # A worker that has to be killed leaves its temporary files.
            environment={"TMPDIR": str(server.folder)},
        ) as worker,
    ):
        starts = _Starts(redis, worker, check)
        submit("warm-up", WARM_UP, RUN_SECONDS)
        starts.next(SILENCE_SECONDS)
        return _submit_and_watch(submit, planned, starts, on_start)


class _Starts:
    """The starts of tasks, as the worker tells them."""

    def __init__(self, redis: Redis, worker: WorkerProcess, check: Callable[[], None]) -> None:
        self._redis = redis
        self._worker = worker
        self.check = check

    def next(self, within_seconds: float) -> tuple[int, float] | None:
        """Return number and start time of the next task that starts, if one does in time.

        Raises:
            WorkerFailedError: The worker ended, or nothing started in 30 seconds.
        """
        deadline = time.monotonic() + within_seconds
        while (left_seconds := deadline - time.monotonic()) > 0:
            self.check()
            # Redis reads a timeout of 0 as forever, and one of less as 0.
            reply = self._redis.blpop([STARTS], timeout=max(0.002, min(left_seconds, 1.0)))
            if reply is not None:
                number, started_at = reply[1].split()
                return int(number), float(started_at)
            self._worker.check()
        if within_seconds >= SILENCE_SECONDS:
            raise self.failed(f"no task started for {SILENCE_SECONDS:.0f} seconds")
        return None

    def failed(self, reason: str) -> WorkerFailedError:
        """Return the error that says this of the worker."""
        return self._worker.failed(reason)


def _submit_and_watch(
    submit: Submit,
    planned: Sequence[Submission],
    starts: _Starts,
    on_start: Callable[[TaskWait], None],
) -> tuple[TaskWait, ...]:
    """Submit each task when it is its time, and in between watch tasks start."""
    began_at = time.monotonic()
    submitted_at: list[float] = []
    waits: dict[int, TaskWait] = {}
    flood_starts: list[float] = []
    while len(waits) < len(planned):
        due_seconds = SILENCE_SECONDS
        if len(submitted_at) < len(planned):
            due_at = began_at + planned[len(submitted_at)].at_seconds
            due_seconds = due_at - time.monotonic()
        if due_seconds <= 0:
            number = len(submitted_at)
            starts.check()
            submitted_at.append(time.monotonic())
            submit(planned[number].tenant, number, RUN_SECONDS)
            continue
        started = starts.next(due_seconds)
        if started is not None:
            number, started_at = started
            if number in waits or not 0 <= number < len(submitted_at):
                raise starts.failed(f"task {number} started, which has started before")
            tenant, since = planned[number].tenant, submitted_at[number]
            flooded = len(flood_starts) - bisect_right(flood_starts, since)
            wait = TaskWait(tenant, started_at - since, flooded)
            if tenant == FLOODER:
                insort(flood_starts, started_at)
            waits[number] = wait
            on_start(wait)
    return tuple(waits.values())

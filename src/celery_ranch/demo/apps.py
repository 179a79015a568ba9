"""The same task twice: in a plain Celery application, and in one made fair.

This is what ``celery -A celery_ranch.demo.apps:plain worker`` loads.
"""

from __future__ import annotations

import time

from celery import Celery, Task

from celery_ranch import lru_task

__all__ = ["STARTS", "fair", "plain", "submit_fairly", "submit_plainly"]

#: The list in the result backend's Redis where each task says that it starts.
STARTS = "demo:starts"

plain = Celery("plain")
plain.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)

fair = Celery("fair")
fair.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


# Celery shares an application's tasks with every other one of the process,
# and a fair task makes the applications fair that it comes to.
@plain.task(name="render", bind=True, shared=False)
def render_plainly(task: Task, number: int, run_seconds: float) -> None:
    """Say that the task of this number starts, then work."""
    _render(task, number, run_seconds)


@lru_task(fair, name="render", bind=True, shared=False)
def render_fairly(task: Task, number: int, run_seconds: float) -> None:
    """Say that the task of this number starts, then work."""
    _render(task, number, run_seconds)


def submit_plainly(tenant: str, number: int, run_seconds: float) -> None:
    """Send a task the way Celery does: whoever queued first is served first."""
    render_plainly.delay(number, run_seconds)


def submit_fairly(tenant: str, number: int, run_seconds: float) -> None:
    """Send a task on behalf of a tenant: whoever was served least is served first."""
    render_fairly.lru_delay(tenant, number, run_seconds)


def _render(task: Task, number: int, run_seconds: float) -> None:
    """Do what both do."""
    task.app.backend.client.rpush(STARTS, f"{number} {time.monotonic()}")
    time.sleep(run_seconds)

"""Without redis-py, which is an extra, entries are kept in this process's memory."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys

sys.modules["redis"] = None  # as where it is not installed

import celery_ranch.worker.step
from celery import Celery
from celery_ranch import ConfigurationError, Ranch, lru_task

app = Celery("small", broker="memory://")
app.conf.celery_ranch = {"url": "memory://"}

@lru_task(app, name="render")
def render(report_id): ...

render.lru_delay("acme", 42)
assert [task.args for task in Ranch(app).pending("acme")] == [[42]]

for url in ("redis://localhost", "sentinel://localhost"):
    other = Celery("large", broker="memory://")
    other.conf.celery_ranch = {"url": url, "sentinel_master": "one"}
    try:
        Ranch(other).engine
    except ConfigurationError as error:
        print(error)
"""


def test_an_application_works_in_memory_and_is_told_what_a_redis_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 2
    assert all("where celery-ranch[redis] is installed" in line for line in told)

"""Without prometheus-client, which is an extra, all but metrics works, and says what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['prometheus_client'] = None  # as where it is not installed"

WORKER = """
from celery import Celery, signals
from celery.worker import state
from celery_ranch import configure

app = Celery("small", broker="memory://", set_as_current=False)
app.conf.celery_ranch = {"url": "memory://", "metrics_enabled": True}
configure(app)

@signals.worker_ready.connect(weak=False)
def end(**kwargs):
    state.should_stop = 0

app.worker_main(["worker", "--pool=solo", "--loglevel=INFO"])
"""

COMMAND = """
from celery_ranch.cli.program import main

main(["--store", "redis://127.0.0.1:1/0", {command!r}])
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"{WITHOUT}\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


def test_a_worker_that_is_to_serve_metrics_warns_and_works() -> None:
    done = run(WORKER)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "pip install 'celery-ranch[metrics]'" in told
    assert "ready." in told


@pytest.mark.parametrize("command, extra", [("metrics", "metrics"), ("dashboard", "dashboard")])
def test_commands_say_what_they_need(command: str, extra: str) -> None:
    done = run(COMMAND.format(command=command))
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    assert f"pip install 'celery-ranch[{extra}]'" in line

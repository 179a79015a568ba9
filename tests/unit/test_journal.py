"""What a native thread says is logged, and never at the cost of that thread."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest

from celery_ranch.worker.journal import Journal

BESIDE_GREEN_THREADS = """
import eventlet
eventlet.monkey_patch()
import logging, sys
from celery_ranch.worker.journal import Journal
from celery_ranch.worker.native import native

handler = logging.StreamHandler(sys.stdout)
logger = logging.getLogger("beside")
logger.addHandler(handler)
journal = Journal()
has_said = native("_thread", "allocate_lock")()
has_said.acquire()

def speak():
    journal.say(logger.warning, "from a %s thread", "native")
    has_said.release()

handler.acquire()
native("_thread", "start_new_thread")(speak, ())
assert has_said.acquire(timeout=20), "it waits for the handler"
handler.release()
journal.say(logger.warning, "from a green one")
"""


def test_a_native_thread_beside_eventlets_does_not_wait_for_a_handler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_GREEN_THREADS], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["from a native thread", "from a green one"]


def test_anywhere_else_every_thread_logs_at_once(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal()
    logger = logging.getLogger("anywhere")
    speaker = threading.Thread(target=journal.say, args=(logger.warning, "said %d times", 1))
    # Workers of other tests set the root logger's level.
    with caplog.at_level(logging.WARNING, logger="anywhere"):
        speaker.start()
        speaker.join(20)
    assert "said 1 times" in caplog.text

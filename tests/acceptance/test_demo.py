"""The demo, run whole as a reader of the README runs it."""

import os
import re
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import psutil
import pytest

from celery_ranch.demo.workload import FLOODER, QUIET_TENANTS
from tests.servers import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DEADLINE_SECONDS = 120.0
SVG = "{http://www.w3.org/2000/svg}"


def start_demo(folder, *arguments):
    """Start the demo in a folder; the TMPDIR of all its processes is in it."""
    return subprocess.Popen(
        [sys.executable, "-m", "celery_ranch.demo", *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(folder):
    """Return the command lines of everything the demo in a folder has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR", "").startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def rows_of(output):
    """Return the table's numbers by tenant: tasks, plain p50 p95 max, fair p50 p95 max."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows if len(row) == 8}


def test_the_demo_shows_that_the_quiet_tenants_no_longer_wait(short_path):
    demo = start_demo(short_path, "--tasks", "100", "--out", "chart.svg")
    output, _ = demo.communicate(timeout=DEADLINE_SECONDS)
    assert demo.returncode == 0, output

    rows = rows_of(output)
    assert set(rows) == {FLOODER, *QUIET_TENANTS}
    assert rows[FLOODER][0] == 100
    plain_first, fair_first = (
        int(found) for found in re.findall(r"up to (\d+)", " ".join(output.split()))
    )
    assert fair_first * 3 < plain_first, output

    chart = ElementTree.parse(short_path / "chart.svg").getroot()
    assert chart.tag == f"{SVG}svg"
    assert not list(chart.iter(f"{SVG}script"))
    words = " ".join(element.text or "" for element in chart.iter(f"{SVG}text"))
    for expected in (FLOODER, *QUIET_TENANTS, "plain Celery", "celery-ranch", "seconds"):
        assert expected in words

    assert processes_of(short_path) == []
    assert [path.name for path in short_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_an_interrupted_demo_leaves_nothing_running(short_path, number):
    demo = start_demo(short_path, "--tasks", "5000")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any("celery_ranch.demo.apps" in line for line in processes_of(short_path)):
        assert demo.poll() is None, demo.stdout.read()
        assert time.monotonic() < deadline
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=DEADLINE_SECONDS)

    assert demo.returncode == 130, output
    assert "interrupted" in output
    # What was killed with its group may need a moment.
    eventually(lambda: not processes_of(short_path), 20, "nothing is left of the demo")


def test_a_flood_of_no_size_is_refused_with_what_is_allowed(tmp_path):
    demo = start_demo(tmp_path, "--tasks", "0")
    output, _ = demo.communicate(timeout=DEADLINE_SECONDS)
    assert demo.returncode == 2
    assert "50 to 5000" in output

"""The units are those of a worker, and the page about draining is true of real workers."""

import configparser
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.pages import ROOT, Reader, blocks
from tests.servers import eventually

UNITS = blocks((ROOT / "docs" / "how-to" / "deploy-with-systemd.md").read_text(encoding="utf-8"))
DRAIN = blocks((ROOT / "docs" / "how-to" / "drain-and-upgrade.md").read_text(encoding="utf-8"))

WORKER, BEAT = [block for block in UNITS if block.language == "ini"]
HOST = socket.gethostname()

APPLICATION = """\
import os, time
from celery import Celery
from celery_ranch import lru_task

app = Celery("shop", broker=os.environ["URL"], backend=os.environ["URL"])

@lru_task(app, bind=True, name="shop.render")
def render(self, seconds=0.0):
    time.sleep(seconds)
    print(f"ran {self.request.id}")
    return self.request.hostname
"""

pytestmark = pytest.mark.timeout(180)


def name_of(unit):
    """Return the file that a page saves a unit as."""
    return re.search(r"`/etc/systemd/system/(\S+\.service)`", unit.paragraph)[1]


def commands(page, program):
    """Return a page's command lines that begin with a program."""
    lines = [line for b in page if b.language == "bash" for line in b.code.splitlines()]
    return [line for line in lines if line.startswith(program)]


def started(unit, instance=""):
    """Return the command that systemd starts, for that instance, with the program from PATH."""
    command = re.search(r"^ExecStart=/srv/shop/venv/bin/(.*)$", unit.code, re.MULTILINE)[1]
    return command.replace("%i", instance).replace("%%", "%")


@pytest.mark.parametrize("unit", [WORKER, BEAT], ids=name_of)
def test_systemd_finds_nothing_wrong_with_a_unit(unit, tmp_path):
    parsed = configparser.ConfigParser(interpolation=None, strict=True)
    parsed.optionxform = str
    parsed.read_string(unit.code)
    assert parsed.sections() == ["Unit", "Service", "Install"]

    if shutil.which("systemd-analyze"):
        file = tmp_path / name_of(unit)
        # What is not there on this computer: the program.
        celery = str(Path(sys.executable).with_name("celery"))
        file.write_text(unit.code.replace("/srv/shop/venv/bin/celery", celery))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # It speaks of the computer's own units too.
        assert [line for line in done.stderr.splitlines() if file.name in line] == []


def test_the_units_that_are_started_are_those_that_were_written():
    (enabled,) = commands(UNITS, "systemctl enable")
    assert {re.sub("@.*", "@.service", n) for n in shlex.split(enabled)[3:]} == {name_of(WORKER)}


@pytest.fixture
def reader(tmp_path, own_redis):
    reader = Reader(tmp_path, URL=f"redis://127.0.0.1:{own_redis.port}/0")
    reader.write("shop.py", APPLICATION)
    return reader


def test_workers_are_taken_out_restarted_and_drained_as_the_page_says(reader, own_redis):
    one, two = started(WORKER, "one"), started(WORKER, "two")
    shutdown, cancel = [
        line.replace("one@shop.internal", f"one@{HOST}") for line in commands(DRAIN, "celery ")
    ]
    script, letters = [block.code for block in DRAIN if block.language == "python"]
    reader.write("drain.py", script)

    own_redis.stop()
    with reader.running(one, ready="Cannot connect to") as log_of_one:
        # A worker that starts while Redis is away waits for it.
        own_redis.start()
        eventually(lambda: "ready." in log_of_one.read_text(), 40, "worker one has started")

        # Taken out: what comes now waits for another worker.
        reader.run(cancel)
        reader.run_python(
            "from shop import *\nprint([render.lru_delay('acme').id for _ in range(3)])"
        )
        with reader.running(two) as log_of_two:
            eventually(lambda: log_of_two.read_text().count("ran ") == 3, 30, "two ran all three")
            assert "ran " not in log_of_one.read_text()

            # Restarted while it runs something: that ends, and nothing runs twice.
            reader.run(cancel.replace("cancel_consumer", "add_consumer"))
            reader.run_python("from shop import *\nrender.lru_map('acme', [1.0] * 8)")
            eventually(
                lambda: " received" in log_of_one.read_text(), 30, "one has something to run"
            )
            reader.run(shutdown, code=69)
            eventually(
                lambda: "Got shutdown from remote" in log_of_one.read_text(), 30, "one was told"
            )

            reader.run_python("from shop import *\napp.send_task('shop.old', lru_key='acme')")
            told = reader.run(commands(DRAIN, "python ")[0])
            assert re.fullmatch(
                r"(celery: \d+ wait, \d+ are delayed, \d+ run\n)*drained\n", told
            ), told
            ran = re.findall(r"ran (\S+)", log_of_one.read_text() + log_of_two.read_text())
            assert len(ran) == len(set(ran)) == 3 + 8

            # Dead letters are told of, and get another chance.
            told = reader.run_python(letters)
            assert re.match(r"\('acme',\) .*shop\.old", told), told

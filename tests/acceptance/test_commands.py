"""The commands as they are typed: `celery -A app ranch …`, and `celery-ranch` beside an app."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers import FairApp

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Any]:
    app = FairApp(tmp_path_factory.mktemp("commands"), redis_url)
    app.send("work", lru_key="acme")
    yield app
    app.close()


def typed(app: Any, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment as somebody types it."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=app.tmp_path,
        env={**app.env, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )


def ranch(app: Any, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return typed(app, "celery", "-A", app.module, "ranch", *arguments, **environment)


def beside(app: Any, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    place = {"CELERY_RANCH_STORE": app.redis_url, "CELERY_RANCH_PREFIX": f"{app.name}:"}
    return typed(app, "celery-ranch", *arguments, **place, **environment)


def test_an_application_is_looked_at_and_steered_by_celery_s_own_command(app: Any) -> None:
    done = ranch(app, "limit", "beta", "--concurrency", "3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "beta: concurrency 3\n", "")

    done = ranch(app, "status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["queues"][0]["queue"] == app.name


def test_a_task_is_cancelled_and_dead_letters_are_listed(app: Any) -> None:
    result = app.send("work", lru_key="gone")

    assert ranch(app, "cancel", "--yes", result.id).returncode == 0
    assert result.state == "REVOKED"
    assert ranch(app, "dead", "list").stdout.startswith("Entry")


def test_a_store_is_looked_at_and_steered_without_its_application(app: Any) -> None:
    done = beside(app, "keys")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^acme +1 ", done.stdout, re.M)
    assert beside(app, "pause", "idle").stdout == "idle: paused\n"
    assert app.ranch.key("idle").is_paused


def test_who_drops_a_task_of_a_bare_store_says_where_results_are(app: Any) -> None:
    result = app.send("work", lru_key="gone")

    done = beside(app, "cancel", "--yes", result.id)
    assert done.returncode == 2
    assert "--result-backend" in done.stderr
    done = beside(app, "cancel", "--yes", result.id, CELERY_RESULT_BACKEND=app.redis_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert result.state == "REVOKED"


def test_errors_are_one_line_without_a_traceback(app: Any) -> None:
    for done in (
        ranch(app, "share", "acme", "1000"),
        typed(app, "celery-ranch", "--store", "redis://127.0.0.1:1/0", "status"),
        typed(app, "celery-ranch", "--store", "gopher://there", "keys", "-Q", "x"),
        # Celery alone, without an application: entries would be in this process's memory.
        typed(app, "celery", "ranch", "status"),
    ):
        assert done.returncode == 1
        assert re.fullmatch(r"Error: .+\n", done.stderr), done.stderr
    assert "say where the store is" in typed(app, "celery-ranch", "status").stderr


def test_a_reader_that_has_read_enough_is_no_error(app: Any) -> None:
    command = f"{BIN}/celery -A {app.module} ranch top --json --interval 0.1 | head -n 2"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}; exit ${{PIPESTATUS[1]}}"],
        cwd=app.tmp_path,
        env=app.env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


def test_the_shell_completes_commands_queues_and_keys(app: Any) -> None:
    def completed(program: str, words: str, **environment: str) -> list[str]:
        name = program.upper().replace("-", "_")
        environment.update(COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
        done = typed(app, program, **{f"_{name}_COMPLETE": "bash_complete"}, **environment)
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.split()]

    of_app = f"celery -A {app.module} ranch"
    assert completed("celery", f"{of_app} res") == ["resume"]
    assert completed("celery", f"{of_app} pause ac") == ["acme"]
    store = {"CELERY_RANCH_STORE": app.redis_url, "CELERY_RANCH_PREFIX": f"{app.name}:"}
    assert completed("celery-ranch", "celery-ranch status --queue test-", **store) == [app.name]
    away = {"CELERY_RANCH_STORE": "redis://127.0.0.1:1/0"}
    assert completed("celery-ranch", "celery-ranch pause ac", **away) == []


PRELOADED = """
from click import Option
from fair_app import app
app.user_options["preload"].add(Option(["--tenant"], default="nobody"))
"""


def test_options_that_an_application_adds_to_every_command_are_no_trouble(app: Any) -> None:
    (app.tmp_path / "preloaded.py").write_text(PRELOADED)
    done = typed(app, "celery", "-A", "preloaded", "ranch", "--tenant", "acme", "check")
    assert (done.returncode, done.stdout) == (0, "nothing is wrong\n")


def test_the_demo_is_told_of(app: Any) -> None:
    done = typed(app, "celery-ranch", "demo", "--help")
    assert done.returncode == 0
    assert "size of the flood" in done.stdout


class Terminal:
    """A terminal of 80 columns and 24 lines in which a command runs."""

    def __init__(self, app: Any, *command: str) -> None:
        self.main, side = pty.openpty()
        self.process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=app.tmp_path,
            env={**app.env, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"},
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            # The terminal that Ctrl-C is pressed in.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(side)
        self.shown = ""

    def await_shown(self, text: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.main], [], [], 0.1)[0]:
                self.shown += os.read(self.main, 65_536).decode(errors="replace")

    def press(self, key: bytes) -> int:
        """Press a key and return the exit code, while what is still shown is read."""
        os.write(self.main, key)
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.main], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.main, 65_536).decode(errors="replace")
                except OSError:  # Linux says so that nobody has the other side open
                    break
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "ctrl-c"])
def test_top_shows_what_changes_until_somebody_leaves(app: Any, key: bytes) -> None:
    terminal = Terminal(app, "celery", "-A", app.module, "ranch", "top", "--interval", "0.2")
    try:
        terminal.await_shown("acme")
        late = app.send("work", lru_key=f"late-{ord(key)}")
        terminal.await_shown(f"late-{ord(key)}")
        app.engine.cancel(app.name, late.id)
        assert terminal.press(key) == 0
    finally:
        terminal.close()
    for screen in terminal.shown.split("\x1b[H")[1:]:
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
        assert len(plain.split("\n")) <= 25
    # The terminal is left as it was.
    assert terminal.shown.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in terminal.shown

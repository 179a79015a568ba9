"""The commands of the documentation are those that there are, and run as they are written."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import Any

import pytest

from celery_ranch.scheduling.model import Outcome, OutcomeKind
from tests.acceptance.pages import ROOT, blocks
from tests.commands import Terminal
from tests.workers import FairApp

NIGHT = blocks((ROOT / "docs" / "how-to" / "steer-at-night.md").read_text(encoding="utf-8"))


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Any:
    app = FairApp(tmp_path, redis_url)
    yield app
    app.close()


def test_the_page_of_commands_says_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert page.endswith(module.written()), "python docs/commands.py writes it anew"


def test_what_waits_is_moved_as_it_is_written(app: Any) -> None:
    [code] = [block.code for block in NIGHT if block.language == "python"]
    app.ranch.cancel(app.send("work", lru_key="acme", queue="overnight").id)
    single = app.send("work", lru_key="bolt-by-mistake").id
    app.send("work", lru_key="acme")

    exec(code, {"app": app.client, "TASK_ID": single})

    path = ("acme", "backfill")
    assert (app.ranch.key("bolt").waiting, app.ranch.key(path, "overnight").waiting) == (1, 1)
    assert app.engine.snapshot(app.name).waiting == 1


def test_every_command_of_a_night_works_as_it_is_written(app: Any) -> None:
    dead = app.send("work", lru_key="acme").id
    [lease] = app.engine.lease("w", [app.name], 1).leases
    app.engine.settle("w", [Outcome(OutcomeKind.DEAD, app.name, dead, lease.number, "why")])
    terminal = Terminal(app.client)

    def meant(word: str) -> str:
        if word == "TASK_ID":  # each time another
            return str(app.send("work", lru_key="acme").id)
        return dead if word == "ENTRY" else word

    lines = [
        line for block in NIGHT if block.language == "bash" for line in block.code.splitlines()
    ]
    seen = set()
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert [program, *words[:3]] == ["celery", "-A", "shop", "ranch"]
        command = [meant(word) for word in words[3:]]
        terminal.run(*command, answer="y\n")
        seen.add(command[0])

    assert {"top", "pause", "limit", "share", "cancel", "move", "dead"} <= seen
    acme = app.ranch.key("acme")
    assert (acme.is_paused, acme.share, acme.waiting) == (False, 1.0, 1)
    # What was explained, and what was given to somebody else.
    assert app.ranch.key(("acme", "backfill")).waiting == 1
    assert app.ranch.key("bolt").waiting == 1
    assert app.ranch.dead_letters() == ()

"""A status as people see it: it fits the screen, and says what there is to say."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from celery_ranch.cli.reports import fitted, key_lines, tables
from celery_ranch.observing.status import (
    Flow,
    KeyLevelStatus,
    KeyStatus,
    LevelStatus,
    LimitStatus,
    OtherKeys,
    QueueStatus,
    Spread,
    Status,
    WorkerStatus,
)

FLOW = Flow(
    enqueued_per_second=123.4,
    finished_per_second=0.05,
    failed_per_second=0.0,
    wait=Spread(100, 0.012, 3.4, 4_000.0),
    run=Spread(100, 0.5, 90.0, 200_000.0),
)


def key(*path: str, **facts: Any) -> KeyStatus:
    known: dict[str, Any] = {
        "waiting": 1_234_567,
        "delayed": 12,
        "leased": 3,
        "oldest_wait": 95.0,
        "share": 2.5,
        "entitled": 0.25,
        "received": 0.004,
        "levels": (KeyLevelStatus(5, 1_234_567, -0.5, True),),
        "limits": (),
        "is_paused": False,
        "children": 0,
        "last_leased": 1.0,
        "flow": FLOW,
    }
    return KeyStatus(key=path, **{**known, **facts})


def queue(name: str, *keys: KeyStatus, **facts: Any) -> QueueStatus:
    known: dict[str, Any] = {
        "waiting": 10_000_000,
        "delayed": 2,
        "leased": 16,
        "dead": 1,
        "workers": 2,
        "next_due": 60.0,
        "oldest_wait": 95.0,
        "evenness": 0.987,
        "flow": FLOW,
        "levels": (),
        "other": OtherKeys(4_321, 99, 8, 7, 0.125),
    }
    return QueueStatus(queue=name, keys=keys, **{**known, **facts})


def status(*queues: QueueStatus, **facts: Any) -> Status:
    return Status(at=0.0, window_seconds=60.0, queues=queues, **{"workers": (), **facts})


def shown(seen: Status, width: int, rows: int | None = None) -> str:
    output = io.StringIO()
    console = Console(file=output, width=width, color_system=None, markup=False, emoji=False)
    for each in tables(seen, width, rows):
        console.print(each)
    return output.getvalue()


FULL = status(
    queue(
        "images",
        key("acme", "alice", limits=(LimitStatus("concurrency", 4, 4, True),)),
        key("a" * 512, is_paused=True),
        key("[red]24/7[/red]\x1b[31m", limits=(LimitStatus("rate", 10, 1, False, 2.0),)),
        key("日本語" * 20, oldest_wait=None, received=None, entitled=None),
        levels=(LevelStatus(0, 5, 1, 2, FLOW), LevelStatus(5, 10, 2, 3, FLOW)),
    ),
    queue("q" * 60, evenness=None),
    workers=(
        WorkerStatus("w1@" + "host" * 20, True, 1.5, 4, ("images", "mail"), "h", 123, "0.3.0"),
        WorkerStatus("w2@host", False, 45.0, 4),
    ),
    more_queues=3,
    more_workers=1_000,
)


@pytest.mark.parametrize("width", [80, 119, 120, 200])
def test_no_line_is_longer_than_the_screen_is_wide(width: int) -> None:
    lines = shown(FULL, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "".join(lines).isprintable()


def test_a_narrow_screen_shows_what_matters_first() -> None:
    text = shown(FULL, 80)
    for said in (
        "acme/alice",
        "1,234,567",
        "concurrency 4/4!",
        "paused",
        "rate 2/s",
        "4,321 more",
        "3/min",
        "0.4 % of 25 %",
        "(lost)",
    ):
        assert said in " ".join(text.split()), f"{said}\n{text}"


def test_a_wide_screen_shows_all_of_it() -> None:
    text = " ".join(shown(FULL, 250).split())
    for said in ("Evenness", "0.987", "-0.5@5", "images, mail", "0.3.0", "1.1 h", "and 3 more"):
        assert said in text, f"{said}\n{text}"
    assert r"[red]24\/7[\/red]\x1b[31m" in text


def test_what_is_not_known_is_not_shown_as_nothing() -> None:
    seen = status(queue("mail", key("acme", oldest_wait=None), flow=Flow(), evenness=None))
    row = next(line for line in shown(seen, 200).splitlines() if line.startswith("mail"))
    assert row.split().count("-") == 8


def test_as_many_keys_are_shown_as_the_screen_has_room_for() -> None:
    seen = status(queue("mail", *(key(f"key-{number}") for number in range(30))))
    text = shown(seen, 80, rows=5)
    assert "key-4" in text
    assert "key-5" not in text


@pytest.mark.parametrize("height", [24, 40])
def test_a_screen_is_filled_and_not_more(height: int) -> None:
    workers = tuple(WorkerStatus(f"w{number}", True, 1.0, 0) for number in range(100))
    levels = (LevelStatus(0, 5, 1, 2, FLOW), LevelStatus(5, 10, 2, 3, FLOW))
    mail = queue("mail", *(key(f"key-{number}") for number in range(50)), levels=levels)
    output = io.StringIO()
    console = Console(file=output, width=80)
    for each in fitted(status(mail, workers=workers), 80, height):
        console.print(each)
    assert output.getvalue().count("\n") == height
    assert "more" in output.getvalue()


def test_a_key_is_told_of_line_by_line() -> None:
    limits = (LimitStatus("concurrency", 4, 3, False),)
    told = key("acme", "a b", limits=limits, children=2, received=None)
    lines = [line.split(":", 1) for line in key_lines(told, ["plan=gold"], {"cores": 8})]
    facts = {name: value.strip() for name, value in lines}
    assert facts["key"] == "acme/a b"
    assert facts["state"] == "concurrency 3/4"
    assert facts["waits"] == "half within 12 ms, 95 % within 3.4 s, 99 % within 1.1 h"
    assert facts["priority 5"] == "1,234,567 waiting, lead -0.5"
    assert (facts["tags"], facts["cores"]) == ("plan=gold", "8")
    assert "got of due" not in facts

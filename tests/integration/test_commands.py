"""Every command of `celery ranch` against a real Redis: what it does, shows and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_ranch.cli.commands import COMMANDS
from celery_ranch.scheduling.model import Outcome, OutcomeKind
from tests.commands import Terminal
from tests.workers import FairApp

#: Keys that somebody may choose, and how they are written.
ODD_KEYS = {
    ("24/7",): r"24\/7",
    (" spaced ",): r"\x20spaced\x20",
    ("two words", "🐎"): "two words/🐎",
    ("-dash",): "-dash",
    ("\x1b[31mred\n",): r"\x1b[31mred\x0a",
    ("[bold]markup[/bold]",): r"[bold]markup[\/bold]",
    (":horse:",): ":horse:",
}


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Any:
    app = FairApp(tmp_path, redis_url)
    yield app
    app.close()


@pytest.fixture
def terminal(app: Any) -> Terminal:
    return Terminal(app.client)


def bury(app: Any, *keys: str, reason: str = "no such task") -> list[str]:
    """Let a task of each key become a dead letter, and return their ids."""
    ids = [app.send("work", key, lru_key=key).id for key in keys]
    leases = app.engine.lease("undertaker", [app.name], len(keys)).leases
    app.engine.settle(
        "undertaker",
        [Outcome(OutcomeKind.DEAD, app.name, one.entry_id, one.number, reason) for one in leases],
    )
    return ids


# -- looking ------------------------------------------------------------------


def test_odd_keys_are_shown_as_they_can_be_typed(app: Any, terminal: Terminal) -> None:
    for key in ODD_KEYS:
        app.send("work", lru_key=key)

    shown = terminal.run("keys")
    for key, written in ODD_KEYS.items():
        assert any(line.startswith(f"{written} ") for line in shown.splitlines()), shown
        assert terminal.read("key", "--", written)[0]["key"] == list(key)
        terminal.run("pause", "--", written)
        assert app.ranch.key(key).is_paused
    assert shown.replace("\n", "").isprintable()


def test_keys_with_most_waiting_come_first(app: Any, terminal: Terminal) -> None:
    for key, number in (("few", 1), ("many", 3), ("some", 2)):
        for _ in range(number):
            app.send("work", lru_key=key)

    lines = terminal.run("keys", "--limit", "2").splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [["many", "3"], ["some", "2"]]
    assert "1 more" in terminal.type("keys", "--limit", "2").stderr


def test_idle_keys_are_listed_when_they_are_asked_for(app: Any, terminal: Terminal) -> None:
    app.engine.cancel(app.name, app.send("work", lru_key="gone").id)
    terminal.run("share", "gone", "2")

    assert terminal.read("keys") == []
    assert [each["key"] for each in terminal.read("keys", "--idle")] == [["gone"]]


def test_keys_with_a_tag_are_listed(app: Any, terminal: Terminal) -> None:
    for key in ("one", "two"):
        app.ranch.add_tag(key, "plan", "gold")
    app.ranch.add_tag("three", "plan", "tin")

    def named(*arguments: str) -> list[Any]:
        return sorted(each["key"] for each in terminal.read("keys", *arguments))

    assert named("--tag", "plan=gold") == [["one"], ["two"]]
    assert named("--tag", "plan") == [["one"], ["three"], ["two"]]


def test_a_key_is_shown_with_its_first_tasks(app: Any, terminal: Terminal) -> None:
    ids = [app.send("work", number, lru_key=("acme", "alice")).id for number in range(3)]

    [facts] = terminal.read("key", "acme/alice", "--limit", "2")
    assert (facts["waiting"], facts["share"], facts["is_paused"]) == (3, 1.0, False)
    assert [(task["task_id"], task["args"]) for task in facts["tasks"]] == [
        (ids[0], [0]),
        (ids[1], [1]),
    ]
    shown = terminal.run("key", "acme/alice")
    assert ids[2] in shown
    assert "fair_app.work" in shown


def test_a_part_of_a_path_is_shown_with_all_below_it_and_its_limits(
    app: Any, terminal: Terminal
) -> None:
    for user in ("alice", "bob"):
        app.send("work", lru_key=("acme", user))
    terminal.run("limit", "acme", "--concurrency", "1", "--backlog", "5")
    app.engine.lease("w", [app.name], 9)

    [facts] = terminal.read("key", "acme")
    assert (facts["waiting"], facts["leased"], facts["children"]) == (1, 1, 2)
    limits = {each["kind"]: (each["used"], each["most"]) for each in facts["limits"]}
    assert limits == {"concurrency": (1, 1), "backlog": (1, 5)}
    assert "concurrency 1/1!" in terminal.run("key", "acme")


def test_a_key_that_is_not_known_is_shown_as_an_idle_one(terminal: Terminal) -> None:
    [facts] = terminal.read("key", "nobody")
    assert (facts["key"], facts["waiting"], facts["share"]) == (["nobody"], 0, 1.0)


def test_the_status_says_what_waits_in_every_queue(app: Any, terminal: Terminal) -> None:
    app.send("work", lru_key="acme")
    app.send("work", lru_key="acme", queue="images", countdown=1_000)

    [status] = terminal.read("status")
    counts = {each["queue"]: (each["waiting"], each["delayed"]) for each in status["queues"]}
    assert counts == {app.name: (1, 0), "images": (0, 1)}
    assert "acme" in terminal.run("status", "--queue", "images")
    assert "images" not in terminal.run("status", "--queue", app.name)


def test_top_looks_as_often_as_it_is_asked_to(app: Any, terminal: Terminal) -> None:
    app.send("work", lru_key="acme")

    looks = terminal.read("top", "--looks", "2", "--interval", "0.1")
    assert [each["queues"][0]["waiting"] for each in looks] == [1, 1]
    # Where the output is no terminal, once.
    assert terminal.run("top").count("acme") == 1


def test_a_sound_store_passes_the_check_and_a_broken_one_does_not(
    app: Any, terminal: Terminal
) -> None:
    task = app.send("work", lru_key="acme")
    assert terminal.run("check") == "nothing is wrong\n"
    assert terminal.read("check") == []

    entries = f"{app.name}:{{{app.name}}}:entries"
    kept = app.open_store()
    record = kept.hget(entries, task.id)
    kept.hdel(entries, task.id)
    try:
        result = terminal.type("check")
        assert result.exit_code == 1
        assert task.id in result.stdout
        found = [json.loads(line) for line in terminal.type("check", "--json").stdout.splitlines()]
        assert "no entry" in [each["kind"] for each in found]
    finally:
        kept.hset(entries, task.id, record)
        kept.close()


def test_a_task_s_wait_is_explained(app: Any, terminal: Terminal) -> None:
    first, second = (app.send("work", number, lru_key="acme").id for number in range(2))
    app.ranch.pause("acme")

    assert terminal.run("explain", second) == (
        "waiting: 1 of its key's tasks goes first; acme is paused; no worker serves its queue\n"
    )
    [told] = terminal.read("explain", first, "--seconds", "0.1")
    assert (told["state"], told["key"], told["position"]) == ("waiting", ["acme"], 0)
    assert (told["blockers"][0]["kind"], told["starts_in_us"]) == ("paused", None)
    assert terminal.fail("explain", "nobody").startswith("unknown: ")


# -- steering -----------------------------------------------------------------


def test_a_share_is_set_and_taken_back(app: Any, terminal: Terminal) -> None:
    assert terminal.run("share", "acme/alice", "2.5") == "acme/alice: share 2.5\n"
    assert app.ranch.key(("acme", "alice")).share == 2.5
    terminal.run("share", "acme/alice", "none")
    assert app.ranch.key(("acme", "alice")).share == 1.0


def test_a_share_is_set_of_a_tag_and_of_a_depth(app: Any, terminal: Terminal) -> None:
    app.ranch.add_tag("gold", "plan", "gold=1")
    terminal.run("share", "--tag", "plan=gold=1", "4")
    terminal.run("share", "0.5", "--depth", "1")
    for key in ("gold", "other"):
        app.send("work", lru_key=key)

    assert app.ranch.key("gold").share == 4.0
    assert app.ranch.key("other").share == 0.5


def test_limits_are_set_anew(app: Any, terminal: Terminal) -> None:
    def leased() -> int:
        return len(app.engine.lease("w", [app.name], 10).leases)

    for _ in range(5):
        app.send("work", lru_key="acme")
    terminal.run("limit", "acme", "--concurrency", "2", "--rate", "1000/s", "--burst", "9")
    assert leased() == 2
    [facts] = terminal.read("limit", "acme", "--concurrency", "inf")
    assert (facts["concurrency"], facts["rate"]) == ("inf", None)
    assert leased() == 3
    assert terminal.run("limit", "acme", "--none") == "acme: no limits of its own\n"


def test_what_is_paused_waits_until_it_is_resumed(app: Any, terminal: Terminal) -> None:
    app.send("work", lru_key="acme")
    app.send("work", lru_key=("bolt", "bob"))

    assert terminal.run("pause", "acme", "bolt") == "acme: paused\nbolt: paused\n"
    assert app.engine.lease("w", [app.name], 10).leases == ()
    terminal.run("resume", "bolt")
    assert [one.key for one in app.engine.lease("w", [app.name], 10).leases] == [("bolt", "bob")]


def test_a_command_is_about_the_queue_that_it_names(app: Any, terminal: Terminal) -> None:
    terminal.run("share", "acme", "3", "--queue", "images")
    result = terminal.type("pause", "acme", "--queue", "imgaes")
    assert result.stderr == "the queue imgaes has held nothing yet\n"

    assert app.ranch.key("acme", "images").share == 3.0
    assert app.ranch.key("acme").share == 1.0


def test_who_is_quiet_hears_of_trouble_only(app: Any) -> None:
    quiet = Terminal(app.client, is_quiet=True)

    assert quiet.run("share", "acme", "2") == ""
    assert quiet.run("check") == ""
    assert quiet.fail("share", "acme", "1000").startswith("Error: 1000.0 is not a share")


# -- dropping -----------------------------------------------------------------


def test_a_cancelled_task_is_revoked(app: Any, terminal: Terminal) -> None:
    result = app.send("work", lru_key="acme")

    assert terminal.run("cancel", result.id, "--yes") == f"{result.id}: cancelled\n"
    assert result.state == "REVOKED"
    assert app.engine.snapshot(app.name).waiting == 0


def test_nothing_is_dropped_unless_somebody_says_yes(app: Any, terminal: Terminal) -> None:
    [letter] = bury(app, "dead")
    result = app.send("work", lru_key="acme")

    for command in (("cancel", result.id), ("dead", "delete", letter)):
        assert terminal.type(*command, answer="n\n").exit_code == 1
        assert "--yes" in terminal.type(*command, answer="").stderr
    assert app.engine.snapshot(app.name).waiting == 1
    assert app.engine.snapshot(app.name).dead == 1

    terminal.run("cancel", result.id, answer="y\n")
    terminal.run("dead", "delete", letter, answer="y\n")
    assert app.engine.snapshot(app.name).waiting == 0
    assert app.engine.snapshot(app.name).dead == 0


def test_what_does_not_wait_is_named_and_the_rest_is_dropped(app: Any, terminal: Terminal) -> None:
    result = app.send("work", lru_key="acme")

    told = terminal.fail("cancel", "--yes", "no\x1bsuch", result.id)
    assert told == r"Error: no\x1bsuch does not wait"
    assert result.state == "REVOKED"


def test_all_that_waits_at_a_key_and_below_it_is_cancelled(app: Any, terminal: Terminal) -> None:
    results = [app.send("work", n, lru_key=("acme", f"user-{n % 3}")) for n in range(30)]
    kept = app.send("work", lru_key="bolt")

    refused = terminal.type("cancel", "--key", "acme", answer="n\n")
    assert "Drop all that waits at acme and below it" in refused.stderr
    assert refused.exit_code == 1
    assert terminal.run("cancel", "--key", "acme", "--yes") == "acme: 30 cancelled\n"
    assert {result.state for result in results} == {"REVOKED"}
    assert kept.state == "PENDING"
    assert terminal.read("cancel", "--key", "acme", "--yes")[0]["cancelled"] == 0


def test_all_that_waits_at_keys_with_a_tag_is_cancelled(app: Any, terminal: Terminal) -> None:
    app.ranch.add_tag("acme", "plan", "trial")
    app.ranch.add_tag("bolt", "plan", "trial")
    for key in ("acme", "bolt", "paying"):
        app.send("work", lru_key=key)

    told = terminal.run("cancel", "--tag", "plan=trial", answer="y\n")
    assert told.endswith("plan=trial, 2 keys: 2 cancelled\n")
    assert app.engine.snapshot(app.name).waiting == 1


def test_all_that_waits_in_a_queue_is_cancelled(app: Any, terminal: Terminal) -> None:
    for key in ("acme", "bolt"):
        app.send("work", lru_key=key)
    app.send("work", lru_key="acme", queue="images")

    result = terminal.type("cancel", "--all", answer="y\n")
    assert f"Drop all 2 tasks that wait in {app.name}?" in result.stderr
    # click 8.1 echoes what is answered.
    assert result.stdout.endswith(f"{app.name}: 2 cancelled\n")
    assert app.engine.snapshot("images").waiting == 1


def test_dead_letters_are_listed_shown_retried_and_deleted(app: Any, terminal: Terminal) -> None:
    first, second = bury(app, "acme", "bolt", reason="a \x1b[31mred\nreason")

    assert [each["entry_id"] for each in terminal.read("dead", "list")] == [second, first]
    shown = terminal.run("dead", "list")
    assert first in shown
    assert r"a \x1b[31mred\x0areason" in shown
    assert "1 more" in terminal.type("dead", "list", "--limit", "1").stderr

    [facts] = terminal.read("dead", "show", first)
    assert (facts["task"], facts["key"], facts["args"]) == ("fair_app.work", ["acme"], ["acme"])
    assert "fair_app.work" in terminal.run("dead", "show", first)

    terminal.run("dead", "retry", first)
    assert app.ranch.key("acme").waiting == 1
    terminal.run("dead", "delete", second, "--yes")
    assert terminal.read("dead", "list") == []
    for command in (("show",), ("retry",), ("delete", "--yes")):
        assert "no entry" in terminal.fail("dead", *command, first)


def test_dead_letters_of_a_key_and_all_of_them_are_retried_and_deleted(
    app: Any, terminal: Terminal
) -> None:
    bury(app, "acme", "acme", "bolt")
    assert terminal.run("dead", "retry", "--key", "acme") == "2 retried\n"
    assert app.ranch.key("acme").waiting == 2
    assert terminal.read("dead", "delete", "--key", "nobody", "--yes")[0]["deleted"] == 0
    result = terminal.type("dead", "delete", "--all", answer="y\n")
    assert f"Drop all dead letters of {app.name} (1) for good?" in result.stderr
    assert result.stdout.endswith("1 deleted\n")


# -- moving -------------------------------------------------------------------


def test_all_that_waits_at_a_key_waits_elsewhere(app: Any, terminal: Terminal) -> None:
    app.send("work", lru_key="images", queue="images")
    for number in range(3):
        app.send("work", number, lru_key="acme")
    told = terminal.run("move", "--key", "acme", "--to-key", "low/acme", "--to-queue", "images")
    assert told == "acme: 3 moved to low/acme in images\n"
    assert app.ranch.key(("low", "acme"), "images").waiting == 3


def test_a_task_waits_elsewhere_and_one_that_does_not_wait_is_named(
    app: Any, terminal: Terminal
) -> None:
    result = app.send("work", lru_key="acme")
    assert terminal.run("move", result.id, "--to-key", "bolt") == f"{result.id}: moved to bolt\n"
    assert app.ranch.key("bolt").waiting == 1
    assert terminal.fail("move", "nobody", "--to-key", "bolt") == "Error: nobody does not wait"
    assert "nowhere" in terminal.fail("move", "--key", "bolt", "--to-queue", "nowhere")


# -- what is refused ----------------------------------------------------------

REFUSED = {
    "1000.0 is not a share; allowed: a number from 0.01 to 100": ("share", "acme", "1000"),
    "nan is not a share; allowed: a number from 0.01 to 100": ("share", "acme", "nan"),
    "('a', '', 'b') is not a key": ("pause", "a//b"),
    "is not a key; allowed: parts joined by /": ("key", "\\q"),
    "9 is not a key; allowed: a depth from 1 to 8": ("share", "--depth", "9", "2"),
    "concurrency is 0; allowed: an int from 1": ("limit", "acme", "--concurrency", "0"),
    "rate is 'often'; allowed: a text such as": ("limit", "acme", "--rate", "often"),
    "burst is 3; allowed: only together with a rate": ("limit", "acme", "--burst", "3"),
    "' ' is not a tag": ("keys", "--tag", "\t"),
    "there is no entry 'nobody' here": ("dead", "show", "nobody"),
}


@pytest.mark.parametrize("told, arguments", REFUSED.items())
def test_what_cannot_be_is_refused_in_one_line(
    terminal: Terminal, told: str, arguments: tuple[str, ...]
) -> None:
    line = terminal.fail(*arguments)
    assert line.startswith("Error: ")
    assert told.replace("' '", r"'\t'") in line


WRONGLY_USED = {
    "SHARE is a number": ("share", "acme", "much"),
    "one KEY and one SHARE": ("share", "acme", "bolt", "2"),
    "exactly one of KEY, --tag and --depth": ("share", "acme", "2", "--tag", "plan=gold"),
    "a tag is NAME=VALUE": ("limit", "--tag", "plan", "--none"),
    "at least one limit": ("limit", "acme"),
    "task ids, or one of --key, --tag and --all": ("cancel", "--all", "--key", "acme"),
    "neither a whole number nor inf": ("limit", "acme", "--backlog", "many"),
    "either task ids or --key": ("move", "--to-key", "a"),
    "say where to": ("move", "--key", "acme"),
    "the ids of dead letters, or one of": ("dead", "delete", "x", "--all"),
    "Missing argument": ("pause",),
    "No such command": ("paws",),
}


@pytest.mark.parametrize("told, arguments", WRONGLY_USED.items())
def test_a_command_that_is_wrongly_used_says_how_with_exit_code_2(
    terminal: Terminal, told: str, arguments: tuple[str, ...]
) -> None:
    assert told in terminal.fail(*arguments, code=2) or told in terminal.type(*arguments).stderr


def test_a_store_that_is_away_is_an_error_of_one_line(app: Any, terminal: Terminal) -> None:
    app.client.conf.celery_ranch = {"url": "redis://127.0.0.1:1/0"}
    app.ranch._settings = None
    app.ranch.use("redis://127.0.0.1:1/0")
    try:
        for arguments in (("status",), ("share", "acme", "2"), ("cancel", "--yes", "x"), ("top",)):
            assert "127.0.0.1:1" in terminal.fail(*arguments)
    finally:
        app.ranch.use(app.redis_url)


# -- whatever is typed --------------------------------------------------------

WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["--", "-", "acme", "a/b", "none", "inf", "nan", "-1", "1e999", "0", "plan=gold", "\udcff"]
    ),
    st.sampled_from(
        [
            "--tag",
            "--depth",
            "--json",
            "--queue",
            "--limit",
            "--rate",
            "--burst",
            "--none",
            "--idle",
        ]
    ),
    st.sampled_from(
        ["--concurrency", "--backlog", "--yes", "--key", "--all", "--sort", "list", "show", "retry"]
    ),
)


#: They go on until they are ended.
SERVERS = {"dashboard", "metrics"}


@pytest.mark.parametrize("name", [each.name for each in COMMANDS if each.name not in SERVERS])
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(WORDS, max_size=5))
def test_whatever_is_typed_there_is_an_answer_and_no_traceback(
    terminal: Terminal, name: str, words: list[str]
) -> None:
    once = ("--looks", "1") if name == "top" else ()
    result = terminal.type(name, *once, *words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.stderr
    assert (result.exit_code == 0) or result.stderr or name == "check"

"""The dashboard as somebody uses it, in a real browser beside a real Redis."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from click import Context

from celery_ranch.cli.commands import ranch
from celery_ranch.observing.dashboard.server import listen
from celery_ranch.scheduling.model import Outcome, OutcomeKind
from tests.acceptance.pages import ROOT, blocks
from tests.browsers import Browser, Keys
from tests.commands import Terminal
from tests.dashboards import Dashboard
from tests.servers import RedisServer, eventually
from tests.workers import FairApp

#: A tenant may choose its name.
HOSTILE = "\x1b\u202e<img src=x onerror=alert(1)>" + "🐎" * 60


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Any]:
    app = FairApp(tmp_path_factory.mktemp("page"), redis_url)
    for number in range(5):
        app.send("work", number, lru_key="acme")
    app.send("work", "<script>alert(2)</script>", lru_key=("globex", HOSTILE))
    app.send("work", lru_key=HOSTILE)
    app.send("work", lru_key="later", countdown=1_000)
    letters = {app.send("work", lru_key="buried").id for _ in range(2)}
    for lease in app.engine.lease("undertaker", [app.name], 20).leases:
        kind = OutcomeKind.DEAD if lease.entry_id in letters else OutcomeKind.RELEASED
        reason = HOSTILE if lease.entry_id in letters else ""
        app.engine.settle(
            "undertaker", [Outcome(kind, app.name, lease.entry_id, lease.number, reason)]
        )
    yield app
    app.close()


@pytest.fixture(scope="module")
def page(app: Any) -> Iterator[Dashboard]:
    with Dashboard(app.ranch) as page:
        yield page


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Browser:
    one_browser.go("about:blank")
    one_browser.look()
    one_browser.complaints()
    return one_browser


def at(page: Dashboard, name: str = "overview", *facts: tuple[str, str]) -> str:
    return f"{page.address}#/{name}?{urlencode(facts)}"


def test_what_is_stored_is_seen_without_loading_the_page_again(
    app: Any, page: Dashboard, browser: Browser
) -> None:
    browser.go(at(page))
    browser.await_text("Live", "#connection")
    browser.await_text("acme", "main")
    assert "live-seen" not in browser.text()
    result = app.send("work", lru_key="live-seen")
    browser.await_text("live-seen", "main")
    app.ranch.cancel(result.id)
    assert browser.complaints() == []


def test_a_share_is_set_by_keyboard_alone_after_the_page_said_what_it_will_do(
    app: Any, page: Dashboard, browser: Browser
) -> None:
    browser.go(at(page, "key", ("queue", app.name), ("part", "acme")))
    browser.await_text("Share …", "main")
    browser.press(Keys.HOME)
    for _ in range(40):
        browser.press(Keys.TAB)
        if browser.focused() == "Share …":
            break
    browser.press(Keys.ENTER)
    assert browser.focused() == "share"
    browser.press("3")
    browser.await_text("It is 1 now.", "dialog")
    assert app.ranch.key("acme").share == 1.0
    eventually(
        lambda: not browser.find("dialog [type=submit]").get_property("disabled"), 30, "it can"
    )
    browser.press(Keys.ENTER)
    browser.await_text("share 3.", "#said")
    assert app.ranch.key("acme").share == 3.0
    assert browser.focused() == "Share …"
    app.ranch.set_share("acme", None)


def test_a_task_is_cancelled_and_escape_leaves_it_alone(
    app: Any, page: Dashboard, browser: Browser
) -> None:
    result = app.send("work", lru_key="dropped")
    browser.go(at(page, "task", ("id", result.id)))
    browser.await_text("waiting:", "main")
    browser.click("Cancel …")
    browser.await_text("its state becomes REVOKED", "dialog")
    browser.press(Keys.ESCAPE)
    eventually(lambda: not browser.find("dialog").is_displayed(), 30, "the dialog is closed")
    assert app.ranch.key("dropped").waiting == 1
    browser.click("Cancel …")
    browser.click("Cancel the task", "dialog")
    browser.await_text("is cancelled", "#said")
    browser.await_text("unknown", "main")
    assert result.state == "REVOKED"


def test_dead_letters_are_chosen_and_retried(app: Any, page: Dashboard, browser: Browser) -> None:
    browser.go(at(page, "dead", ("queue", app.name)))
    browser.await_text("Choose these 2", "main")
    browser.find("tbody [type=checkbox]").click()
    browser.click("Retry 1 …")
    browser.click("Retry", "dialog")
    browser.await_text("Choose these 1", "main")
    assert app.ranch.key("buried").waiting == 1


def test_a_page_that_shows_only_has_no_buttons_but_to_find(app: Any, browser: Browser) -> None:
    with Dashboard(app.ranch, is_read_only=True) as page:
        browser.go(at(page, "key", ("queue", app.name), ("part", "acme")))
        browser.await_text("The first of its own tasks", "main")
        browser.await_text("read only", "header")
        script = "return [...document.querySelectorAll('button')].map((one) => one.textContent)"
        assert browser.driver.execute_script(script) == ["Find"]


def test_the_token_is_asked_for_and_does_not_stay_in_the_address(
    app: Any, browser: Browser
) -> None:
    token = "a token of some length"
    with Dashboard(app.ranch, token=token) as page:
        browser.go(page.address)
        browser.await_text("A token is needed", "main")
        browser.find("#token").send_keys("some other token", Keys.ENTER)
        browser.await_text("is another one", "main")
        browser.find("#token").send_keys(token, Keys.ENTER)
        browser.await_text("acme", "main")
        browser.driver.execute_script("sessionStorage.clear()")
        browser.go("about:blank")
        browser.go(f"{page.address}#token={token}")
        browser.await_text("acme", "main")
        assert token.split()[0] not in browser.driver.current_url.partition("//")[2]


def test_a_lost_connection_and_a_store_that_is_away_are_seen(
    tmp_path: Path, own_redis: RedisServer, browser: Browser
) -> None:
    app = FairApp(tmp_path, own_redis.url)
    app.send("work", lru_key="acme")
    with Dashboard(app.ranch) as page:
        browser.go(at(page))
        browser.await_text("acme", "main")
        own_redis.stop()
        browser.await_text("Not live", "#connection")
        browser.await_text("The figures are of", "#alarm")
        own_redis.start()
        browser.await_text("Live", "#connection")
        assert browser.text("#alarm") == ""
    browser.await_text("Connection lost", "#alarm")
    assert "acme" in browser.text("main")
    app.close()


def hostile_key(app: Any) -> tuple[tuple[str, str], ...]:
    return (("queue", app.name), ("part", "globex"), ("part", HOSTILE))


def pages(app: Any) -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    """The pages that there are, with what stands on each when it is drawn."""
    return [
        ("overview", (), "acme"),
        ("queue", (("name", app.name),), "How long tasks ran"),
        ("key", (("queue", app.name), ("part", "acme")), "The first of its own"),
        (
            "key",
            (("queue", app.name), ("part", "globex"), ("part", HOSTILE)),
            "The first of its own",
        ),
        ("workers", (), "Worker"),
        ("dead", (("queue", app.name),), "latest first"),
        ("task", (("id", "none"),), "unknown"),
    ]


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everybody_can_use_every_page(
    app: Any, page: Dashboard, browser: Browser, width: int, is_dark: bool
) -> None:
    browser.look(width=width, is_dark=is_dark)
    for name, facts, text in pages(app):
        browser.go(at(page, name, *facts))
        browser.await_text("Live", "#connection")
        browser.await_text(text, "main")
        assert browser.inaccessible() == [], name
        assert browser.overflow() <= 0, name
    browser.go(at(page, "key", ("queue", app.name), ("part", "acme")))
    browser.click("Limits …")
    browser.await_text("no limits of its own", "dialog")
    assert browser.inaccessible() == []
    assert browser.overflow() <= 0
    assert browser.complaints() == []


def test_the_command_serves_the_page_until_it_is_interrupted(app: Any) -> None:
    command = [str(Path(sys.executable).parent / "celery"), "-A", app.module, "ranch", "dashboard"]
    with subprocess.Popen(
        [*command, "--port", "0"], cwd=app.tmp_path, env=app.env, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            [address, *_] = process.stdout.readline().split()
            with urlopen(f"{address}api/live") as live:
                assert live.readline() == b"event: status\n"
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_dashboard_that_cannot_be_served_says_why_in_a_line(app: Any) -> None:
    terminal = Terminal(app.client)
    assert "where no token is set" in terminal.fail("dashboard", "--host", "0.0.0.0")
    assert "at least 16 printable" in terminal.fail("dashboard", "--token", "short")
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert "in use" in terminal.fail("dashboard", "--port", port)


def test_the_commands_of_the_page_about_it_can_be_typed() -> None:
    page = (ROOT / "docs" / "how-to" / "watch-in-the-browser.md").read_text(encoding="utf-8")
    lines = [line for b in blocks(page) if b.language == "bash" for line in b.code.splitlines()]
    typed = [shlex.split(line)[4:] for line in lines if line.startswith("celery -A shop ranch")]
    assert len(typed) == 3
    for [name, *options] in typed:
        found = ranch.get_command(Context(ranch), name)
        assert found is not None
        found.make_context(name, options)
    assert "pip install 'celery-ranch[dashboard]'" in lines


def test_names_of_tenants_are_shown_and_never_run(
    app: Any, page: Dashboard, browser: Browser
) -> None:
    browser.go(at(page, "key", *hostile_key(app)))
    browser.await_text("<script>alert(2)", "main")
    for name in ("overview", "dead"):
        browser.go(at(page, name))
        browser.await_text(r"\x1b", "main")
        assert "\x1b" not in browser.text()
        assert "\u202e" not in browser.text()
    script = "return document.querySelectorAll('main img, main script').length"
    assert browser.driver.execute_script(script) == 0
    assert browser.complaints() == []

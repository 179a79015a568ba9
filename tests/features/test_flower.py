"""Flower, running beside a worker, shows fair tasks by its HTTP API."""

import contextlib
import http.client
import json
import subprocess
import sys

import pytest

from tests.servers import eventually, free_port, stop_group

APP = "operating_app"
OPTIONS = ("-E",)

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture(scope="module")
def flower(app):
    """A running Flower; a function that gets what it has at a path, or None."""
    port = free_port()
    log_path = app.tmp_path / "flower.log"
    where = ("--address=127.0.0.1", f"--port={port}")
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app.module, "flower", *where],
            cwd=app.tmp_path,
            env=app.env | {"FLOWER_UNAUTHENTICATED_API": "true"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def get(path):
        assert process.poll() is None, log_path.read_text()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 20)) as connection:
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
            except ConnectionRefusedError:
                return None
        return json.loads(body) if response.status == 200 else None

    try:
        eventually(lambda: get("/api/workers"), 60, "Flower knows the worker")
        # Of a subscription to Redis nobody says when it holds.
        eventually(lambda: has_heard_of(get, app.send("add", 1, 2)), 60, "Flower hears events")
        yield get
    except BaseException:
        print(log_path.read_text())  # noqa: T201
        raise
    finally:
        stop_group(process, 10)


def has_heard_of(get, result):
    result.get(timeout=20)
    return get(f"/api/task/info/{result.id}")


@pytest.fixture
def ended(app, flower):
    """Call a task, wait for its end and return what Flower says of it."""

    def call(name, *args):
        result = app.send(name, *args, lru_key="acme")
        result.get(timeout=20, propagate=False)

        def info():
            told = flower(f"/api/task/info/{result.id}")
            return told if told and told["state"] in ("SUCCESS", "FAILURE") else None

        return result, eventually(info, 30, "Flower knows that it ended")

    return call


def test_flower_shows_a_fair_task_by_its_own_name_with_its_own_run_time(app, ended):
    result, info = ended("sleep", 0.3)

    assert info["uuid"] == result.id
    assert info["name"] == "operating_app.sleep"
    assert info["state"] == "SUCCESS"
    assert info["worker"] == f"w1@{app.name}"
    assert info["args"] == "(0.3,)"
    # Its own run time, and not the time it waited or was on its way.
    assert 0.3 <= info["runtime"] <= info["timestamp"] - info["received"] + 0.1


def test_flower_shows_why_a_fair_task_failed(ended):
    _, info = ended("fail", "no such luck")

    assert info["state"] == "FAILURE"
    assert "no such luck" in info["exception"]
    assert "ValueError" in info["traceback"]


def test_flower_lists_fair_tasks_among_the_others(app, ended, flower):
    fair, _ = ended("note", "listed")
    listed = flower("/api/tasks?taskname=operating_app.note")

    assert listed[fair.id]["name"] == "operating_app.note"
    types = flower("/api/task/types")["task-types"]
    assert not [name for name in types if "ranch" in name or "lru" in name]


def test_flower_shows_the_worker_and_its_fair_scheduling(app, flower):
    [worker] = flower("/api/workers?refresh=1").values()

    assert worker["stats"]["celery_ranch"]["queues"] == [app.name]
    assert worker["active_queues"][0]["name"] == app.name

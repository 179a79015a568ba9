"""`celery multi`, beat, autoscaling and shutdown with fair tasks: processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid

import psutil
import pytest

from tests.servers import eventually
from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url, module="operating_app")
    yield app
    app.close()


@contextlib.contextmanager
def beating(tmp_path, redis_url, *words):
    """An application whose beat calls a task every half second; a celery command of it runs."""
    schedule = {
        name: {
            "task": "operating_app.key_of",
            "schedule": 0.5,
            "args": [name],
            "options": options,
        }
        for name, options in {"keyed": {"lru_key": "by-beat"}, "plain": {}}.items()
    }
    app = FairApp(tmp_path, redis_url, module="operating_app", celery={"beat_schedule": schedule})
    with contextlib.closing(app), celery(app, *words, "--schedule", str(tmp_path / "schedule")):
        yield app


@contextlib.contextmanager
def celery(app, *words):
    """Run a celery command until the end of the block."""
    log_path = app.tmp_path / f"{words[0]}-{uuid.uuid4().hex[:6]}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app.module, *words],
            cwd=app.tmp_path,
            env=app.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    except BaseException:
        print(log_path.read_text())  # noqa: T201
        raise
    finally:
        process.terminate()
        process.wait(30)


def test_beat_calls_tasks_on_behalf_of_the_key_in_their_options(tmp_path, redis_url):
    with beating(tmp_path, redis_url, "beat") as app, app.worker():
        assert set(app.await_recorded("keyed", 3)) == {"by-beat"}
        assert set(app.await_recorded("plain", 1)) == {""}


def test_beat_inside_a_worker_does_so_too(tmp_path, redis_url):
    words = ("worker", "--beat", "--concurrency=1", "--loglevel=INFO")
    with beating(tmp_path, redis_url, *words) as app:
        assert set(app.await_recorded("keyed", 3)) == {"by-beat"}


def test_an_autoscaled_worker_leases_for_its_maximum_and_follows_a_new_one(app):
    def hold(*gates):
        results = [app.send("hold", gate, lru_key=gate) for gate in gates]
        return dict(zip(gates, results, strict=True))

    def has_started(gate):
        return bool(app.recorded(f"held:{gate}"))

    def open_gates(held):
        for gate, result in held.items():
            app.records.set(f"{app.name}:open:{gate}", 1)
            assert result.get(timeout=30) == "opened"

    with app.worker("--autoscale=3,1"):
        held = hold("a", "b", "c")
        eventually(lambda: all(map(has_started, held)), 30, "three run at once")
        assert app.tell("stats")["celery_ranch"]["slots"] == 3
        open_gates(held)

        assert "ok" in app.tell("autoscale", max=1, min=1)
        assert app.tell("stats")["celery_ranch"]["slots"] == 1
        held = hold("d", "e")
        eventually(lambda: has_started("d"), 30, "one runs")
        counts = app.engine.snapshot(app.name)
        assert (counts.leased, counts.waiting) == (1, 1)
        open_gates(held)


def test_a_worker_told_to_shut_down_ends_what_runs_and_leaves_the_rest(app):
    with app.worker(concurrency=1) as worker:
        runs = app.send("hold", "last", lru_key="a")
        app.await_recorded("held:last", 1)
        waits = app.send("add", 1, 2, lru_key="a")
        app.client.control.shutdown(destination=[f"w1@{app.name}"])
        worker.await_log("shutdown")
        app.records.set(f"{app.name}:open:last", 1)

        assert worker.process.wait(50) == 0
        assert runs.get(timeout=20) == "opened"
    counts = app.engine.snapshot(app.name)
    assert (counts.leased, counts.waiting) == (0, 1)
    assert app.ranch.cancel(waits.id)


def test_multi_starts_workers_that_run_fair_tasks_and_stops_them_cleanly(app):
    places = [f"--pidfile={app.tmp_path}/%n.pid", f"--logfile={app.tmp_path}/%n%I.log"]
    names = [f"one@{app.name}", f"two@{app.name}"]

    def multi(verb, *options):
        app.run("celery", "-A", app.module, "multi", verb, *names, *places, *options)

    def pids():
        return [int(path.read_text()) for path in app.tmp_path.glob("*.pid")]

    multi("start", "--concurrency=1", "--loglevel=INFO")
    try:
        assert len(eventually(lambda: len(pids()) == 2 and pids(), 30, "two workers")) == 2
        held = {gate: app.send("hold", gate, lru_key=gate) for gate in ("a", "b")}
        for gate in held:
            app.await_recorded(f"held:{gate}", 1)
        assert app.engine.snapshot(app.name).workers == 2
        for gate, result in held.items():
            app.records.set(f"{app.name}:open:{gate}", 1)
            assert result.get(timeout=20) == "opened"
    finally:
        started = pids()
        try:
            multi("stopwait")
        finally:
            for pid in pids():
                os.kill(pid, signal.SIGKILL)

    assert pids() == []
    # They are orphans: whether init has buried them is not in Celery's hands.
    eventually(lambda: not any(map(psutil.pid_exists, started)), 30, "both are gone")
    assert app.engine.snapshot(app.name).leased == 0

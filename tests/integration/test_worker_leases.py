"""Real workers let go of every lease, whatever becomes of the request that owns it."""

import collections
import signal
from dataclasses import replace

import celery
import psutil
import pytest

from tests.servers import eventually, free_port
from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url)
    yield app
    app.close()


@pytest.fixture
def app_with_own_broker(tmp_path, redis_url, own_redis):
    """An application whose broker alone is a Redis whose connections may be cut."""
    app = FairApp(tmp_path, redis_url, celery={"broker_url": own_redis.url})
    yield app
    app.close()


@pytest.mark.parametrize("pool", ["threads", "gevent", "eventlet"])
def test_a_task_that_exits_the_interpreter_gives_its_slot_back(app, pool):
    with app.worker(pool=pool, concurrency=1):
        app.send("exit_interpreter", lru_key="a")

        assert app.send("note", "next", lru_key="b").get(timeout=20) == "noted next"
        app.await_idle()


def test_a_late_acknowledged_task_that_always_exits_ends_in_the_dead_letters(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url, ranch={"max_deliveries": 1})
    with app.worker(pool="threads", concurrency=1):
        app.send("exit_interpreter_late", lru_key="a")

        assert app.await_dead_letter().reason == "too many deliveries"
        app.await_idle()
    app.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "eventlet", "solo"])
def test_a_task_whose_result_cannot_be_stored_runs_once_and_gives_its_slot_back(
    tmp_path, redis_url, pool
):
    """A pool without processes tells nobody of an error that is not the task's own."""
    celery = {
        "result_backend": f"redis://127.0.0.1:{free_port()}/0",
        "result_backend_transport_options": {"retry_policy": {"max_retries": 0}},
    }
    app = FairApp(tmp_path, redis_url, celery=celery)
    app.client.conf.result_backend = "disabled://"
    with app.worker(pool=pool, concurrency=2):
        values = [f"{task}{number}" for task in ("note", "note_late") for number in range(3)]
        for value in values:
            app.send(value[:-1], value, lru_key="a")

        app.await_recorded("ended", 6)
        app.await_idle()
        assert sorted(app.recorded("started")) == values
    app.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "eventlet", "solo"])
def test_a_task_at_whose_start_celery_fails_runs_once(app, pool):
    with app.worker(pool=pool, concurrency=2):
        values = [f"{task}{number}" for task in ("note", "note_late") for number in range(3)]
        for value in values:
            app.send(f"{value[:-1]}_through_failure", value, lru_key="a")

        app.await_recorded("ended", 6)
        app.await_idle()
        assert sorted(app.recorded("started")) == values


def test_a_task_revoked_before_a_thread_takes_it_gives_its_slot_back(app):
    with app.worker(pool="threads", concurrency=1) as worker:
        # Short tasks first, so that the pool's own queue holds what comes next.
        for number in range(30):
            app.send("note", f"short{number}", lru_key="a")
        app.await_recorded("ended", 30)
        app.send("note", "blocks", 2, lru_key="a")
        # Only now, because a key that was never served goes first.
        app.await_recorded("started", 31)
        waits = app.send("note", "waits", lru_key="b")
        worker.await_log(f"fair_app.note[{waits.id}] received")
        waits.revoke(terminate=True)
        worker.await_log(f"Terminating {waits.id}")
        app.await_recorded("ended", 31)
        app.await_idle()

        assert app.send("note", "next", lru_key="c").get(timeout=20) == "noted next"
    assert "waits" not in app.recorded("started")


def test_a_body_that_cannot_be_called_goes_to_the_dead_letters(app):
    entry = app.entry("note", "x", key="a")
    assert entry.message.count(b'[["x"],{},{') == 1
    broken = entry.message.replace(b'[["x"],{},{', b'[["x"],[],{')
    app.engine.enqueue([replace(entry, message=broken)])
    with app.worker(pool="threads", concurrency=1):
        assert "(args, kwargs, embed)" in app.await_dead_letter().reason
        assert app.send("note", "next", lru_key="b").get(timeout=20) == "noted next"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent", "eventlet"])
def test_a_broken_connection_to_the_broker_costs_no_entry_and_runs_none_twice(
    app_with_own_broker, own_redis, pool
):
    app = app_with_own_broker
    with app.worker(pool=pool, concurrency=2) as worker:
        # Short tasks first, so that much is leased ahead, and behind two long ones.
        seconds = [0.0] * 40 + [1.0] * 2 + [0.0] * 38
        for number, each in enumerate(seconds):
            app.send("note", f"v{number}", each, lru_key="k")
        app.await_recorded("started", 41)
        own_redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        worker.await_log("Connection to broker lost")
        app.await_recorded("ended", 80)
        app.await_idle()

        assert app.send("note", "next", lru_key="k").get(timeout=20) == "noted next"
        assert worker.stop() == 0
    assert set(collections.Counter(app.recorded("started")).values()) == {1}


def suspend_half_told(app, worker, size=50_000_000):
    """Stop a process while it tells its parent of a long failure; None if it was faster."""
    parent = psutil.Process(worker.pid)
    before = parent.io_counters().read_chars
    app.send("fail_at_length", size, lru_key="a")
    process = psutil.Process(int(app.await_recorded("pids", 1)[-1]))
    # By far more than a pipe holds, and than it reads of others.
    while parent.io_counters().read_chars - before < 1_000_000:
        assert worker.process.poll() is None
    process.suspend()
    if parent.io_counters().read_chars - before < size:
        return process
    process.resume()
    return None


def test_a_failure_that_is_half_told_when_the_broker_is_lost_gives_its_slot_back(
    app_with_own_broker, own_redis
):
    app = app_with_own_broker
    with app.worker(concurrency=1) as worker:
        process = eventually(lambda: suspend_half_told(app, worker), 30, "a failure is half told")
        own_redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        worker.await_log("Connection to broker lost")
        eventually(lambda: worker.log.count("Connected to ") == 2, 30, "the worker reconnects")
        process.resume()

        assert app.send("note", "next", lru_key="b").get(timeout=30) == "noted next"
        app.await_idle()


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent", "eventlet"])
def test_what_waits_for_its_rate_survives_a_broken_connection_to_the_broker(
    app_with_own_broker, own_redis, pool
):
    """Celery empties its token buckets then; one of these entries was in one."""
    app = app_with_own_broker
    with app.worker(pool=pool, concurrency=2) as worker:
        for number in range(16):
            app.send("limited", number, lru_key=f"k{number % 2}")
        app.await_recorded("limited", 3)
        own_redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        worker.await_log("Connection to broker lost")
        app.await_recorded("limited", 16)
        app.await_idle()
    assert sorted(map(int, app.recorded("limited"))) == [*range(16)]


def test_a_cold_shutdown_leaves_no_lease_behind(app):
    late = app.send("note_late", "late", 30, lru_key="a")
    early = app.send("note", "early", 1, lru_key="b")
    with app.worker(concurrency=2) as worker:
        app.await_recorded("started", 2)
        app.await_active(2)
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(50)

    counts = app.engine.snapshot(app.name)
    assert counts.leased == 0
    # Celery 5.4 takes a late task whose process it ended for a failed one.
    is_back = app.engine.cancel(app.name, late.id) is not None
    assert is_back is (celery.VERSION >= (5, 5))
    assert app.engine.cancel(app.name, early.id) is None


def test_a_solo_pool_without_an_event_loop_ends_its_task_before_a_warm_shutdown(
    tmp_path, redis_url
):
    folder = tmp_path / "broker"
    folder.mkdir()
    options = {"data_folder_in": str(folder), "data_folder_out": str(folder)}
    options["control_folder"] = str(folder)
    celery = {"broker_url": "filesystem://", "broker_transport_options": options}
    app = FairApp(tmp_path, redis_url, celery=celery)
    app.send("note", "long", 4, lru_key="a")
    with app.worker(pool="solo", concurrency=1) as worker:
        app.await_recorded("started", 1)
        assert worker.stop() == 0

    assert app.recorded("ended") == ["long"]
    assert app.engine.snapshot(app.name).leased == 0
    app.close()


@pytest.mark.slow
def test_a_pool_that_drains_for_long_does_not_count_as_a_lost_store(app):
    """While it drains nobody polls the loop; its timers alone run (Celery 5.6)."""
    app.send("note", "long", 13, lru_key="a")
    app.send("note", "short", 2, lru_key="a")
    with app.worker(concurrency=2) as worker:
        app.await_recorded("started", 2)
        assert worker.stop() == 0

        assert "Lost the store" not in worker.log
    assert sorted(app.recorded("ended")) == ["long", "short"]
    assert app.engine.snapshot(app.name).leased == 0

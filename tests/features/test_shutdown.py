"""What a worker that is stopped, or cut off, does with what it runs and holds."""

import collections
import signal
import time

import celery
import pytest

from tests.servers import eventually

APP = "working_app"

pytestmark = pytest.mark.timeout(120)

LEASE_SECONDS = 1.5

#: NotImplementedError where a pool cannot end a task, RuntimeError in eventlet's main loop.
HANDLER_RAISES = pytest.mark.skipif(
    (5, 5) <= celery.VERSION < (5, 7),
    reason="Celery's own handler of the signal raises into whatever runs",
)


def send_four(app, seconds):
    """Send a fair and a plain task of early and of late acknowledgement each."""
    sent = {}
    for kind in ("early", "late"):
        for side, key in (("fair", {"lru_key": "a"}), ("plain", {})):
            value = f"{kind} {side}"
            sent[value] = app.send(f"sleep_{kind}", value, seconds, **key)
    return sent


def starts_after_another_worker(app, sent):
    """Let another worker run what came back; return how often each was started."""
    with app.worker(name="w2", concurrency=4):
        for value in ("late fair", "late plain"):
            sent[value].get(timeout=30, propagate=False)
        app.await_idle()
    return collections.Counter(app.recorded("started"))


@pytest.mark.parametrize(
    "signals, remap",
    [
        pytest.param([signal.SIGQUIT], "", id="QUIT"),
        pytest.param([signal.SIGINT, signal.SIGINT], "", id="Ctrl-C twice"),
        pytest.param([signal.SIGTERM], "SIGQUIT", id="REMAP_SIGTERM"),
    ],
)
def test_a_cold_shutdown_lets_late_tasks_run_again_and_early_ones_not(
    make_app, monkeypatch, signals, remap
):
    monkeypatch.setenv("REMAP_SIGTERM", remap)
    app = make_app()
    sent = send_four(app, 40)
    with app.worker(concurrency=4) as worker:
        app.await_recorded("started", 4)
        app.await_active(4)
        for number in signals:
            worker.process.send_signal(number)
            worker.await_log("shutdown (MainProcess)")
        worker.process.wait(50)

    assert app.engine.snapshot(app.name).leased == 0
    # Celery 5.4 takes a late task whose process it ended for a failed one.
    late = 2 if celery.VERSION >= (5, 5) else 1
    assert starts_after_another_worker(app, sent) == {
        "early fair": 1,
        "early plain": 1,
        "late fair": late,
        "late plain": late,
    }


@HANDLER_RAISES
@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_cold_shutdown_of_other_pools_loses_no_late_task(make_app, pool):
    app = make_app()
    sent = send_four(app, 2)
    with app.worker(pool=pool, concurrency=4) as worker:
        app.await_recorded("started", 1 if pool == "solo" else 4)
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(50)

    assert app.engine.snapshot(app.name).leased == 0
    starts = starts_after_another_worker(app, sent)
    assert starts["early fair"] == starts["early plain"] == 1
    assert 1 <= starts["late fair"] <= 2


@pytest.mark.parametrize("pool", ["gevent", pytest.param("eventlet", marks=HANDLER_RAISES)])
def test_a_cold_shutdown_of_a_green_pool_does_with_what_runs_as_celery_does(make_app, pool):
    """It kills the green threads, and from 5.5 on takes that for an end that it acknowledges."""
    app = make_app()
    send_four(app, 2)
    with app.worker(pool=pool, concurrency=4) as worker:
        app.await_recorded("started", 4)
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(50)

    counts = app.engine.snapshot(app.name)
    assert counts.leased == 0
    assert counts.waiting + counts.delayed == app.records.llen(app.name)


@pytest.mark.skipif(celery.VERSION < (5, 5), reason="Celery 5.5 brought the soft shutdown")
def test_a_soft_shutdown_lets_tasks_end_for_a_while_and_gives_back_the_late_ones(make_app):
    app = make_app(celery={"worker_soft_shutdown_timeout": 4})
    short, plain = app.send("wait", "short", lru_key="a"), app.send("wait", "plain")
    long = app.send("wait_late", "long", lru_key="b")
    with app.worker(concurrency=3) as worker:
        app.await_recorded("started", 3)
        app.await_active(3)
        waiting = app.send("wait", "waiting", lru_key="c")
        worker.process.send_signal(signal.SIGQUIT)
        worker.await_log("Initiating Soft Shutdown")
        app.leave(short)
        app.leave(plain)
        worker.process.wait(50)

    assert sorted(app.recorded("ended")) == ["plain", "short"]
    assert short.get(timeout=10) == ["short", False]
    counts = app.engine.snapshot(app.name)
    assert counts.leased == 0
    with app.worker(name="w2"):
        for result in (long, waiting):
            app.leave(result)
        assert long.get(timeout=30) == ["long", True]
        assert waiting.get(timeout=30) == ["waiting", False]


@pytest.mark.skipif(celery.VERSION < (5, 5), reason="Celery 5.5 brought the soft shutdown")
def test_an_idle_worker_shuts_down_softly_where_it_is_told_to(make_app):
    settings = {"worker_soft_shutdown_timeout": 0.5, "worker_enable_soft_shutdown_on_idle": True}
    app = make_app(celery=settings)
    with app.worker() as worker:
        assert app.send("note", "first", lru_key="a").get(timeout=30) == "noted first"
        # The pool's process waits 30 seconds where nobody has read its last result.
        app.await_idle()
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(50)
        assert "Initiating Soft Shutdown" in worker.log

    assert app.engine.snapshot(app.name).leased == 0


def test_a_solo_pool_that_is_blocked_for_long_keeps_its_leases(make_app):
    app = make_app(ranch={"lease_seconds": LEASE_SECONDS})
    with app.worker(pool="solo", concurrency=1), app.worker(name="w2", pool="solo", concurrency=1):
        # Both are busy, so nobody but the heartbeats' threads could say so.
        both = [app.send("wait_late", f"v{n}", lru_key=f"k{n}") for n in range(2)]
        app.await_recorded("started", 2)
        began_at = time.monotonic()
        eventually(
            lambda: time.monotonic() > began_at + 3 * LEASE_SECONDS, 30, "three leases have passed"
        )
        assert app.engine.snapshot(app.name).leased == 2
        app.leave(both[0])
        assert both[0].get(timeout=30) == ["v0", False]
        # Who is free now does not take what the other one still runs.
        third = app.send("note", "third", lru_key="c")
        assert third.get(timeout=30) == "noted third"
        app.leave(both[1])
        assert both[1].get(timeout=30) == ["v1", False]
        app.await_idle()

    assert sorted(app.recorded("started")) == ["third", "v0", "v1"]


def test_late_tasks_that_are_cancelled_with_the_brokers_connection_run_again(make_app, own_redis):
    celery_settings = {
        "broker_url": own_redis.url,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
    }
    app = make_app(celery=celery_settings)
    late = app.send("sleep_late", "late", 40, lru_key="a")
    early = app.send("wait", "early", lru_key="b")
    with app.worker(concurrency=2) as worker:
        app.await_recorded("started", 2)
        own_redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        worker.await_log("Connection to broker lost")
        app.leave(early)

        assert early.get(timeout=30) == ["early", False]
        app.await_recorded("ended", 2)
        app.await_idle()
        assert late.state in ("SUCCESS", "RETRY")
    assert collections.Counter(app.recorded("started")) == {"late": 2, "early": 1}


def test_a_task_that_had_succeeded_when_its_worker_was_killed_is_not_repeated(make_app):
    celery_settings = {"worker_deduplicate_successful_tasks": True, "task_acks_late": True}
    app = make_app(celery=celery_settings, ranch={"lease_seconds": LEASE_SECONDS})
    with app.worker(name="victim", concurrency=1) as victim:
        # Early by its own word would count more than the setting; this one says nothing.
        result = app.send("wait", "value", lru_key="a")
        app.await_recorded("pid", 1)
        # As if it had ended, and nobody had come to acknowledge it.
        app.client.backend.store_result(result.id, "done", "SUCCESS")
        eventually(lambda: app.engine.snapshot(app.name).leased == 1, 20, "the lease")
        victim.kill()
    with app.worker(name="survivor", concurrency=1):
        app.await_idle(seconds=60)

    assert result.get(timeout=10) == "done"
    assert app.recorded("started") == ["value"]

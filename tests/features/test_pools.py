"""What every pool of a worker does with fair tasks, beside the same tasks without a key."""

import time

import pytest

from tests.servers import eventually
from tests.workers import FairApp

POOLS = ("prefork", "solo", "threads", "gevent", "eventlet")


@pytest.fixture(scope="module", params=POOLS)
def pool(request):
    return request.param


@pytest.fixture(scope="module")
def app(pool, tmp_path_factory, redis_url):
    app = FairApp(tmp_path_factory.mktemp(pool), redis_url, module="working_app")
    yield app
    app.close()


@pytest.fixture(scope="module")
def worker(app, pool):
    with app.worker(pool=pool, concurrency=1 if pool == "solo" else 2) as worker:
        yield worker


def outcome_of(result):
    """Return a result's value, or its error's name."""
    try:
        return result.get(timeout=30)
    except Exception as error:
        return type(error).__name__


def test_a_task_has_its_result(app, worker):
    assert app.send("note", "result", lru_key="result").get(timeout=30) == "noted result"


def test_a_task_is_retried(app, worker):
    assert app.send("retry_once", "r", lru_key="retry").get(timeout=30) == 1
    assert app.recorded("tries") == ["r:0", "r:1"]


def test_requests_go_when_they_have_ended_and_not_when_python_looks_for_cycles(app, worker):
    app.tell("stop_looking_for_cycles")
    for number in range(10):
        app.send("note", number, lru_key="cycles", ignore_result=True)
        app.send("nap_late", 0, lru_key="cycles", ignore_result=True)
    app.await_idle()

    # A pool may still refer to what each of its two slots ran last.
    eventually(lambda: app.tell("living_requests") <= 2, 20, "an end of the requests")


def test_a_late_acknowledged_task_stays_in_the_store_until_it_has_ended(app, worker):
    late = app.send("wait_late", "late", lru_key="late")
    app.await_recorded("pid", 1)
    # Settled by the worker, or it would be of no interest that it is there.
    eventually(lambda: app.engine.snapshot(app.name).leased == 1, 20, "the lease")
    assert not app.is_acknowledged(late)
    app.leave(late)

    assert late.get(timeout=30) == ["late", False]
    app.await_idle()


def test_an_early_acknowledged_task_leaves_the_store_while_it_runs(app, worker):
    early = app.send("wait", "early", lru_key="early")

    eventually(lambda: app.is_acknowledged(early), 20, "the acknowledgement")
    app.leave(early)
    assert early.get(timeout=30) == ["early", False]
    app.await_idle()


def test_a_delayed_task_starts_when_it_is_due(app, worker):
    sent_at = time.time()
    result = app.send("started_at", lru_key="delayed", countdown=0.5)

    assert result.get(timeout=30) >= sent_at + 0.5


def test_what_waits_for_its_rate_goes_on_as_soon_as_a_slot_is_free(app, worker):
    sent_at = time.monotonic()
    for _ in range(7):
        app.send("nap_at_a_limited_rate", 0.3, lru_key="limited")
    app.await_recorded("napped", 7)

    # A worker that had listened in vain, for 5 seconds each time, would need 15.
    assert time.monotonic() - sent_at < 10
    app.await_idle()


def test_a_task_revoked_while_it_waits_does_not_run(app, worker):
    app.ranch.pause("revoked")
    result = app.send("note", "revoked", lru_key="revoked")
    result.revoke()
    worker.await_log(f"Tasks flagged as revoked: {result.id}")
    app.ranch.resume("revoked")

    assert outcome_of(result) == "TaskRevokedError"
    app.await_idle()
    assert "revoked" not in app.recorded("started")


@pytest.mark.parametrize("task", ["nap_early", "nap_late"])
def test_time_limits_hold_where_the_pool_has_them(app, worker, pool, task):
    """Solo, threads and eventlet have none, gevent only the hard one."""
    has_hard, has_soft = pool in ("prefork", "gevent"), pool == "prefork"
    long, short = 20, 0.4
    hard, plain_hard, soft, plain_soft = [
        app.send(task, long if holds else short, **key, **limits)
        for holds, limits in ((has_hard, {"time_limit": 0.3}), (has_soft, {"soft_time_limit": 0.3}))
        for key in ({"lru_key": "limits"}, {})
    ]

    of_hard = "TimeLimitExceeded" if has_hard else "whole nap"
    of_soft = "soft limit" if has_soft else "whole nap"
    assert [outcome_of(hard), outcome_of(plain_hard)] == [of_hard] * 2
    assert [outcome_of(soft), outcome_of(plain_soft)] == [of_soft] * 2
    app.await_idle()

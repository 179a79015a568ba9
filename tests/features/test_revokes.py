"""Fair tasks are revoked, whether they wait, run or have ended, as plain ones are."""

import contextlib
import threading

import pytest
from celery import chord
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import ResultSet

from tests.servers import eventually

APP = "results_app"
CELERY = {"result_expires": 600}

pytestmark = pytest.mark.usefixtures("worker")

KEYS = pytest.mark.parametrize("key", [None, "a"], ids=["plain", "fair"])


def revoked(app, result):
    return app.recorded(f"revoked:{result.id}")


def await_heard(app, task_ids):
    """Wait until the worker knows that these are revoked."""

    def is_known():
        replies = app.client.control.inspect(timeout=5, limit=1).revoked() or {}
        return all(each in known for known in replies.values() for each in task_ids) and replies

    eventually(is_known, 30, "the worker has heard of it")


@contextlib.contextmanager
def both_processes_busy(app):
    """Keep both processes of the worker busy meanwhile."""
    busy = [app.send("wait", lru_key="busy") for _ in range(2)]
    for result in busy:
        eventually(lambda result=result: result.id in app.recorded("started"), 30, "it runs")
    try:
        yield
    finally:
        for result in busy:
            app.leave(result)
    for result in busy:
        # Not `get`: who waits in another thread reads from the same subscription.
        eventually(result.ready, 30, "it ended")
        assert result.result == "left"


def assert_revoked(app, result, word):
    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    assert result.state == "REVOKED"
    app.await_idle()
    assert app.await_recorded(f"revoked:{result.id}", 1) == [word]


@KEYS
def test_a_waiting_task_is_announced_as_revoked_at_its_turn_and_never_runs(app, key):
    with both_processes_busy(app):
        result = app.send("wait", lru_key=key)
        result.revoke()
        await_heard(app, [result.id])
        # The state is set by now with Celery 5.6, before that when the task's turn comes.
        # A plain task may have come after the word of it, and is announced at once then.
        if key is not None:
            assert revoked(app, result) == []

    assert_revoked(app, result, "terminated=False expired=False")
    assert result.id not in app.recorded("started")


@KEYS
def test_terminating_a_waiting_task_revokes_it_likewise(app, key):
    with both_processes_busy(app):
        result = app.send("wait", lru_key=key)
        result.revoke(terminate=True)
        await_heard(app, [result.id])

    assert_revoked(app, result, "terminated=False expired=False")
    assert result.id not in app.recorded("started")


@KEYS
def test_several_waiting_tasks_are_revoked_at_once_and_others_go_on(app, key):
    with both_processes_busy(app):
        some = ResultSet([app.send("wait", lru_key=key) for _ in range(3)], app=app.client)
        other = app.send("add", 1, 2, lru_key=key)
        some.revoke()
        await_heard(app, [each.id for each in some])

    for each in some:
        assert_revoked(app, each, "terminated=False expired=False")
    assert other.get(timeout=30) == 3


@KEYS
def test_waiting_tasks_are_revoked_by_a_header_they_are_stamped_with(app, key):
    stamp = f"{key}-{app.name}"
    with both_processes_busy(app):
        options = {} if key is None else {"lru_key": key}
        stamped = app.signature("wait")
        stamped.stamp(customer=stamp)
        hit = stamped.apply_async(**options)
        spared = app.send("add", 1, 2, lru_key=key)
        app.client.control.revoke_by_stamped_headers({"customer": [stamp]})
        # A worker takes broadcasts in the order they were sent in.
        app.client.control.ping(timeout=20, limit=1)

    assert_revoked(app, hit, "terminated=False expired=False")
    assert hit.id not in app.recorded("started")
    assert spared.get(timeout=30) == 3


@KEYS
def test_a_chord_with_a_revoked_member_fails_and_its_body_never_runs(app, key):
    kept = f"total:{key}"
    with both_processes_busy(app):
        header = [app.signature("add", 1), app.signature("wait"), app.signature("add", 2)]
        body = app.signature("unasked").set(immutable=True)
        body.args = (kept,)
        result = chord(header, body).apply_async(lru_key=key)
        result.parent[1].revoke()
        await_heard(app, [result.parent[1].id])

    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    eventually(result.ready, 30, "the chord is given up")
    assert isinstance(result.result, ChordError)
    app.await_idle()
    assert [each.state for each in result.parent] == ["SUCCESS", "REVOKED", "SUCCESS"]
    assert app.recorded(kept) == []


@KEYS
def test_a_delayed_task_is_announced_as_revoked_when_it_comes_due(app, key):
    result = app.send("wait", lru_key=key, countdown=1.5)
    result.revoke()

    assert_revoked(app, result, "terminated=False expired=False")
    assert result.id not in app.recorded("started")


@KEYS
def test_a_running_task_goes_on_when_it_is_revoked_without_terminate(app, key):
    result = app.send("wait", lru_key=key)
    eventually(lambda: result.id in app.recorded("started"), 30, "it runs")
    result.revoke()
    await_heard(app, [result.id])
    app.leave(result)

    # Celery 5.6 calls it revoked until it has ended, so each look is a new one.
    def look():
        return app.client.AsyncResult(result.id)

    eventually(lambda: look().state == "SUCCESS", 30, "it ends as ever")
    assert look().result == "left"
    assert revoked(app, result) == []


@pytest.mark.parametrize("task, signal", [("wait", "SIGTERM"), ("wait_late", "SIGKILL")])
def test_a_running_task_that_is_terminated_ends_as_revoked_and_does_not_run_again(
    app, task, signal
):
    # Celery may take five seconds to notice; so both at once.
    results = [app.send(task, lru_key=key) for key in (None, "a")]
    for result in results:
        eventually(lambda result=result: result.id in app.recorded("started"), 30, "it runs")
        result.revoke(terminate=True, signal=signal)
    for result in results:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=30)
        assert result.state == "REVOKED"
        assert app.await_recorded(f"revoked:{result.id}", 1)[0].startswith("terminated=True")
    app.await_idle()
    # Both slots are free again.
    with both_processes_busy(app):
        pass

    for result in results:
        assert app.recorded("started").count(result.id) == 1
        assert result.id not in app.recorded("ended")


def test_a_task_that_has_ended_stays_what_it_is(app):
    result = app.send("add", 1, 2, lru_key="a")
    assert result.get(timeout=30) == 3
    # The worker hears of the end later than who waits for the result.
    app.await_idle()
    result.revoke(terminate=True)
    await_heard(app, [result.id])

    assert result.state == "SUCCESS"
    app.await_idle()
    assert revoked(app, result) == []


def test_who_waits_for_a_waiting_task_hears_that_it_was_revoked(app):
    with both_processes_busy(app):
        result = app.send("wait", lru_key="a")
        told = []
        waiting = threading.Thread(target=lambda: told.append(result.get(30, propagate=False)))
        waiting.start()
        result.revoke()
        await_heard(app, [result.id])
    waiting.join(30)

    assert isinstance(told[0], TaskRevokedError)


@KEYS
def test_a_result_expires(app, key):
    result = app.send("add", 2, lru_key=key)
    result.get(timeout=30)

    assert 0 < app.client.backend.client.ttl(f"celery-task-meta-{result.id}") <= 600


def test_in_the_end_neither_the_worker_nor_the_store_holds_anything(app):
    app.await_idle()
    (stats,) = app.client.control.inspect(timeout=20, limit=1).stats().values()

    assert (stats["celery_ranch"]["leased"], stats["celery_ranch"]["slots_taken"]) == (0, 0)
    app.check()

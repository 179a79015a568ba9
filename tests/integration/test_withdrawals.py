"""What waits at a key is cancelled for sure, beside workers and by them."""

import subprocess
import sys

import pytest
from celery import chord
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult

from celery_ranch import InvalidKeyError, InvalidTagError
from tests.servers import eventually, free_port
from tests.workers import FairApp

LEASE_SECONDS = 1


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url, ranch={"lease_seconds": LEASE_SECONDS})
    yield app
    app.close()


def states(app, results):
    # A result remembers that it was ready, and would not ask again.
    return [AsyncResult(result.id, app=app.client).state for result in results]


def send(app, count, key, task="note", **options):
    return [app.send(task, f"{key}-{n}", lru_key=key, **options) for n in range(count)]


def test_all_that_waits_at_a_key_is_revoked_and_nothing_else(app):
    mine = send(app, 300, "a") + send(app, 2, "a", countdown=600) + send(app, 2, ("a", "deep"))
    others = send(app, 2, "b")

    heard = []
    assert app.ranch.cancel(key="a", on_progress=heard.append) == 304
    assert heard == sorted(heard)
    assert (len(heard) > 1, heard[-1]) == (True, 304)
    assert set(states(app, mine)) == {"REVOKED"}
    assert states(app, others) == ["PENDING", "PENDING"]
    assert app.ranch.cancel(key="a") == 0
    assert app.ranch.cancel(key="b") == 2
    app.check(is_still=True)


def test_all_of_each_key_with_a_tag_is_revoked(app):
    app.ranch.add_tag("a", "tier", "trial")
    app.ranch.add_tag(("b", "x"), "tier", "trial")
    app.ranch.add_tag("idle", "tier", "trial")
    mine = send(app, 3, "a") + send(app, 2, ("b", "x"))
    others = send(app, 2, ("b", "y")) + send(app, 1, "c")

    assert app.ranch.cancel(tag=("tier", "trial")) == 5
    assert set(states(app, mine)) == {"REVOKED"}
    assert set(states(app, others)) == {"PENDING"}
    heard = []
    assert app.ranch.purge(on_progress=heard.append) == 3
    assert heard == sorted(heard)
    assert heard[-1] == 3
    app.check(is_still=True)


def test_what_is_cancelled_must_be_one_thing_that_can_be(app):
    [result] = send(app, 1, "a")
    for arguments in ({}, {"task_id": result.id, "key": "a"}, {"key": ""}, {"key": ("a", 1)}):
        with pytest.raises(InvalidKeyError):
            app.ranch.cancel(**arguments)
    for tag in ("tier", ("tier", ""), ("a=b", "c"), (1, 2)):
        with pytest.raises(InvalidTagError):
            app.ranch.cancel(tag=tag)
    assert states(app, [result]) == ["PENDING"]
    assert app.ranch.cancel(result.id) is True
    assert app.ranch.cancel(result.id) is False


def test_who_waits_for_a_chord_hears_that_parts_of_it_were_cancelled(app):
    header = [app.signature("add", 1, 2).set(lru_key="kept")]
    header += [app.signature("add", n, n).set(lru_key="dropped") for n in range(2)]
    body = app.signature("note", "body").set(immutable=True, lru_key="kept")
    result = chord(header, body).apply_async()
    assert app.ranch.cancel(key="dropped") == 2
    with app.worker():
        with pytest.raises(TaskRevokedError):
            result.get(timeout=30)
        eventually(result.ready, 30, "the chord is given up")
        assert isinstance(result.result, ChordError)
        app.await_idle()
    assert sorted(states(app, result.parent.results)) == ["REVOKED", "REVOKED", "SUCCESS"]


@pytest.mark.timeout(120)
def test_what_is_cancelled_while_workers_drain_it_is_run_or_revoked_and_never_both(app):
    # Else fast workers may have run all of it before it is cancelled.
    app.ranch.set_limits("a", rate="100/s", burst=50)
    mine, others = send(app, 1500, "a"), send(app, 100, "b")
    with app.worker(), app.worker(name="w2", pool="threads"):
        app.await_recorded("started", 50)
        dropped = app.ranch.cancel(key="a")
        app.await_idle(60)
        for result in others:
            result.get(timeout=30)

    started = app.recorded("started")
    revoked = [n for n, state in enumerate(states(app, mine)) if state == "REVOKED"]
    assert len(started) == len(set(started))
    assert 0 < dropped == len(revoked)
    assert {f"a-{n}" for n in revoked}.isdisjoint(started)
    assert len(started) + len(revoked) == 1600


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_workers_finish_what_a_killed_canceller_began(app, pool):
    mine = send(app, 1200, "a")
    code = "import fair_app, celery_ranch; celery_ranch.Ranch(fair_app.app).cancel(key='a')"
    canceller = subprocess.Popen(
        [sys.executable, "-c", code], cwd=app.tmp_path, env=app.env, stdin=subprocess.DEVNULL
    )
    first = mine[0]
    eventually(lambda: states(app, [first]) == ["REVOKED"], 30, "the first is announced")
    canceller.kill()
    canceller.wait()
    assert states(app, mine).count("PENDING") > 0
    assert app.engine.snapshot(app.name).waiting == 0

    [later] = send(app, 1, "a")
    with app.worker(pool=pool):
        assert later.get(timeout=30) == "noted a-0"
        eventually(lambda: set(states(app, mine)) == {"REVOKED"}, 60, "all are announced")
        assert app.recorded("started") == ["a-0"]
        app.await_idle()
        key = f"{app.name}:{{{app.name}}}:withdrawals"
        eventually(lambda: not app.records.exists(key), 30, "the withdrawal is over")


def test_what_could_not_be_announced_is_announced_by_a_worker(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url, ranch={"lease_seconds": LEASE_SECONDS})
    results = send(app, 3, "a")
    blind = FairApp(
        tmp_path,
        redis_url,
        celery={
            "result_backend": f"redis://127.0.0.1:{free_port()}/0",
            "result_backend_transport_options": {"retry_policy": {"max_retries": 0}},
            "task_default_queue": app.name,
        },
        ranch={"redis_prefix": f"{app.name}:", "lease_seconds": LEASE_SECONDS},
    )
    with pytest.raises(Exception, match="refused"):
        blind.ranch.cancel(key="a", queue=app.name)
    assert app.engine.snapshot(app.name).waiting == 0
    assert set(states(app, results)) == {"PENDING"}
    with app.worker():
        eventually(lambda: set(states(app, results)) == {"REVOKED"}, 60, "all are announced")
    assert app.recorded("started") == []
    blind.close()
    app.close()

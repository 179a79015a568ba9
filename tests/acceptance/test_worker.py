"""A real worker runs what another process submitted, in the rule's order."""

import collections

import pytest

POOLS = ["prefork", "solo", "threads", "gevent", "eventlet"]


def test_a_worker_of_the_ranch_queue_runs_what_another_process_submitted(fair_app):
    app = fair_app()
    with app.worker("-Q", "celery_ranch"):
        result = app.send("note", "hello", lru_key="acme")

        assert result.get(timeout=20) == "noted hello"


def test_a_worker_of_the_older_name_does_too(fair_app):
    app = fair_app()
    with app.worker("-Q", "celery_lru_priority", pool="solo"):
        assert app.send("note", "hello", lru_key="acme").get(timeout=20) == "noted hello"


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_three_unequal_backlogs_run_in_lru_order(fair_app, pool):
    app = fair_app()
    for number in range(6):
        app.send("note", f"a{number}", lru_key="a")
    for number in range(3):
        app.send("note", f"b{number}", lru_key="b")
    app.send("note", "c0", lru_key="c")

    with app.worker(pool=pool, concurrency=1):
        order = app.await_recorded("started", 10)

    assert order == ["a0", "b0", "c0", "a1", "b1", "a2", "b2", "a3", "a4", "a5"]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_leases_nothing_ahead_runs_a_backlog(fair_app, pool):
    app = fair_app(ranch={"lookahead_seconds": 0})
    results = [app.send("note", f"{n}", lru_key="acme") for n in range(5)]

    with app.worker(pool=pool):
        assert [r.get(timeout=20) for r in results] == [f"noted {n}" for n in range(5)]


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_runs_a_backlog_and_what_arrives_later(fair_app, pool):
    app = fair_app()
    before = [app.send("note", f"before{n}", lru_key=f"k{n % 3}") for n in range(20)]
    with app.worker(pool=pool, concurrency=2) as worker:
        after = [app.send("note", f"after{n}", lru_key=f"k{n % 3}") for n in range(20)]

        assert [r.get(timeout=20) for r in before] == [f"noted before{n}" for n in range(20)]
        assert [r.get(timeout=20) for r in after] == [f"noted after{n}" for n in range(20)]
        assert app.send("fail", "no", lru_key="k").get(timeout=20, propagate=False).args == ("no",)
        # Before 5.7 Celery may never stop when told to while it reads a result as long as that.
        app.await_idle()
        assert worker.stop() == 0

    counted = collections.Counter(app.recorded("ended"))
    assert len(counted) == 40
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("pool", POOLS)
def test_keyed_and_plain_tasks_run_beside_each_other(fair_app, pool):
    app = fair_app()
    with app.worker(pool=pool):
        fair = app.send("note", "fair", lru_key="acme")
        plain = app.send("plain_note", "plain")

        assert fair.get(timeout=20) == "noted fair"
        assert plain.get(timeout=20) == "noted plain"


def test_a_retry_runs_under_its_own_task_id(fair_app):
    app = fair_app()
    with app.worker():
        result = app.send("retry_twice", "x", lru_key="acme")

        assert result.get(timeout=20) == 2
        assert app.recorded("tries") == ["x:0", "x:1", "x:2"]


def test_a_task_sees_its_real_queue_and_its_eta(fair_app):
    app = fair_app()
    with app.worker(pool="solo"):
        seen = app.send("describe", lru_key="acme", countdown=0.2, expires=60).get(timeout=20)

    assert seen["routing_key"] == app.name
    assert seen["redelivered"] is False
    assert seen["eta"] is not None
    assert seen["expires"] is not None


def test_an_expired_task_is_announced_as_revoked_and_never_runs(fair_app):
    app = fair_app()
    expired = app.send("note", "late", lru_key="acme", expires=0.01)
    fine = app.send("note", "fine", lru_key="acme")
    with app.worker():
        assert fine.get(timeout=20) == "noted fine"
        expired.get(timeout=20, propagate=False)
        assert expired.state == "REVOKED"

    assert app.recorded("started") == ["fine"]


def test_a_delayed_task_starts_while_the_worker_is_idle(fair_app):
    app = fair_app()
    with app.worker():
        assert app.send("note", "x", lru_key="a", countdown=0.3).get(timeout=4) == "noted x"


def test_an_entry_whose_process_is_killed_each_time_ends_in_the_dead_letters(fair_app):
    app = fair_app(ranch={"max_deliveries": 2})
    with app.worker(concurrency=1):
        app.send("kill_its_process", lru_key="acme")
        assert app.send("note", "others go on", lru_key="b").get(timeout=20)

        letter = app.await_dead_letter()

    assert letter.deliveries > 2
    assert letter.key == ("acme",)

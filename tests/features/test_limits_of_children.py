"""Children of a prefork pool that are replaced, limited or die; their number."""

import collections

import celery
import pytest

from tests.servers import eventually
from tests.workers import FairApp

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(
        tmp_path,
        redis_url,
        module="working_app",
        # How long Celery waits for the result of a process that is gone.
        celery={"worker_lost_wait": 0.5},
        ranch={"max_deliveries": 1},
    )
    yield app
    app.close()


def test_children_replaced_after_a_number_of_tasks_lose_none_and_repeat_none(app):
    results = {f"v{n}": app.send("pid", f"v{n}", lru_key=f"k{n % 3}") for n in range(40)}
    with app.worker("--max-tasks-per-child=4"):
        pids = collections.Counter(result.get(timeout=60) for result in results.values())
        app.await_idle()

    assert sorted(app.recorded("started")) == sorted(results)
    assert len(pids) >= 10
    assert max(pids.values()) <= 4


def test_a_child_that_grew_too_large_is_replaced(app):
    # The first task takes a child beyond the limit, the second finds another one.
    with app.worker("--max-memory-per-child=120000", concurrency=1):
        pids = [app.send("grow", 100, lru_key=key).get(timeout=60) for key in "ab"]
        app.await_idle()

    assert pids[0] != pids[1]


def test_a_task_whose_process_is_killed_fails_and_is_not_repeated(app):
    """As with a plain task: it is acknowledged, early or late."""
    with app.worker(concurrency=4):
        results = [
            app.send(task, f"{task} {side}", **key)
            for task in ("die", "die_late")
            for side, key in (("fair", {"lru_key": "a"}), ("plain", {}))
        ]
        # Celery lets another process run what it does not know that the lost one ran.
        there = f"w1@{app.name}"
        inspect = app.client.control.inspect([there], timeout=5)
        eventually(
            lambda: len((inspect.active() or {}).get(there, ())) == 4, 30, "it knows of all four"
        )
        for result in results:
            app.leave(result)
        errors = [result.get(timeout=30, propagate=False) for result in results]

        assert [type(error).__name__ for error in errors] == ["WorkerLostError"] * 4
        assert app.send("note", "next", lru_key="a").get(timeout=30) == "noted next"
        app.await_idle()
    assert max(collections.Counter(app.recorded("started")).values()) == 1


def test_a_task_that_is_rejected_when_its_process_is_lost_runs_again(app):
    with app.worker(concurrency=2):
        fair, plain = app.send("die_once", "fair", lru_key="a"), app.send("die_once", "plain")

        assert fair.get(timeout=30) == "survived fair"
        assert plain.get(timeout=30) == "survived plain"
        app.await_idle()
    assert app.recorded("started").count("fair") == 2


@pytest.mark.skipif(celery.VERSION < (5, 5), reason="before 5.5 Celery drops such a task")
def test_a_task_that_hard_limits_give_back_each_time_ends_in_the_dead_letters(app):
    """A plain one comes back for ever."""
    with app.worker(concurrency=1):
        app.send("nap_unforgiven", "fair", 50, lru_key="a", time_limit=0.3)

        assert app.await_dead_letter().reason == "too many deliveries"
        app.await_idle()
    assert len(app.recorded("started")) == 2


def test_an_autoscaled_pool_grows_with_what_is_fair_and_shrinks_again(app, monkeypatch):
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1")
    with app.worker("--autoscale=4,1", concurrency=4) as worker:
        waiting = [app.send("wait", f"v{n}", lru_key=f"k{n}") for n in range(6)]
        app.await_recorded("pid", 4)

        assert app.engine.snapshot(app.name).leased == 4
        assert app.engine.snapshot(app.name).waiting == 2
        for result in waiting:
            app.leave(result)
        assert [result.get(timeout=30)[0] for result in waiting] == [f"v{n}" for n in range(6)]
        app.await_idle()
        worker.await_log("Scaling down 3 processes")
        assert app.send("note", "next", lru_key="a").get(timeout=30) == "noted next"

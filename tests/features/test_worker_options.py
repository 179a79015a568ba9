"""Workers started with the options that applications use serve fair tasks all the same."""

import celery
import pytest

APP = "working_app"

pytestmark = pytest.mark.timeout(120)

QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def test_a_worker_that_knows_no_other_serves_in_the_rules_order(make_app):
    """The prefetch multiplier is for what comes from the broker; fair tasks are leased late."""
    app = make_app(celery={"task_acks_late": True, "task_reject_on_worker_lost": True})
    options = (*QUIET, "-O", "fair", "--prefetch-multiplier=16")
    with app.worker(*options, concurrency=1) as worker:
        first = app.send("wait", "first", lru_key="a")
        app.await_recorded("started", 1)
        for value in ("a1", "a2", "a3"):
            app.send("note", value, lru_key="a")
        plain = app.send("note", "plain")
        app.send("note", "b1", lru_key="b")
        worker.await_log(f"note[{plain.id}] received")
        # Acknowledged late by the application's setting.
        assert not app.is_acknowledged(first)
        app.leave(first)

        app.await_recorded("started", 6)
        app.await_idle()
        assert plain.get(timeout=30) == "noted plain"
    fair = [value for value in app.recorded("started") if value != "plain"]
    assert fair == ["first", "b1", "a1", "a2", "a3"]


def test_queues_that_are_named_are_served_and_those_excluded_are_not(make_app):
    app = make_app()
    names = [f"{app.name}-{letter}" for letter in "abc"]
    declared = {"task_queues": {name: {} for name in names}, "task_create_missing_queues": True}
    app.settings["celery"].update(declared)
    app.client.conf.update(declared)
    sent = {
        (name, side): app.send("note", f"{name} {side}", queue=name, **key)
        for name in names
        for side, key in (("fair", {"lru_key": "a"}), ("plain", {}))
    }
    with app.worker("-Q", ",".join(names[:2]), concurrency=1) as worker:
        for name in names[:2]:
            assert sent[name, "fair"].get(timeout=30) == f"noted {name} fair"
            assert sent[name, "plain"].get(timeout=30) == f"noted {name} plain"
        assert worker.stop() == 0
    with app.worker("-X", ",".join(names[:2]), concurrency=1):
        # Later than those of the excluded queues, which wait still.
        again = [app.send("note", f"again {name}", queue=name, lru_key="a") for name in names]
        assert sent[names[2], "fair"].get(timeout=30) == f"noted {names[2]} fair"
        assert again[2].get(timeout=30) == f"noted again {names[2]}"

        waiting = [app.engine.snapshot(name).waiting for name in names]
        assert waiting == [1, 1, 0]


@pytest.mark.skipif(celery.VERSION < (5, 6), reason="Celery 5.6 brought the option")
def test_without_prefetching_a_fair_flood_does_not_shut_plain_tasks_out(make_app):
    app = make_app()
    with app.worker("--disable-prefetch", concurrency=2):
        flood = [app.send("pause_briefly", f"v{n}", lru_key=f"k{n % 5}") for n in range(100)]
        app.await_recorded("started", 5)
        plain = app.send("note", "plain")
        assert plain.get(timeout=30) == "noted plain"
        assert not flood[-1].ready()
        for result in flood:
            result.get(timeout=30)
        app.await_idle()

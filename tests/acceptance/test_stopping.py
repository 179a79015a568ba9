"""A worker that stops gives back what it did not start."""

import pytest


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent", "eventlet"])
def test_a_warm_shutdown_finishes_what_runs_and_keeps_the_rest(fair_app, pool):
    app = fair_app()
    for number in range(30):
        app.send("note", f"v{number}", 0.3, lru_key="a")
    with app.worker(pool=pool, concurrency=2) as worker:
        app.await_recorded("started", 1)
        assert worker.stop() == 0

    ended = app.recorded("ended")
    counts = app.engine.snapshot(app.name)
    assert sorted(ended) == sorted(app.recorded("started"))
    assert counts.leased == 0
    assert counts.waiting == 30 - len(ended)


def test_what_was_given_back_runs_in_its_old_order(fair_app):
    app = fair_app()
    for number in range(12):
        app.send("note", f"v{number}", 0.1, lru_key="a")
    with app.worker(concurrency=1) as worker:
        app.await_recorded("started", 3)
        worker.stop()
    with app.worker(concurrency=1):
        app.await_recorded("ended", 12)

    assert app.recorded("started") == [f"v{number}" for number in range(12)]

"""A worker that waits for work hears soon that it serves other queues now."""

import pytest

from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, redis_url):
    """An application whose workers wait for minutes when there is nothing to do."""
    app = FairApp(tmp_path, redis_url, module="patient_app", ranch={"lease_seconds": 3_600})
    yield app
    app.close()


def add(app, number, **options):
    """Add 1 to a number by a fair task."""
    options = {"lru_key": "a", **options}
    return app.client.send_task("operating_app.add", (number, 1), **options).get(timeout=20)


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_worker_that_waits_serves_a_queue_that_is_added(app, pool):
    with app.worker(pool=pool):
        # It waits for more when it has answered.
        assert add(app, 1) == 2
        assert "ok" in app.tell("add_consumer", queue=f"{app.name}-added")

        for number in range(3):
            assert add(app, number, queue=f"{app.name}-added") == number + 1


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_wake_up_for_a_queue_that_was_cancelled_goes_to_who_serves_it(app, pool):
    queue = f"{app.name}-shared"
    with app.worker("-Q", f"{app.name},{queue}", pool=pool):
        assert add(app, 1, queue=queue) == 2
        assert "ok" in app.tell("cancel_consumer", queue=queue)
        # Of two that listen the one that has listened longer is woken.
        with app.worker("-Q", queue, name="w2", pool=pool):
            for number in range(3):
                assert add(app, number, queue=queue) == number + 1

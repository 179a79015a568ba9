"""A worker that compares its leases with the store's gives back the lost ones alone."""

import collections

import pytest

from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, own_redis, redis_url):
    """An application whose leases are short, and whose store is a Redis of its own."""
    settings = {"url": own_redis.url, "lease_seconds": 3}
    app = FairApp(tmp_path, redis_url, ranch=settings)
    yield app
    app.close()


@pytest.mark.timeout(120)
def test_a_lease_whose_reply_waits_behind_a_long_plain_task_is_not_given_back(app):
    """On a solo pool a plain task of the broker's blocks the loop between request and reply."""
    with app.worker(pool="solo") as worker:
        for number in range(5):
            app.send("note", f"fair{number}", 0.6, lru_key="a")
            app.send("plain_sleep", 2.0)
        app.await_recorded("ended", 5, seconds=60)
        app.await_idle()

        assert "replies were lost" not in worker.log
    assert set(collections.Counter(app.recorded("started")).values()) == {1}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_what_ended_while_the_store_was_away_does_not_run_again(app, own_redis, pool):
    with app.worker(pool=pool, concurrency=4) as worker:
        for number in range(4):
            app.send("note", f"v{number}", 1.0, lru_key="a")
        app.await_recorded("started", 4)
        # The loop's tries to reconnect are far apart by then, the heartbeat's are not.
        own_redis.stop()
        app.await_recorded("ended", 4)
        worker.await_log("Lost the store")
        own_redis.start()
        worker.await_log("The store answers again", 60)
        app.await_idle(60)

        assert "replies were lost" not in worker.log
    assert set(collections.Counter(app.recorded("started")).values()) == {1}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_ended_while_the_broker_and_the_store_were_away_does_not_run_again(
    tmp_path, own_redis, redis_url, pool
):
    """One Redis is both, as in most installations."""
    settings = {"url": own_redis.url, "lease_seconds": 3}
    app = FairApp(tmp_path, redis_url, celery={"broker_url": own_redis.url}, ranch=settings)
    with app.worker(pool=pool, concurrency=4) as worker:
        for number in range(4):
            app.send("note", f"v{number}", 1.0, lru_key="a")
        app.await_recorded("started", 4)
        own_redis.stop()
        app.await_recorded("ended", 4)
        worker.await_log("Connection to broker lost")
        own_redis.start()
        app.await_idle(60)

        assert app.send("note", "next", lru_key="b").get(timeout=20) == "noted next"
        assert "replies were lost" not in worker.log
    assert set(collections.Counter(app.recorded("started")).values()) == {1}
    app.close()

"""A worker whose store goes away says so in one line, and in one that it is back."""

import collections
import time

import psutil
import pytest

from tests.servers import eventually
from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, own_redis, redis_url):
    """Beats every half second, so that every part of a worker notices."""
    settings = {"url": own_redis.url, "lease_seconds": 3}
    app = FairApp(tmp_path, redis_url, ranch=settings)
    yield app
    app.close()


def await_beats(app, own_redis, count):
    """Wait until the worker has beaten so many times more."""
    workers = f"{app.name}:{{{app.name}}}:workers"
    seen = set()
    with own_redis.client() as client:

        def has_beaten():
            seen.update(score for _, score in client.zrange(workers, 0, -1, withscores=True))
            return len(seen) > count

        eventually(has_beaten, 30, f"{count} beats")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_each_outage_of_the_store_is_one_line_and_its_end_another(app, own_redis, pool):
    with app.worker(pool=pool, concurrency=4) as worker:
        for outage in (1, 2):
            for number in range(4):
                app.send("note", f"{outage}-{number}", 1.5, lru_key="a")
            app.await_recorded("started", 4 * outage)
            own_redis.stop()
            # What runs goes on, and settling fails as leasing and heartbeats do.
            app.await_recorded("ended", 4 * outage)
            own_redis.start()
            eventually(
                lambda n=outage: worker.log.count("The store answers again") >= n, 60, "it is back"
            )
            app.await_idle()
            await_beats(app, own_redis, 3)
            assert worker.log.count("The store answers again") == outage
            lost = [line for line in worker.log.splitlines() if "Lost the store" in line]
            assert len(lost) == outage
            assert "no fair task is leased until it is back" in lost[-1]

        errors = [line for line in worker.log.splitlines() if "ERROR/" in line]
        assert errors == lost
        assert worker.stop() == 0
    assert set(collections.Counter(app.recorded("started")).values()) == {1}


@pytest.mark.timeout(120)
def test_an_outage_that_begins_again_with_the_broker_is_said_once(tmp_path, own_redis, redis_url):
    """With one Redis for both, each of Celery's reconnections makes a new link to the store."""
    settings = {"url": own_redis.url, "lease_seconds": 3}
    app = FairApp(tmp_path, redis_url, celery={"broker_url": own_redis.url}, ranch=settings)
    with app.worker(concurrency=2) as worker:
        assert app.send("note", "first", lru_key="a").get(timeout=30) == "noted first"
        own_redis.stop()
        worker.await_log("Lost the store")
        worker.await_log("Connection to broker lost")
        own_redis.start()
        worker.await_log("The store answers again")
        assert app.send("note", "next", lru_key="b").get(timeout=30) == "noted next"
        await_beats(app, own_redis, 3)
        assert worker.log.count("Lost the store") == 1
        assert worker.log.count("The store answers again") == 1
    app.close()


@pytest.mark.timeout(120)
def test_a_worker_that_waits_for_a_rate_limit_sleeps_while_its_store_is_away(
    tmp_path, own_redis, redis_url
):
    app = FairApp(tmp_path, redis_url, module="rates_app", ranch={"url": own_redis.url})
    with app.worker() as worker:
        app.tell("rate_limit", task_name="rates_app.ten_a_minute", rate_limit="20/m")
        for key in "abc":
            app.send("ten_a_minute", "slow", key, lru_key=key)
        app.await_recorded("slow", 1)
        eventually(lambda: not app.engine.snapshot(app.name).waiting, 20, "all is leased")
        own_redis.stop()
        worker.await_log("Lost the store")
        before, began_at = psutil.Process(worker.pid).cpu_times(), time.monotonic()
        # The next ones run without the store, three seconds apart.
        app.await_recorded("slow", 3, seconds=40)
        after, seconds = psutil.Process(worker.pid).cpu_times(), time.monotonic() - began_at

    used = after.user + after.system - before.user - before.system
    assert used < seconds / 10
    app.close()

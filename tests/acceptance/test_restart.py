"""Redis restarts or goes away: nothing that was accepted is lost."""

import collections

import pytest

from tests.servers import eventually
from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, own_redis, redis_url):
    """An application whose store alone is a Redis that may be stopped."""
    app = FairApp(tmp_path, redis_url, ranch={"url": own_redis.url})
    yield app
    app.close()


@pytest.mark.timeout(120)
def test_a_backlog_survives_a_clean_restart_of_redis(app, own_redis):
    for number in range(50):
        app.send("note", f"v{number}", lru_key=f"k{number % 3}", countdown=0.2 * (number % 2))
    own_redis.stop()
    own_redis.start()
    with app.worker():
        app.await_recorded("ended", 50)

    assert sorted(app.recorded("ended")) == sorted(f"v{number}" for number in range(50))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_worker_outlives_its_store_and_goes_on_where_it_was(app, own_redis, pool):
    for number in range(60):
        app.send("note", f"v{number}", 0.05, lru_key=f"k{number % 3}")
    with app.worker(pool=pool) as worker:
        app.await_recorded("ended", 5)
        own_redis.stop()
        worker.await_log("Lost the store")
        own_redis.start()
        worker.await_log("The store answers again")
        eventually(lambda: len(set(app.recorded("ended"))) == 60, 60, "all 60 to end")
        app.await_idle()

        assert worker.log.count("Lost the store") == 1
        assert worker.stop() == 0

    assert set(collections.Counter(app.recorded("ended")).values()) == {1}

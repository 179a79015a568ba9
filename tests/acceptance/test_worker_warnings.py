"""What a worker says loudly at its start."""

import pytest

from tests.workers import FairApp


@pytest.mark.timeout(120)
def test_a_store_that_may_evict_entries_is_warned_of(tmp_path, own_redis, redis_url):
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    app = FairApp(tmp_path, redis_url, ranch={"url": own_redis.url})
    with app.worker(pool="solo") as worker:
        assert "maxmemory-policy is allkeys-lru" in worker.log
    app.close()


def test_a_pool_of_processes_is_warned_of_a_store_in_memory(fair_app):
    app = fair_app(ranch={"url": "memory://"})
    with app.worker() as worker:
        assert "this worker will run no fair task" in worker.log

"""Crowds of keys that come once and go: all are served, and nothing of them stays."""

import itertools

import psutil
import pytest

from celery_ranch import submit
from tests.servers import eventually
from tests.workers import FairApp

#: What a worker may grow by, whatever the number of keys; a list of 100,000
#: leases or keys that it kept would be several times that.
MOST_BYTES = 60_000_000


@pytest.mark.timeout(1800)
def test_a_crowd_of_new_keys_is_served_and_forgotten(chaos, tmp_path, redis_url):
    count = chaos.scale(5_000, 100_000)
    app = FairApp(tmp_path, redis_url, ranch={"redis_key_ttl": 1, "lease_seconds": 2})
    numbers = list(range(count))
    chaos.chance.shuffle(numbers)
    calls = (app.signature("count", n, lru_key=f"tenant {n}", ignore_result=True) for n in numbers)
    try:
        with app.worker(concurrency=2) as worker:
            grown = psutil.Process(worker.pid)
            app.send("count", -1, lru_key="first")
            app.await_recorded("counted", 1)
            before = grown.memory_info().rss
            while some := list(itertools.islice(calls, 5_000)):
                submit(app.client, some)
            recorded = app.await_recorded("counted", count + 1, seconds=chaos.scale(120, 1_200))
            app.await_idle()

            assert sorted(map(int, recorded)) == list(range(-1, count))
            assert grown.memory_info().rss - before < MOST_BYTES
            eventually(
                lambda: not app.engine.keys(app.name)[1],
                240,
                "idle keys are forgotten",
            )
    finally:
        app.close()

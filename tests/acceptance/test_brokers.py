"""The same through other brokers than Redis."""

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from celery_ranch import lru_task


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent", "eventlet"])
def test_rabbitmq_carries_plain_tasks_and_redis_the_fair_ones(fair_app, rabbitmq_url, pool):
    app = fair_app(celery={"broker_url": rabbitmq_url})
    for number in range(4):
        app.send("note", f"a{number}", lru_key="a")
    app.send("note", "b0", lru_key="b")
    with app.worker(pool=pool, concurrency=1) as worker:
        order = app.await_recorded("started", 5)
        plain = app.send("plain_note", "plain")
        fair = app.send("note", "later", lru_key="c")

        assert order == ["a0", "b0", "a1", "a2", "a3"]
        assert plain.get(timeout=20) == "noted plain"
        assert fair.get(timeout=20) == "noted later"
        assert worker.stop() == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_in_this_process_serves_the_memory_store(pool):
    app = Celery("in-memory", broker="memory://", backend="cache+memory://", set_as_current=False)
    order = []

    @lru_task(app, name=f"note-{pool}")
    def note(value):
        order.append(value)
        return value

    with pytest.warns(UserWarning, match="memory"):
        results = [note.lru_delay(key, f"{key}{n}") for key in "aab" for n in range(2)]
    with start_worker(app, pool=pool, concurrency=1, perform_ping_check=False):
        values = [result.get(timeout=20, disable_sync_subtasks=False) for result in results]

    assert values == ["a0", "a1", "a0", "a1", "b0", "b1"]
    assert order == ["a0", "b0", "a1", "b1", "a0", "a1"]

"""Queues with exchanges and priorities of their own, beside plain tasks on the same ones."""

import pytest

from celery_ranch.errors import RoutingError
from tests.applications.routed_queues import queues_of
from tests.workers import FairApp


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url, broker_url):
    app = FairApp(
        tmp_path_factory.mktemp("routing"),
        redis_url,
        module="routing_app",
        celery={"broker_url": broker_url},
    )
    app.client.conf.task_queues = queues_of(app.name)
    yield app
    app.close()


@pytest.fixture(scope="module", autouse=True)
def worker(app):
    with app.worker() as worker:
        yield worker


@pytest.mark.parametrize(
    "options, queue",
    [
        pytest.param({"queue": "{}-direct"}, "{}-direct", id="direct queue"),
        pytest.param(
            {"exchange": "{}-dx", "routing_key": "orders"}, "{}-direct", id="direct exchange"
        ),
        pytest.param({"queue": "{}-topic"}, "{}-topic", id="topic queue"),
        pytest.param(
            {"exchange": "{}-tx", "routing_key": "feed.news.sport"}, "{}-topic", id="topic exchange"
        ),
        pytest.param({"queue": "{}-fanout"}, "{}-fanout", id="fanout queue"),
        pytest.param({}, "{}", id="default queue"),
    ],
)
def test_a_fair_task_waits_on_the_fair_side_of_the_queue_that_a_plain_one_goes_to(
    app, options, queue
):
    options = {name: value.format(app.name) for name, value in options.items()}
    queue = queue.format(app.name)
    key = f"routed to {queue} by {sorted(options)}"
    app.ranch.pause(key, queue=queue)
    fair = app.send("describe", lru_key=key, **options)
    plain = app.send("describe", **options)

    assert app.engine.snapshot(queue).waiting == 1
    assert isinstance(plain.get(timeout=30), list)
    app.ranch.resume(key, queue=queue)
    assert fair.get(timeout=30) == [queue, "", None]


def test_a_broadcast_takes_no_key(app):
    with pytest.raises(RoutingError):
        app.send("note", "fair", queue=f"{app.name}-all", lru_key="a")


# With kombu 5.7.0 none arrives beside Redis, in plain Celery neither.
@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_broadcast_without_a_key_is_celerys(app):
    app.send("note", "broadcast", queue=f"{app.name}-all")
    app.await_recorded("started", 1)

    assert app.recorded("started") == ["broadcast"]


def test_a_priority_arrives_with_a_fair_task_as_with_a_plain_one(app):
    fair = app.send("describe", priority=7, lru_key="a")
    plain = app.send("describe", priority=7)

    assert fair.get(timeout=30)[2] == plain.get(timeout=30)[2] == 7

"""What fair tasks do beside every broker, and plain ones next to them."""

import time

import celery
import pytest

from tests.workers import FairApp

pytestmark = pytest.mark.timeout(120)

needs_native_delays = pytest.mark.skipif(
    celery.VERSION < (5, 5), reason="Celery 5.5 brought quorum queues"
)
BROKERS = [
    "redis",
    "classic queues",
    pytest.param("quorum queues", marks=needs_native_delays),
    "filesystem",
]
QUORUM = {
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
    "worker_detect_quorum_queues": True,
    "broker_transport_options": {"confirm_publish": True},
}


@pytest.fixture(scope="module", params=BROKERS)
def broker(request):
    return request.param


@pytest.fixture(scope="module")
def app(request, broker, tmp_path_factory, redis_url):
    folder = tmp_path_factory.mktemp("broker")
    settings = {}
    if "queues" in broker:
        settings["broker_url"] = request.getfixturevalue("rabbitmq_url")
    if broker == "quorum queues":
        settings |= QUORUM
    if broker == "filesystem":
        (folder / "results").mkdir()
        names = ("data_folder_in", "data_folder_out", "control_folder")
        settings["broker_url"] = "filesystem://"
        settings["broker_transport_options"] = dict.fromkeys(names, str(folder))
        settings["result_backend"] = f"file://{folder / 'results'}"
    app = FairApp(folder, redis_url, module="working_app", celery=settings)
    yield app
    app.close()


@pytest.fixture(scope="module", autouse=True)
def worker(app):
    with app.worker(concurrency=2) as worker:
        yield worker


def test_plain_and_fair_tasks_run_side_by_side(app):
    fair = [app.send("note", f"fair{n}", lru_key=f"k{n}") for n in range(3)]
    plain = [app.send("note", f"plain{n}") for n in range(3)]

    assert [result.get(timeout=30) for result in fair] == [f"noted fair{n}" for n in range(3)]
    assert [result.get(timeout=30) for result in plain] == [f"noted plain{n}" for n in range(3)]
    app.await_idle()


def test_a_delayed_fair_task_waits_in_the_store_and_starts_when_it_is_due(app):
    later = app.send("note", "later", lru_key="delayed", countdown=600)
    assert app.engine.snapshot(app.name).delayed == 1
    assert app.engine.cancel(app.name, later.id) is not None

    sent_at = time.time()
    soon = app.send("started_at", lru_key="delayed", countdown=1.5)
    plain = app.send("started_at", countdown=1.5)
    assert soon.get(timeout=30) >= sent_at + 1.5
    # Native delayed delivery counts in whole seconds.
    assert plain.get(timeout=30) >= sent_at + 1
    app.await_idle()


def test_a_retry_waits_in_the_store_of_the_same_queue(app):
    fair = app.send("retry_once", "fair", 1, lru_key="retries")
    plain = app.send("retry_once", "plain", 1)

    assert fair.get(timeout=30) == plain.get(timeout=30) == 1
    assert app.recorded("tries").count("fair:1") == 1
    app.await_idle()


def test_a_late_acknowledged_task_is_given_back_to_the_store_and_not_to_the_broker(app):
    late = app.send("die_once", "fair", lru_key="late")

    assert late.get(timeout=40) == "survived fair"
    app.await_idle()


@needs_native_delays
@pytest.mark.parametrize("broker", ["quorum queues"], indirect=True)
def test_celery_refuses_to_delay_for_less_than_a_second_beside_quorum_queues(app, worker):
    """It counts native delays in whole seconds, before we see the task (5.5 to 5.7)."""
    assert "Global QoS is disabled" in worker.log
    for key in ({"lru_key": "delayed"}, {}):
        with pytest.raises(ValueError, match="countdown must be a positive number"):
            app.send("note", "too soon", countdown=0.5, **key)
    assert app.engine.snapshot(app.name).delayed == 0

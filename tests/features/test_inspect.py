"""`inspect`, `celery status`, `result` and `purge` on fair tasks of a real worker."""

import json

import pytest

from celery_ranch.scheduling.model import Outcome, OutcomeKind
from tests.servers import eventually

APP = "operating_app"

#: A lookahead so long that what a worker leases ahead is there to be looked at.
RANCH = {"lookahead_seconds": 10.0}

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def inspect(app):
    """Ask the worker until it answers; return its own part of the reply."""
    there = [f"w1@{app.name}"]

    def ask(command, *arguments):
        def answer():
            inspect = app.client.control.inspect(there, timeout=5)
            return getattr(inspect, command)(*arguments)

        return eventually(answer, 30, f"an answer to {command}")[there[0]]

    return ask


@pytest.fixture
def gate(app, request):
    """Hold both processes of the worker with fair tasks, and open the gate at the end."""
    name = request.node.name
    held = [app.send("hold", name, lru_key=f"gate-{n}") for n in range(2)]
    app.await_recorded(f"held:{name}", 2)
    yield held
    app.records.set(f"{app.name}:open:{name}", 1)
    for result in held:
        assert result.get(timeout=30) == "opened"
    app.await_idle()


def celery(app, *arguments):
    """Run the celery command and return what it printed."""
    return app.run("celery", "-A", app.module, *arguments)


@pytest.fixture
def store_worker(inspect):
    """The name that the worker leases under."""
    return inspect("stats")["celery_ranch"]["worker"]


@pytest.fixture
def leased(app, store_worker):
    """Return the ids of what the store says that the worker holds."""
    return lambda: {entry_id for _, entry_id, _ in app.engine.held(store_worker)}


def ids(infos):
    return [info["id"] for info in infos]


def test_active_shows_a_fair_task_as_it_shows_a_plain_one(app, inspect):
    fair = app.send("hold", "both", lru_key="active")
    plain = app.send("hold", "both")
    app.await_recorded("held:both", 2)
    active = {info["id"]: info for info in inspect("active")}
    app.records.set(f"{app.name}:open:both", 1)
    app.await_idle()

    ours, theirs = active[fair.id], active[plain.id]
    assert ours.keys() == theirs.keys()
    assert ours["name"] == "operating_app.hold"
    assert ours["time_start"] == pytest.approx(theirs["time_start"], abs=30)
    assert ours["worker_pid"] > 0
    assert ours["worker_pid"] != theirs["worker_pid"]
    assert ours["delivery_info"].keys() == theirs["delivery_info"].keys()
    for same in ("name", "type", "args", "kwargs", "hostname", "acknowledged"):
        assert ours[same] == theirs[same], same
    for same in ("routing_key", "redelivered", "exchange"):
        assert ours["delivery_info"][same] == theirs["delivery_info"][same], same


def test_what_is_active_and_reserved_is_what_the_store_says_is_leased(inspect, leased, gate):
    active = ids(inspect("active"))

    assert sorted(active) == sorted(result.id for result in gate)
    assert inspect("reserved") == []
    assert {*active} == leased()


def test_what_was_leased_ahead_is_reserved_too(app, inspect, leased, request):
    for result in [app.send("add", n, n, lru_key="quick") for n in range(20)]:
        result.get(timeout=20)
    gate = request.getfixturevalue("gate")
    ahead = [app.send("add", n, 1, lru_key="ahead") for n in range(5)]
    eventually(lambda: len(leased()) == 7, 30, "five entries leased ahead")

    reserved = inspect("reserved")
    assert ids(reserved) == [result.id for result in ahead]
    assert {*ids(inspect("active")), *ids(reserved)} == leased()
    assert reserved[1]["name"] == "operating_app.add"
    assert reserved[1]["args"] == [1, 1]
    assert reserved[1]["time_start"] is None
    assert inspect("query_task", [ahead[0].id, gate[0].id]) == {
        ahead[0].id: ["reserved", reserved[0]],
        gate[0].id: ["active", *[i for i in inspect("active") if i["id"] == gate[0].id]],
    }
    stats = inspect("stats")["celery_ranch"]
    assert (stats["leased"], stats["stocked"], stats["slots"]) == (7, 5, 2)


def test_a_delayed_fair_task_waits_in_the_store_and_is_not_scheduled_by_a_worker(app, inspect):
    result = app.send("add", 1, 2, lru_key="later", countdown=3_600)
    try:
        assert inspect("scheduled") == []
        assert app.engine.snapshot(app.name).delayed == 1
    finally:
        assert app.ranch.cancel(result.id)


def test_query_task_says_nothing_of_a_task_that_waits_in_the_store(app, inspect):
    result = app.send("add", 1, 2, lru_key="later", countdown=3_600)
    try:
        assert inspect("query_task", result.id) == {}
    finally:
        assert app.ranch.cancel(result.id)


def test_fair_tasks_are_registered_by_their_own_names_alone(inspect):
    registered = inspect("registered")

    assert "operating_app.add" in registered
    assert not [name for name in registered if "ranch" in name or "lru" in name]


def test_stats_count_fair_tasks_by_their_names_and_tell_the_store_s_worker(app, inspect):
    before = inspect("stats")["total"].get("operating_app.note", 0)
    app.send("note", "counted", lru_key="stats").get(timeout=20)
    app.await_idle()
    stats = inspect("stats")

    assert stats["total"]["operating_app.note"] == before + 1
    assert stats["celery_ranch"]["worker"].startswith(f"w1@{app.name}:")
    assert stats["celery_ranch"]["queues"] == [app.name]
    assert stats["celery_ranch"]["slots_taken"] == 0


def test_active_queues_are_those_whose_fair_side_is_served(app, inspect):
    assert [queue["name"] for queue in inspect("active_queues")] == [app.name]


def test_the_command_line_shows_what_a_worker_does(app, gate):
    here = f"--destination=w1@{app.name}"
    assert "1 node online" in celery(app, "status", here, "--timeout=20")

    def inspected(command):
        told = celery(app, "inspect", command, "--json", here, "--timeout=20")
        return json.loads(told)[f"w1@{app.name}"]

    assert inspected("stats")["celery_ranch"]["leased"] == 2
    assert sorted(ids(inspected("active"))) == sorted(result.id for result in gate)
    assert "celery_ranch" in inspected("report")["ok"]


def test_celery_result_prints_what_a_fair_task_returned(app):
    result = app.send("add", 20, 22, lru_key="asked")
    result.get(timeout=20)

    assert celery(app, "result", result.id).strip() == "42"


def test_purge_deletes_what_is_in_the_broker_and_leaves_fair_tasks_alone(app):
    # Nobody serves this queue, so what is sent there waits.
    queue = f"unserved-{app.name}"
    app.client.amqp.queues.select_add(queue)
    fair = [app.send("add", n, 2, lru_key=f"kept-{n % 2}", queue=queue) for n in range(3)]
    fair.append(app.send("add", 3, 2, lru_key="later", queue=queue, countdown=3_600))
    app.send("add", 1, 2, queue=queue)

    assert "Purged 1 message" in celery(app, "purge", "-f", "-Q", queue)
    assert app.engine.snapshot(queue).waiting == 3

    app.ranch.pause("kept-0", queue)
    assert app.ranch.purge(queue) == 4
    counts = app.engine.snapshot(queue)
    assert counts.waiting == counts.delayed == 0
    assert [result.state for result in fair] == ["REVOKED"] * 4
    assert app.ranch.purge(queue) == 0


def test_a_lease_that_the_worker_did_not_take_shows_in_the_store_alone(
    app, inspect, leased, store_worker
):
    # The comparison above can fail: here is a lease that no worker knows.
    app.send("add", 1, 2, lru_key="stranger", queue="elsewhere")
    [lease] = app.engine.lease(store_worker, ["elsewhere"], 1).leases
    assert lease.entry_id in leased()
    assert lease.entry_id not in ids(inspect("reserved"))
    outcome = Outcome(OutcomeKind.COMPLETED, lease.queue, lease.entry_id, lease.number)
    app.engine.settle(store_worker, [outcome])

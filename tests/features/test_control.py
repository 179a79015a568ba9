"""`celery control` on fair tasks of a real worker."""

import contextlib
import uuid

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from tests.servers import eventually

APP = "operating_app"

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def control(app):
    """Send the worker a command and return what it answered."""
    return app.tell


@pytest.fixture
def slots(app):
    return lambda: app.tell("stats")["celery_ranch"]["slots"]


@pytest.fixture
def hold(app):
    """Start fair tasks, each with a gate of its own; give a function that opens a gate."""
    held = {}

    def open_gate(gate):
        app.records.set(f"{app.name}:open:{gate}", 1)
        return held.pop(gate).get(timeout=30)

    def start(*gates):
        for gate in gates:
            held[gate] = app.send("hold", gate, lru_key=f"hold-{gate}")
        return open_gate

    yield start
    for gate in list(held):
        open_gate(gate)
    app.await_idle()


def gates(count):
    return [uuid.uuid4().hex[:8] for _ in range(count)]


def has_started(app, gate):
    return bool(app.recorded(f"held:{gate}"))


@contextlib.contextmanager
def consuming(app, control, queue):
    assert "ok" in control("add_consumer", queue=queue)
    try:
        yield
    finally:
        control("cancel_consumer", queue=queue)


def test_rate_limit_holds_fair_tasks_of_that_type_back_until_it_is_raised(app, control):
    assert "ok" in control("rate_limit", task_name="operating_app.limited", rate_limit="1/h")
    # One runs, one is in Celery's bucket, one is at hand.
    slow = [app.send("limited", n, lru_key="slow") for n in range(5)]
    eventually(lambda: app.engine.snapshot(app.name).delayed == 2, 30, "two were held back")
    assert app.send("add", 1, 2, lru_key="slow").get(timeout=20) == 3
    assert len(app.recorded("limited")) == 1
    # They ask again before their hour is over, because the limit may have been raised.
    assert app.engine.snapshot(app.name).next_due_in_us <= 30_000_000

    assert "ok" in control("rate_limit", task_name="operating_app.limited", rate_limit="50/s")
    # The former limit's next slots, hours away, are none of theirs.
    for result in [app.send("limited", n, lru_key="quick") for n in range(5)]:
        result.get(timeout=20)
    assert "ok" in control("rate_limit", task_name="operating_app.limited", rate_limit="0")
    assert sum(app.ranch.cancel(result.id) for result in slow) == 2


def test_an_unknown_task_s_rate_limit_is_refused_as_ever(control):
    assert control("rate_limit", task_name="nobody.knows", rate_limit="1/m") == {
        "error": "unknown task"
    }


def test_time_limit_does_to_fair_tasks_what_it_does_to_plain_ones(app, control):
    # Celery 5.4 to 5.7 read a type's limit when the worker starts: neither is killed.
    def ended(**options):
        try:
            return app.send("sleep", 1.5, **options).get(timeout=30)
        except TimeLimitExceeded:
            return "killed"

    name = "operating_app.sleep"
    assert "ok" in control("time_limit", task_name=name, hard=0.5, soft=None)
    plain, fair = ended(), ended(lru_key="limit")
    assert "ok" in control("time_limit", task_name=name, hard=None, soft=None)

    assert fair == plain


def test_a_queue_that_was_added_is_served_and_one_that_was_cancelled_is_not(app, control):
    queue = f"added-{app.name}"
    early = app.send("add", 1, 1, lru_key="queues", queue=queue)
    with consuming(app, control, queue):
        assert early.get(timeout=20) == 2
        assert app.send("add", 2, 2, lru_key="queues", queue=queue).get(timeout=20) == 4
    late = app.send("add", 3, 3, lru_key="queues", queue=queue)
    # What is served goes on, so the worker has leased since.
    for number in range(3):
        assert app.send("add", number, 1, lru_key="queues").get(timeout=20) == number + 1

    assert app.engine.snapshot(queue).waiting == 1
    with consuming(app, control, queue):
        assert late.get(timeout=20) == 6


def test_a_queue_that_was_cancelled_is_served_by_who_still_serves_it(app, control):
    queue = f"handed-on-{app.name}"
    with consuming(app, control, queue):
        assert app.send("add", 1, 1, lru_key="queues", queue=queue).get(timeout=20) == 2
    # The first worker may still listen for a wake-up of that queue, and take it.
    with app.worker("-Q", queue, name="w2", pool="solo"):
        for number in range(3):
            result = app.send("add", number, 1, lru_key="queues", queue=queue)
            assert result.get(timeout=20) == number + 1


def test_a_grown_pool_leases_more_and_a_shrunk_one_less(app, control, hold, slots):
    first, second, third, fourth = gates(4)
    open_gate = hold(first, second, third)
    eventually(lambda: has_started(app, first) and has_started(app, second), 30, "both run")
    assert app.engine.snapshot(app.name).waiting == 1

    assert "ok" in control("pool_grow", n=1)
    eventually(lambda: has_started(app, third), 30, "the third runs, too")
    assert slots() == 3
    open_gate(third)

    # The process has to be known to be idle.
    eventually(lambda: "ok" in control("pool_shrink", n=1), 30, "a process could be spared")
    assert slots() == 2
    hold(fourth)
    assert app.engine.snapshot(app.name).leased == 2
    open_gate(first)
    eventually(lambda: has_started(app, fourth), 30, "the next runs when there is a slot")
    open_gate(second)
    open_gate(fourth)


def test_a_fair_task_revoked_while_it_waits_in_the_store_never_runs(app, control, hold):
    first, second = gates(2)
    open_gate = hold(first, second)
    eventually(lambda: has_started(app, first) and has_started(app, second), 30, "both run")
    result = app.send("note", "never", lru_key="revoked")
    assert "ok" in control("revoke", task_id=result.id)
    open_gate(first)

    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    assert app.recorded("noted") == []
    open_gate(second)


def test_a_running_fair_task_can_be_terminated_and_frees_its_slot(app, control):
    [gate] = gates(1)
    result = app.send("hold", gate, lru_key="terminated")
    eventually(lambda: has_started(app, gate), 30, "it runs")
    assert "ok" in control("revoke", task_id=result.id, terminate=True)

    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    app.await_idle()

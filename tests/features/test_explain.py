"""`Ranch.explain` beside a real worker: what it says comes true."""

import uuid

import pytest

from celery_ranch import BlockerKind, EntryState, Precision
from tests.servers import eventually

APP = "operating_app"
OPTIONS = ("--concurrency=1",)
#: A worker whose slot is taken leases nothing.
RANCH = {"lookahead_seconds": 0}


@pytest.fixture(scope="module", params=["redis"])
def broker(request):
    return request.param


pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def held(app):
    """A task that takes the worker's only slot, and a function that ends it."""
    gate = uuid.uuid4().hex[:8]
    result = app.send("hold", gate, lru_key="holder")
    app.await_recorded(f"held:{gate}", 1)

    def let_go():
        app.records.set(f"{app.name}:open:{gate}", 1)
        result.get(timeout=30)

    yield result, let_go
    let_go()
    app.await_idle()


def explain(app, result, **options):
    return app.ranch.explain(result.id, **options)


def test_what_is_told_of_waiting_tasks_is_their_order(app, held):
    running, let_go = held
    eventually(
        lambda: explain(app, running).state is EntryState.ACKNOWLEDGED, 20, "it runs, acknowledged"
    )
    told = explain(app, running)
    assert told.worker.startswith(f"w1@{app.name}")
    assert told.leased_at_us is not None
    assert str(told).startswith("running: ")

    sent = {
        name: app.send("note", name, lru_key=name[0])
        for name in ("a1", "a2", "a3", "b1", "b2", "c1")
    }
    first = {name: explain(app, result) for name, result in sent.items()}
    assert {each.state for each in first.values()} == {EntryState.WAITING}
    assert {each.precision for each in first.values()} == {Precision.EXACT}
    assert {each.workers for each in first.values()} == {1}

    let_go()
    assert app.await_recorded("noted", 6) == sorted(first, key=lambda name: first[name].ahead)
    eventually(lambda: explain(app, running).state is EntryState.UNKNOWN, 20, "it is done with")

    # At the pace since then the next one starts soon.
    earlier = first["c1"]
    app.ranch.pause("d")
    paused = app.send("note", "d1", lru_key="d")
    told = explain(app, paused, since=earlier)
    assert [blocker.kind for blocker in told.blockers] == [BlockerKind.PAUSED]
    assert told.starts_in_us is None
    assert told.handed_over > earlier.handed_over
    app.ranch.resume("d")
    paused.get(timeout=30)


def test_when_a_task_should_start_is_told_by_the_pace_of_the_workers(app, held):
    _, let_go = held
    results = [app.send("note", f"n{number}", lru_key="pace") for number in range(3)]
    before = explain(app, results[2])
    assert explain(app, results[2], since=before).starts_in_us is None
    let_go()
    results[2].get(timeout=30)

    gate = uuid.uuid4().hex[:8]
    other = app.send("hold", gate, lru_key="holder")
    app.await_recorded(f"held:{gate}", 1)
    later = [app.send("note", f"l{number}", lru_key="pace") for number in range(9)]
    told = explain(app, later[8], since=before)
    served = told.handed_over - before.handed_over
    took_us = told.at_us - before.at_us
    assert served >= 3
    assert told.starts_in_us == -(-(told.ahead + 1) * took_us // served)
    assert "it should start in about" in str(told)
    app.records.set(f"{app.name}:open:{gate}", 1)
    other.get(timeout=30)
    later[8].get(timeout=30)


def test_a_delayed_and_an_unknown_task_are_told_of(app):
    result = app.send("note", "later", lru_key="later", countdown=600)
    told = explain(app, result)
    assert told.state is EntryState.DELAYED
    assert 590_000_000 < told.due_at_us - told.at_us <= 600_000_000
    assert explain(app, result, queue="another").state is EntryState.UNKNOWN
    assert app.ranch.cancel(result.id)
    told = explain(app, result)
    assert told.state is EntryState.UNKNOWN
    assert told.queue == app.name

"""Tasks that wait are moved for sure: to another key, to another queue, by whoever lives."""

import collections

import pytest
from celery.result import AsyncResult

from celery_ranch import InvalidKeyError, InvalidMoveError
from celery_ranch.scheduling.model import Outcome, OutcomeKind
from celery_ranch.scheduling.withdrawals import Move
from tests.servers import eventually
from tests.workers import FairApp

LEASE_SECONDS = 1


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url, ranch={"lease_seconds": LEASE_SECONDS})
    yield app
    app.close()


@pytest.fixture
def other(app):
    """The name of another queue, which had a task once."""
    name = f"other-{app.name}"
    app.ranch.cancel(app.send("note", "first", lru_key="a", queue=name).id)
    return name


def send(app, count, key, task="note", **options):
    return [app.send(task, f"{key}-{n}", lru_key=key, **options) for n in range(count)]


def waiting(app, queue=None):
    """How many tasks each key has waiting."""
    counts = {one.key: one.waiting + one.delayed for one in app.ranch.keys(queue)}
    return {key: count for key, count in counts.items() if count}


def test_all_that_waits_at_a_key_waits_under_another_one(app):
    send(app, 400, "a")
    send(app, 2, "a", countdown=600)
    send(app, 3, ("a", "deep"))
    send(app, 1, "b")

    assert app.ranch.move(key="a", to_key=("b", "x")) == 405
    assert waiting(app) == {("b",): 1, ("b", "x"): 405}
    assert [task.args for task in app.ranch.pending(("b", "x"), limit=2)] == [["a-0"], ["a-1"]]
    assert app.ranch.move(key="a", to_key="b") == 0
    assert app.ranch.cancel(key="b") == 406
    app.check(is_still=True)


def test_a_task_is_moved_by_its_id_from_wherever_it_waits(app, other):
    one, two = send(app, 2, "a")
    [delayed] = send(app, 1, "a", countdown=600, queue=other)

    assert app.ranch.move(one.id, to_key="b") is True
    assert app.ranch.move(two.id, to_queue=other) is True
    assert app.ranch.move(delayed.id, to_key="c", to_queue=app.name) is True
    assert app.ranch.move("unknown", to_key="b") is False
    assert waiting(app) == {("b",): 1, ("c",): 1}
    assert waiting(app, other) == {("a",): 1}
    assert app.ranch.purge() + app.ranch.purge(other) == 3
    app.check(is_still=True)


def test_where_tasks_cannot_be_moved_is_said_and_nothing_moves(app, other):
    [result] = send(app, 1, "a")
    of_key, of_task = {"key": "a"}, {"task_id": result.id}
    for arguments in (
        {**of_key},
        {**of_key, "to_key": "a"},
        {**of_key, "to_queue": app.name},
        {**of_key, "to_queue": "celery_ranch", "to_key": "a"},
        {**of_key, "to_queue": "nobody-knows-it"},
        {**of_key, "to_queue": ""},
        {**of_key, "to_queue": 7},
        {**of_task},
        {**of_task, "to_key": "a"},
        {**of_task, "to_queue": app.name},
        {**of_task, "to_queue": "nobody-knows-it", "to_key": "b"},
    ):
        with pytest.raises(InvalidMoveError):
            app.ranch.move(**arguments)
    for arguments in (
        {"to_key": "b"},
        {**of_key, **of_task, "to_key": "b"},
        {**of_key, "to_key": ""},
        {**of_key, "to_key": ("b", 1)},
        {"key": ("a", ""), "to_key": "b"},
    ):
        with pytest.raises(InvalidKeyError):
            app.ranch.move(**arguments)
    assert waiting(app) == {("a",): 1}
    assert app.ranch.move(key="a", to_queue=other, to_key="a") == 1
    assert app.ranch.cancel(result.id)


@pytest.mark.timeout(120)
def test_what_is_moved_to_another_queue_runs_there_on_behalf_of_its_new_key(app, other):
    results = send(app, 20, "a", task="whose")
    again = app.send("retry_twice", "a", lru_key="a")
    [delayed] = send(app, 1, "a", task="whose", countdown=1)

    assert app.ranch.move(key="a", to_queue=other, to_key=("b", "x")) == 22
    with app.worker("-Q", other, name="w2"):
        told = [result.get(timeout=30) for result in [*results, delayed]]
        assert again.get(timeout=30) == 2
        app.await_idle()
    assert told == [[["b", "x"], other]] * 21
    assert app.engine.snapshot(app.name).waiting == 0
    assert app.recorded("tries") == ["a:0", "a:1", "a:2"]


@pytest.mark.timeout(120)
def test_workers_finish_a_move_whose_mover_died_and_each_task_runs_once(app, other):
    results = send(app, 600, "a", task="note")
    engine, helper = app.engine, "a helper that dies"
    begun = engine.withdraw(app.name, ("a",), helper, move=Move(other, ("b",)))
    reply = engine.carry_out(begun, helper, 1_000)
    reply = engine.carry_out(begun, helper, 100)
    assert engine.arrive(other, reply.token, reply.entries, key=("b",)) == ()
    app.check()
    with app.worker("-Q", f"{app.name},{other}"):
        for result in results:
            result.get(timeout=60)
        app.await_idle()
        left = f"{app.name}:{{{app.name}}}:withdrawals"
        eventually(lambda: not app.records.exists(left), 30, "the move is over")
    assert set(collections.Counter(app.recorded("started")).values()) == {1}
    assert len(app.recorded("started")) == 600
    app.check(is_still=True)


def test_dead_letters_are_put_back_and_dropped_by_key_and_all(app):
    results = send(app, 300, "a") + send(app, 2, ("a", "x")) + send(app, 3, "b")
    engine = app.engine
    while leases := engine.lease("w", [app.name], 100).leases:
        engine.settle(
            "w", [Outcome(OutcomeKind.DEAD, app.name, one.entry_id, one.number) for one in leases]
        )
    assert app.ranch.retry_all_dead("a") == 302
    assert waiting(app) == {("a",): 300, ("a", "x"): 2}
    assert app.ranch.delete_all_dead("c") == 0
    with pytest.raises(InvalidKeyError):
        app.ranch.delete_all_dead("")
    assert app.ranch.delete_all_dead() == 3
    assert app.ranch.dead_letters() == ()
    assert app.ranch.purge() == 302
    assert {AsyncResult(one.id, app=app.client).state for one in results} == {"REVOKED", "PENDING"}
    app.check(is_still=True)

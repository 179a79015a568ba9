"""Signals and events of fair tasks are those of plain ones, in the same order."""

import collections
import contextlib
import uuid

import pytest
from celery import signals

from tests.servers import eventually

APP = "operating_app"
CELERY = {"task_send_sent_event": True}

pytestmark = pytest.mark.usefixtures("worker")

#: What is called, and with which options.
CALLS = {
    "success": (("add", 1, 2), {}),
    "failure": (("fail", "no"), {}),
    "retry": (("retry_once",), {}),
    "revocation": (("add", 1, 2), {"task_id": None}),
    "rejection": (("reject",), {}),
    "unknown task": (("there_is_no_such_task",), {}),
    "internal error": (("fail_inside",), {}),
}


#: The events that are the last ones of a task.
LAST = {"task-succeeded", "task-failed", "task-revoked", "task-rejected"}


class Told:
    """The events of an application, by task."""

    def __init__(self):
        self._connection = None
        self._by_task = collections.defaultdict(list)

    @contextlib.contextmanager
    def listen(self, app):
        with app.client.connection_for_read() as connection:
            receiver = app.client.events.Receiver(connection, {"*": self._take})
            with receiver.consumer_context(wakeup=False) as (self._connection, _, _):
                # Of a subscription to Redis nobody says when it holds.
                eventually(lambda: self._is_heard(app.send("add", 1, 2)), 60, "an event came")
                yield self

    def of(self, result, last=LAST):
        """Return a task's events when the last of them has arrived."""
        events = self._by_task[result.id]

        def has_arrived():
            self._drain()
            types = {event["type"] for event in events}
            return types & last and "task-sent" in types

        eventually(has_arrived, 30, f"one of {last} was told of")
        # What the client sends and what the worker sends may overtake one another.
        sent = [event for event in events if event["type"] == "task-sent"]
        return sent + [event for event in events if event["type"] != "task-sent"]

    def _is_heard(self, result):
        self._drain()
        return result.id in self._by_task

    def _drain(self):
        with contextlib.suppress(TimeoutError):
            self._connection.drain_events(timeout=0.5)

    def _take(self, event):
        if "uuid" in event:
            self._by_task[event["uuid"]].append(event)


@pytest.fixture(scope="module")
def told(app, worker):
    assert "ok" in app.tell("enable_events")
    with Told().listen(app) as told:
        yield told


def call_both(app, told, name, *args, **options):
    """Call a task with and without a key; return both results, each with its events."""
    results = []
    for key in ({"lru_key": "acme"}, {}):
        if "task_id" in options:
            options["task_id"] = uuid.uuid4().hex
            assert "ok" in app.tell("revoke", task_id=options["task_id"])
        results.append(app.send(name, *args, **key, **options))
    return [(result, told.of(result)) for result in results]


#: What an event says that is the same whoever called.
SAME = (
    *("name", "args", "kwargs", "queue", "routing_key", "exchange", "retries"),
    *("result", "exception", "expired", "requeue", "terminated", "signum"),
)


def kind(event):
    return event["type"]


def shape(event):
    return event["type"], tuple(sorted(event))


def in_order(told):
    """Return what was told but receptions, in order, and how many of these there were.

    A worker receives a plain task long before its countdown is over, perhaps
    before the try before it has ended; a fair one when it is due.
    """
    told = list(told)
    others = [each for each in told if "task_received" not in each and "received" not in each[0]]
    return others, len(told) - len(others)


@pytest.mark.parametrize("call", CALLS)
def test_a_fair_task_s_events_and_signals_are_those_of_a_plain_one_in_the_same_order(
    app, told, call
):
    (name, *args), options = CALLS[call]
    (fair, ours), (plain, theirs) = call_both(app, told, name, *args, **options)

    assert in_order(map(shape, ours)) == in_order(map(shape, theirs))
    for event, other in zip(sorted(ours, key=kind), sorted(theirs, key=kind), strict=True):
        for field in SAME:
            assert event.get(field) == other.get(field), (event["type"], field)

    def have_like_signals():
        ours, theirs = (app.recorded(f"signals:{result.id}") for result in (fair, plain))
        return theirs and in_order(ours) == in_order(theirs)

    eventually(have_like_signals, 30, "the signals are the same")


def test_the_client_s_signals_of_a_fair_task_are_those_of_a_plain_one(app):
    heard = []

    def note(name):
        def on_signal(sender, signal, **told):
            heard.append((name, sender, told))

        getattr(signals, name).connect(on_signal, weak=False, dispatch_uid=name)

    names = ("before_task_publish", "after_task_publish")
    for name in names:
        note(name)
    try:
        app.send("add", 1, 2, lru_key="acme").get(timeout=20)
        app.send("add", 1, 2).get(timeout=20)
    finally:
        for name in names:
            getattr(signals, name).disconnect(dispatch_uid=name)

    ours, theirs = heard[:2], heard[2:]
    assert [name for name, _, _ in ours] == [name for name, _, _ in theirs] == list(names)
    for (_, sender, told), (_, other_sender, other) in zip(ours, theirs, strict=True):
        assert sender == other_sender == "operating_app.add"
        assert told.keys() == other.keys()
        assert told["headers"].keys() - {"lru_key"} == other["headers"].keys()
        for same in ("exchange", "routing_key", "body"):
            assert told[same] == other[same], same


def test_events_can_be_turned_off_and_on_while_a_worker_runs(app, told):
    assert "ok" in app.tell("disable_events")
    unheard = app.send("add", 1, 2, lru_key="acme")
    assert unheard.get(timeout=20) == 3
    app.await_idle()
    assert "ok" in app.tell("enable_events")
    heard = app.send("add", 1, 2, lru_key="acme")

    assert len(told.of(heard)) > 1
    assert [event["type"] for event in told.of(unheard, {"task-sent"})] == ["task-sent"]

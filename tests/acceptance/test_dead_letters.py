"""Entries that no handler should see go to the dead letters, and the worker goes on."""

from dataclasses import replace

import pytest

from celery_ranch.config import SerializerType
from celery_ranch.envelope import pack, unpack
from celery_ranch.scheduling.model import Entry


@pytest.fixture
def app(fair_app):
    return fair_app()


def bury(app, message):
    """Enqueue a message, let a worker have it, and return why it is dead."""
    app.engine.enqueue([Entry("bad", ("a",), app.name, message)])
    with app.worker(pool="solo"):
        assert app.send("note", "others go on", lru_key="b").get(timeout=20)
        letter = app.await_dead_letter()
    assert letter.entry_id == "bad"
    assert letter.message == message
    return letter.reason


def altered(app, **changes):
    """Return a good message with some of its envelope changed."""
    envelope = unpack(app.entry("note", "x", key="a").message)
    return pack(replace(envelope, **changes), SerializerType.JSON)


def test_a_message_that_cannot_be_unpacked(app):
    assert "unreadable" in bury(app, b"\xff\x00 not a message")


def test_a_body_that_cannot_be_decoded(app):
    assert "cannot be decoded" in bury(app, altered(app, body="{not json"))


def test_a_content_type_that_is_not_accepted(app):
    message = altered(app, content_type="application/x-python-serialize", body="gAR9lC4=")
    assert "cannot be decoded" in bury(app, message)


def test_a_task_that_the_worker_does_not_know(app):
    message = app.entry("there_is_no_such_task", key="a").message
    assert "unknown task 'fair_app.there_is_no_such_task'" in bury(app, message)


def test_its_caller_hears_what_the_caller_of_a_plain_task_hears(app):
    """Of an unknown task that it failed; of what cannot be decoded nothing."""
    results = {}
    for name, task, changes in (
        ("unknown", "there_is_no_such_task", {}),
        ("garbled", "note", {"body": "{not json"}),
        ("not accepted", "note", {"content_type": "application/x-python-serialize"}),
    ):
        for kind in ("fair", "plain"):
            entry = app.entry(task, "x", key="a")
            results[name, kind] = app.client.AsyncResult(entry.entry_id)
            envelope = replace(unpack(entry.message), **changes)
            if kind == "fair":
                message = pack(envelope, SerializerType.JSON)
                app.engine.enqueue([replace(entry, message=message)])
                continue
            with app.client.producer_pool.acquire() as producer:
                producer.publish(
                    envelope.body,
                    routing_key=app.name,
                    headers=envelope.headers,
                    content_type=envelope.content_type,
                    content_encoding=envelope.content_encoding,
                    **envelope.properties,
                )
    with app.worker(pool="solo"):
        # Each behind the others of its kind.
        for last in (app.send("note", "last", lru_key="a"), app.send("note", "last")):
            assert last.get(timeout=20)
    states = {what: result.state for what, result in results.items()}
    assert len(app.engine.dead_letters(app.name)) == 3
    for kind in ("fair", "plain"):
        assert states["unknown", kind] == "FAILURE"
        assert states["garbled", kind] == states["not accepted", kind] == "PENDING"


def test_a_rejection_by_the_task_itself_is_no_dead_letter(app):
    app.send("reject", lru_key="a")
    with app.worker(pool="solo"):
        assert app.send("note", "others go on", lru_key="a").get(timeout=20)
        app.await_idle()

    assert app.engine.dead_letters(app.name) == ()

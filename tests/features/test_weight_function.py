"""A worker asks its application's weight function about the keys that it leases from."""

import uuid

import pytest

from tests.servers import eventually

APP = "weighing_app"


@pytest.fixture(scope="module")
def broker():
    return "redis"


@pytest.fixture(scope="module", params=["prefork", "gevent"])
def worker(app, request):
    with app.worker(name=request.param, pool=request.param) as worker:
        yield worker


@pytest.fixture
def key():
    return f"key-{uuid.uuid4().hex[:8]}"


def asked_about(app, key):
    """Return in which process and thread the function was asked about a key."""
    found = (told.split() for told in app.recorded("asked"))
    return [(int(pid), is_main == "True") for about, pid, is_main in found if about == key]


def test_its_answer_holds_for_a_key_that_is_leased_from(app, worker, key):
    app.ranch.set_custom_data(key, "weight", 0.125)
    app.send("note", 1, key, lru_key=key)
    eventually(lambda: app.ranch.key(key).share == 8.0, 20, "the weight that was noted")
    app.await_recorded(key, 1)
    # In no process of the pool, which would be a dispatch's; and not on the worker's loop.
    assert {pid for pid, _ in asked_about(app, key)} == {worker.pid}
    assert not any(is_main for _, is_main in asked_about(app, key))


def test_a_function_that_fails_or_says_nonsense_stops_no_task(app, worker, key):
    app.ranch.set_share(key, 2.0)
    app.send("note", 1, key, lru_key=key)
    worker.await_log(f"The weight function failed for '{key}'")
    app.ranch.set_custom_data(f"{key}-two", "weight", 1_000)
    app.send("note", 2, key, lru_key=f"{key}-two")
    worker.await_log(f"The weight function's answer for '{key}-two': 1000 is not a share")
    app.send("note", 3, key, lru_key=key)
    app.await_recorded(key, 3)
    assert (app.ranch.key(key).share, app.ranch.key(f"{key}-two").share) == (2.0, 1.0)


def test_a_function_that_blocks_holds_up_no_task(app, worker, key):
    for name, value in (("weight", 0.5), ("blocks", f"{key}-last")):
        app.ranch.set_custom_data(key, name, value)
    app.send("note", 0, key, lru_key=key)
    eventually(lambda: asked_about(app, key), 20, "the function was asked")
    for number in range(40):
        app.send("note", number, f"{key}-others", lru_key=f"{key}-{number}")
    app.await_recorded(f"{key}-others", 40)
    assert app.ranch.key(key).share == 1.0
    app.send("note", 1, f"{key}-last", lru_key=key)
    eventually(lambda: app.ranch.key(key).share == 2.0, 20, "its answer")

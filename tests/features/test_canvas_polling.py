"""Chords on a result backend that counts nothing: Celery polls for their parts."""

import pytest
from celery import chord
from celery.exceptions import ChordError

from tests.features.compositions import COMPOSITIONS, Parts
from tests.servers import eventually
from tests.workers import FairApp

APP = "canvas_app"
CHORDS = {
    name: build
    for name, build in COMPOSITIONS.items()
    if "chord" in name and not name.startswith("replaced")
}


#: Broker and backend: each at least once.
KINDS = (("redis", "database"), ("redis", "filesystem"), ("rabbitmq", "filesystem"))


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def broker(kind):
    return kind[0]


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url, broker_url, kind):
    folder = tmp_path_factory.mktemp(APP)
    urls = {"database": f"db+sqlite:///{folder}/results.sqlite", "filesystem": f"file://{folder}"}
    settings = {"broker_url": broker_url, "result_backend": urls[kind[1]]}
    # Polled twice a second, and with others in line.
    settings["result_chord_retry_interval"] = 0.5
    app = FairApp(folder, redis_url, module=APP, celery=settings)
    # Made now: its first table is made by whoever comes first.
    app.client.backend  # noqa: B018
    yield app
    app.close()


@pytest.fixture(scope="module")
def polled(app, worker):
    """What every chord gave on fair and on plain tasks; polling takes time, but all at once."""
    started = {
        (name, key): (parts, build(parts).apply_async(lru_key=key))
        for name, build in CHORDS.items()
        for key in ("acme", None)
        for parts in [Parts(app)]
    }
    return {
        which: (result.get(timeout=40, interval=0.05), recorded_keys(app, parts.run))
        for which, (parts, result) in started.items()
    }


def recorded_keys(app, run):
    return dict(line.split(" ", 1) for line in app.recorded(run))


@pytest.mark.parametrize("name", CHORDS)
def test_a_polled_chord_gives_on_fair_tasks_what_it_gives_on_plain_ones(polled, name):
    (fair, fair_keys), (plain, plain_keys) = polled[name, "acme"], polled[name, None]
    assert fair == plain
    assert fair_keys == dict.fromkeys(plain_keys, "acme")
    assert set(plain_keys.values()) == {"None"}


def test_polling_waits_for_no_turn_of_its_key(app, worker):
    parts = Parts(app)
    app.ranch.pause("polled")
    polls = worker.log.count(": Retry in")
    result = chord([parts("a"), parts("b")], parts("c")).apply_async(lru_key="polled")
    eventually(lambda: worker.log.count(": Retry in") > polls, 20, "the parts were asked for")
    waiting = [task.task for task in app.ranch.pending("polled")]
    app.ranch.resume("polled")
    assert waiting == ["canvas_app.note"] * 2
    assert result.get(timeout=30) == "c([a(),b()])"
    assert set(recorded_keys(app, parts.run).values()) == {"polled"}


def test_a_polled_body_has_the_key_of_the_chord_or_its_own_but_not_its_parts(app, worker):
    # What polls is sent before the parts, and what it is sent says nothing of them.
    whole, body, header = Parts(app), Parts(app), Parts(app)
    chord([whole("a")], whole("b")).set(lru_key="acme").apply_async()
    chord([body("a")], body("b").set(lru_key="acme")).apply_async()
    chord([header("a").set(lru_key="acme")], header("b")).apply_async()
    for parts in (whole, body, header):
        app.await_recorded(parts.run, 2)
    assert [recorded_keys(app, parts.run) for parts in (whole, body, header)] == [
        {"a": "acme", "b": "acme"},
        {"a": "None", "b": "acme"},
        {"a": "acme", "b": "None"},
    ]


@pytest.mark.parametrize("key", ["acme", None], ids=("fair", "plain"))
def test_a_polled_chord_whose_header_fails_is_a_chord_error(app, worker, key):
    parts = Parts(app)
    made = chord([parts("a"), parts("no", task="fail")], parts("never"))
    made.body.link_error(parts("old", task="old_errback"))
    result = made.apply_async(lru_key=key)
    assert isinstance(result.get(timeout=30, propagate=False), ChordError)
    assert "old" in dict(line.split(" ", 1) for line in app.await_recorded(parts.run, 3))
    assert recorded_keys(app, parts.run) == dict.fromkeys(["a", "no", "old"], str(key))

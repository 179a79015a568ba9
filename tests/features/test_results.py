"""Results of fair tasks, in each kind of backend."""

import traceback

import celery
import pytest
from celery import chord, group
from celery.exceptions import ImproperlyConfigured
from celery.result import AsyncResult, GroupResult, ResultSet

from tests.servers import eventually
from tests.workers import FairApp

APP = "results_app"

#: Broker and backend. What a backend does is the same beside either broker, but
#: for that of RPC: its results are the broker's messages to who called, and gone
#: when they were read.
STORING = (("redis", "database"), ("redis", "filesystem"), ("redis", "redis"))
KINDS = (*STORING, ("redis", "rpc"), ("rabbitmq", "rpc"))
IDS = ["-".join(kind) for kind in KINDS]

pytestmark = pytest.mark.usefixtures("worker")

KEYS = pytest.mark.parametrize("key", [None, "a"], ids=["plain", "fair"])
STORED = pytest.mark.parametrize("kind", STORING, ids=IDS[:3], indirect=True, scope="module")


@pytest.fixture(scope="module", params=KINDS, ids=IDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def broker(kind):
    return kind[0]


@pytest.fixture(scope="module")
def backend(kind):
    return kind[1]


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url, broker_url, backend):
    folder = tmp_path_factory.mktemp("results")
    urls = {
        "redis": redis_url,
        "rpc": "rpc://",
        "database": f"db+sqlite:///{folder}/results.sqlite",
        "filesystem": f"file://{folder}",
    }
    celery = {
        "broker_url": broker_url,
        "result_backend": urls[backend],
        "result_extended": True,
        "task_remote_tracebacks": True,
    }
    app = FairApp(folder, redis_url, module=APP, celery=celery)
    # Made now: its first table is made by whoever comes first.
    app.client.backend  # noqa: B018
    yield app
    app.close()


@KEYS
def test_get_returns_what_the_task_did_and_raises_what_it_raised(app, key):
    assert app.send("add", 2, 3, lru_key=key).get(timeout=30) == 5
    failed = app.send("fail", "so", lru_key=key)
    with pytest.raises(ValueError, match="so"):
        failed.get(timeout=30)

    assert failed.state == "FAILURE"
    assert failed.failed()
    assert "raise ValueError(message)" in failed.traceback


@KEYS
def test_what_get_raises_has_the_frames_of_the_task(app, key):
    with pytest.raises(ValueError, match="so") as raised:
        app.send("fail", "so", lru_key=key).get(timeout=30)

    last = traceback.extract_tb(raised.tb)[-1]
    assert last.filename.endswith("results_app.py")
    assert (last.name, last.line) == ("fail", "raise ValueError(message)")


@STORED
@KEYS
def test_a_state_of_the_tasks_own_is_seen_while_it_runs(app, key):
    result = app.send("progress", lru_key=key)
    eventually(lambda: result.state == "PROGRESS", 30, "it makes progress")
    assert result.info == {"done": 1, "of": 2}
    app.leave(result)

    assert result.get(timeout=30) == "all done"
    assert result.state == "SUCCESS"


@KEYS
def test_on_message_hears_of_every_state_that_the_backend_tells_of(app, backend, key):
    heard = {}

    def hear(meta):
        if meta["task_id"] == result.id:
            heard[meta["status"]] = meta["result"]
        if meta["status"] == "PROGRESS":
            app.leave(result)

    result = app.send("progress", lru_key=key)
    if backend in ("database", "filesystem"):
        app.leave(result)
        with pytest.raises(ImproperlyConfigured):
            result.get(timeout=30, on_message=hear)
        return

    assert result.get(timeout=30, on_message=hear) == "all done"
    assert heard == {"PROGRESS": {"done": 1, "of": 2}, "SUCCESS": "all done"}


@STORED
@KEYS
def test_an_extended_result_tells_of_the_call(app, key):
    result = app.send("add", 2, kwargs=None, lru_key=key)
    result.get(timeout=30)

    assert (result.name, list(result.args), result.kwargs) == ("results_app.add", [2], {})
    assert (result.queue, result.retries) == (app.name, 0)
    assert result.worker == f"w1@{app.name}"
    assert result.date_done is not None


@STORED
def test_a_fair_tasks_meta_has_the_same_fields_as_a_plain_ones(app):
    plain, fair = [app.send("add", 2, lru_key=key) for key in (None, "a")]
    for result in (plain, fair):
        result.get(timeout=30)
    metas = [
        {name: value for name, value in each._get_task_meta().items() if name not in _DIFFERENT}
        for each in (plain, fair)
    ]

    assert metas[0] == metas[1]
    assert set(plain._get_task_meta()) == set(fair._get_task_meta())


_DIFFERENT = ("task_id", "date_done")


@STORED
@KEYS
def test_a_forgotten_result_is_pending_again(app, key):
    result = app.send("add", 2, lru_key=key)
    result.get(timeout=30)
    result.forget()

    assert AsyncResult(result.id, app=app.client).state == "PENDING"


@STORED
@KEYS
def test_children_are_known_and_collected(app, backend, key):
    if backend == "database" and celery.VERSION < (5, 7):
        pytest.skip("Celery keeps children in a database from 5.7 on")
    result = app.send("parent", lru_key=key)
    child_id = result.get(timeout=30)

    assert [child.id for child in result.children] == [child_id]
    collected = list(result.collect(timeout=30))
    assert [value for _, value in collected] == [child_id, 3]


@KEYS
def test_a_result_set_joins_results_of_several_keys(app, key):
    other = None if key is None else "b"
    results = ResultSet(
        [app.send("add", number, lru_key=(key, other)[number % 2]) for number in range(6)],
        app=app.client,
    )

    assert results.get(timeout=30) == [0, 1, 2, 3, 4, 5]
    assert results.successful()
    assert results.completed_count() == 6


@STORED
@KEYS
def test_a_group_is_saved_and_restored(app, key):
    members = group(app.signature("add", number) for number in range(3))
    result = members.apply_async(lru_key=key)
    result.save()
    if celery.VERSION < (5, 7):
        # Of several results with one id, one alone hears of the end.
        assert result.get(timeout=30) == [0, 1, 2]

    restored = GroupResult.restore(result.id, app=app.client)
    assert restored.get(timeout=30) == [0, 1, 2]
    assert [each.id for each in restored] == [each.id for each in result]
    result.delete()
    assert GroupResult.restore(result.id, app=app.client) is None


@KEYS
def test_a_chord_joins_where_the_backend_can(app, backend, key):
    work = chord(app.signature("add", number) for number in range(3))
    body = app.signature("total")
    options = {} if key is None else {"lru_key": key}
    if backend == "rpc":
        with pytest.raises(NotImplementedError):
            work(body, **options)
        return

    assert work(body, **options).get(timeout=30) == 3


@STORED
@KEYS
def test_an_ignored_result_is_not_stored_but_its_error_may_be(app, key):
    by_task = app.send("unasked", f"unasked:{key}", lru_key=key)
    by_call = app.send("add", 2, lru_key=key, ignore_result=True)
    told = app.send("fail_unasked", lru_key=key)
    app.await_recorded(f"unasked:{key}", 1)
    after = app.send("add", 3, lru_key=key)
    assert after.get(timeout=30) == 3

    eventually(lambda: told.state == "FAILURE", 30, "the error is stored")
    # To Celery 5.6 a caller who does not know the task wants its result.
    is_stored = (5, 6) <= celery.VERSION < (5, 7)
    assert by_task.state == ("SUCCESS" if is_stored else "PENDING")
    assert by_call.state == "PENDING"

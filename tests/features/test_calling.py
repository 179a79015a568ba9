"""Every way to call a task, on fair tasks of a real worker.

Where Celery decides, the same call is made without a key as well: Celery's own way.
"""

import uuid
from datetime import datetime, timedelta, timezone

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError, TimeLimitExceeded
from kombu.exceptions import OperationalError

from celery_ranch import Ranch, configure
from tests.features.compositions import await_value
from tests.servers import eventually

APP = "calling_app"
CELERY = {"accept_content": ["json", "pickle", "yaml"], "timezone": "Asia/Kolkata"}
RANCH = {"lru_key": "tests.applications.tenants:whose"}

pytestmark = pytest.mark.usefixtures("even_as_root", "worker")

KEYS = ("acme", None)
with_and_without_a_key = pytest.mark.parametrize("key", KEYS, ids=("fair", "plain"))


@pytest.fixture(scope="module")
def even_as_root():
    """Let Celery run workers that accept pickle under any user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("C_FORCE_ROOT", "1")
        yield


@pytest.fixture
def kind():
    """What this test's tasks record under."""
    return f"kind-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def add(app):
    """A task that the submitting process has, too."""

    @app.client.task(name="calling_app.add", shared=False)
    def add(x, y, tenant=None):
        raise AssertionError("not here")

    return add


# -- who is fair ------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["calling_app.whose_am_i", "calling_app.whose_by_its_base"])
@pytest.mark.parametrize("tenant", ["acme", None])
def test_the_setting_makes_a_call_fair_whatever_base_the_task_has(app, task, tenant):
    result = app.client.send_task(task, kwargs={"tenant": tenant}).get(timeout=20)

    has_own_base = task.endswith("base")
    assert result == (["from its own base", tenant] if has_own_base else tenant)


def test_the_call_s_own_key_wins_over_the_setting_s(app):
    result = app.send("whose_am_i", kwargs={"tenant": "acme"}, lru_key="other")
    assert result.get(timeout=20) == "other"


def test_delay_and_apply_async_of_a_task_and_calls_by_name_are_fair(app, add):
    app.ranch.pause("called")
    results = [
        add.delay(2, 3, tenant="called"),
        add.apply_async((2, 3), {"tenant": "called"}),
        add.s(2, 3, tenant="called").delay(),
        add.signature((2, 3)).set(lru_key="called").apply_async(),
        app.client.send_task("calling_app.add", (2, 3), {"tenant": "called"}),
        app.signature("add", 2, 3, kwargs={"tenant": "called"}).apply_async(),
        app.client.signature("by.another.name").delay(tenant="called"),
    ]
    assert [task.task_id for task in app.ranch.pending("called")] == [r.id for r in results]
    app.ranch.resume("called")

    *sums, last = [result.get(timeout=20) for result in results]
    assert sums == [5] * 6
    assert last == ["from its own base", "called"]


def test_what_is_run_eagerly_inside_a_fair_task_has_its_key(app):
    assert app.send("call_eagerly", lru_key="acme").get(timeout=20) == ["acme"] * 3


@with_and_without_a_key
def test_what_a_task_calls_waits_on_behalf_of_the_same_key(app, key):
    called = app.send("call_next", lru_key=key).get(timeout=20)
    assert await_value(app.client.AsyncResult(called)) == key


# -- when -------------------------------------------------------------------------------


def test_a_task_runs_when_it_is_due_and_not_before(app, kind):
    now = datetime.now(timezone.utc)
    due = now + timedelta(seconds=1.5)
    ways = {
        "countdown": {"countdown": 1.5},
        "aware": {"eta": due},
        "elsewhere": {"eta": due.astimezone(timezone(timedelta(hours=-8)))},
        # Celery takes a date without a timezone for UTC, whatever the application's is.
        "naive": {"eta": due.replace(tzinfo=None)},
        "text": {"eta": due.isoformat()},
    }
    for name, options in ways.items():
        for way in ("fair", "plain"):
            key = "times" if way == "fair" else None
            app.send("note", f"{way}-{name}", kind, lru_key=key, **options)

    started = dict(line.split() for line in app.await_recorded(kind, 2 * len(ways)))
    assert started.keys() == {f"{way}-{name}" for way in ("fair", "plain") for name in ways}
    assert min(map(float, started.values())) >= due.timestamp() - 0.01


def test_a_date_that_has_passed_is_due_at_once(app, kind):
    past = datetime.now(timezone.utc) - timedelta(hours=1)
    assert app.send("note", "late", kind, lru_key="times", eta=past).get(timeout=20) == "late"


def test_what_is_not_due_waits_in_the_store_and_not_in_a_worker(app, worker):
    result = app.send("add", 2, 3, lru_key="later", countdown=3600)
    inspect = app.client.control.inspect(timeout=5, limit=1)

    (scheduled,) = inspect.scheduled().values()
    (reserved,) = inspect.reserved().values()
    assert scheduled == reserved == []
    counts = app.engine.snapshot(app.name)
    assert (counts.delayed, counts.leased) == (1, 0)
    assert app.ranch.cancel(result.id)
    assert result.state == "REVOKED"


def test_a_restarted_worker_has_lost_nothing_that_is_not_due(app, kind):
    queue = f"{app.name}-later"
    options = {"name": "passing", "pool": "solo"}
    with app.worker("-Q", queue, **options) as passing:
        app.send("note", "x", kind, lru_key="acme", queue=queue, countdown=3)
        assert app.engine.snapshot(queue).delayed == 1
        assert passing.stop() == 0
    with app.worker("-Q", queue, **options, ready=False):
        ((line),) = app.await_recorded(kind, 1)
    assert line.split()[0] == "x"


# -- until when -------------------------------------------------------------------------


@with_and_without_a_key
def test_an_expired_task_is_revoked_and_does_not_run(app, kind, key):
    now = datetime.now(timezone.utc)
    results = [
        app.send("note", "seconds", kind, lru_key=key, expires=0.2, countdown=0.5),
        app.send("note", "date", kind, lru_key=key, expires=now - timedelta(seconds=1)),
        app.send("note", "text", kind, lru_key=key, expires=(now - timedelta(1)).isoformat()),
    ]
    for result in results:
        with pytest.raises(TaskRevokedError, match="expired"):
            result.get(timeout=20)
        assert result.state == "REVOKED"
    assert app.recorded(kind) == []


@with_and_without_a_key
def test_a_task_that_is_started_before_it_expires_runs(app, key):
    tomorrow = datetime.now() + timedelta(days=1)
    for expires in (100, tomorrow, tomorrow.astimezone(timezone.utc)):
        assert app.send("add", 2, 3, lru_key=key, expires=expires).get(timeout=20) == 5


# -- what the message carries -----------------------------------------------------------


def described(app, key, **options):
    """Return what a task sees of its call, without what differs from call to call."""
    result = app.send("describe", "arg", lru_key=key, **options)
    seen = result.get(timeout=20)
    assert seen["id"] == result.id
    assert seen.pop("lru_key") == key
    own_id = seen.pop("id")
    for name in ("root_id", "correlation_id"):
        assert seen.pop(name) in (own_id, "the-root", "the-correlation")
    # The key is a header of the message.
    custom = seen["headers"] or {}
    assert custom.pop("lru_key", None) == key
    return {**seen, "headers": custom}


CALLS = {
    "nothing": {},
    "shadow": {"shadow": "a.shadow"},
    "reply_to": {"reply_to": "a-reply-queue"},
    "headers": {"headers": {"mine": 7, "x-deep": {"a": [1]}}},
    "time limits": {"time_limit": 20, "soft_time_limit": 10},
    "priority": {"priority": 3},
    "ids": {"root_id": "the-root", "parent_id": "the-parent", "group_id": "the-group"},
    "argsrepr": {"argsrepr": "<args>", "kwargsrepr": "<kwargs>"},
    "ignore_result": {"ignore_result": False},
    "retries": {"retries": 2},
    "delivery": {"delivery_mode": 1, "mandatory": False},
    "eta": {"eta": datetime(2001, 1, 1, tzinfo=timezone.utc)},
    "expires": {"expires": datetime.now(timezone.utc) + timedelta(days=1)},
    "stamps": {"stamped_headers": ["trace"], "trace": "t-1"},
}


@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_a_fair_task_sees_of_its_call_what_a_plain_one_sees(app, options):
    fair, plain = described(app, "acme", **options), described(app, None, **options)
    if "priority" not in options:
        # Nobody gave one: kombu's default is not mistaken for a wish by what inherits it.
        assert fair["delivery_info"].pop("priority") is None
        assert plain["delivery_info"].pop("priority") == 0
    assert fair == plain


def test_a_task_runs_under_the_id_that_the_caller_gave(app, kind):
    result = app.send("add", 2, 3, lru_key="acme", task_id=f"id-{kind}")
    assert (result.id, result.get(timeout=20)) == (f"id-{kind}", 5)
    assert app.client.AsyncResult(f"id-{kind}").result == 5


@with_and_without_a_key
@pytest.mark.parametrize(
    "value, serializer, arrives_as",
    [((1, 2), "json", "list"), ((1, 2), "pickle", "tuple"), ((1, 2), "yaml", "list")],
)
def test_the_serializer_of_the_call_is_used(app, key, value, serializer, arrives_as):
    result = app.send("kind_of", value, lru_key=key, serializer=serializer)
    assert result.get(timeout=20) == arrives_as


@pytest.mark.parametrize("key", ["squeezed", None])
@pytest.mark.parametrize("compression", ["zlib", "bzip2", "lzma"])
def test_a_compressed_call_arrives_and_is_small_while_it_waits(app, key, compression):
    text = "Celery " * 1_000
    options = {"lru_key": key, "compression": compression, "serializer": "pickle"}
    if key:
        app.ranch.pause(key)
    result = app.send("add", text, "!", **options)
    if key:
        ((_, message),) = app.engine.pending(app.name, (key,))
        assert len(message) < 1_500
        app.ranch.resume(key)
    assert result.get(timeout=20) == text + "!"


@with_and_without_a_key
def test_the_queue_of_the_call_is_where_it_runs(app, key):
    queue = f"{app.name}-{key}-reports"
    assert app.client.control.add_consumer(queue, reply=True, timeout=10, limit=1)
    try:
        seen = app.send("describe", lru_key=key, queue=queue).get(timeout=20)
    finally:
        app.client.control.cancel_consumer(queue, reply=True, timeout=10, limit=1)
    assert (seen["delivery_info"]["routing_key"], seen["lru_key"]) == (queue, key)


# -- what becomes of it -----------------------------------------------------------------


def test_a_result_that_is_ignored_is_stored_as_little_as_of_a_plain_task(app, kind):
    by_call = [
        app.send("note", "x", kind, lru_key=key, ignore_result=True) for key in ("acme", None)
    ]
    by_task = [app.send("keep_nothing", kind, lru_key=key) for key in ("acme", None)]
    app.await_recorded(kind, 4)
    for key in ("acme", None):
        app.send("add", 2, 3, lru_key=key).get(timeout=20)

    fair, plain = [app.client.AsyncResult(result.id) for result in by_task]
    # Celery 5.6 stores it when the submitting process does not know the task.
    eventually(lambda: fair.state == plain.state, 10, "both are stored, or none")
    assert [app.client.AsyncResult(result.id).state for result in by_call] == ["PENDING"] * 2


@with_and_without_a_key
def test_time_limits_of_the_call_are_kept(app, kind, key):
    errback = app.signature("old_errback", kwargs={"kind": kind})
    soft = app.send("sleep_until_the_soft_limit", lru_key=key, soft_time_limit=0.5)
    hard = app.send("sleep", 30, lru_key=key, time_limit=1, link_error=errback)

    assert soft.get(timeout=20) == "soft limit"
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=20)
    # The worker itself publishes it, for the process is gone; and Celery does so
    # twice, for the limit and for the process.
    assert set(app.await_recorded(kind, 1)) == {f"old {hard.id} {key}"}


@with_and_without_a_key
def test_what_is_linked_runs_with_the_result_and_the_key(app, kind, key):
    link = app.signature("note_key", kwargs={"kind": kind})
    own = app.signature("note_key", "its own", kwargs={"kind": kind}, immutable=True)
    own.set(lru_key="own")
    app.send("add", 2, 3, lru_key=key, link=[link, own]).get(timeout=20)
    assert sorted(app.await_recorded(kind, 2)) == [f"5 {key}", "its own own"]


@with_and_without_a_key
def test_errbacks_of_either_style_are_called_with_the_key(app, kind, key):
    errbacks = [app.signature(f"{age}_errback", kwargs={"kind": kind}) for age in ("old", "new")]
    result = app.send("fail", "no", lru_key=key, link_error=errbacks)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=20)
    assert sorted(app.await_recorded(kind, 2)) == [
        f"new {result.id} ValueError {key}",
        f"old {result.id} {key}",
    ]


@with_and_without_a_key
@pytest.mark.parametrize("options", [{}, {"priority": 3}, {"retry_policy": {"max_retries": 1}}])
def test_a_retried_task_ends_under_its_id_with_its_key(app, key, options):
    result = app.send("try_again", 2, lru_key=key, kwargs=options)
    assert result.get(timeout=20) == [2, key, app.name]


# -- eagerly, and when nothing answers --------------------------------------------------


def double(x, tenant=None):
    return 2 * x


@pytest.fixture
def other_client(app):
    """Return an application that submits by settings of its own."""
    made = []

    def make(celery=None, ranch=None):
        client = Celery("other-client", set_as_current=False)
        client.conf.update({**app.settings["celery"], **(celery or {})})
        client.conf.celery_ranch = {**app.settings["ranch"], **(ranch or {})}
        configure(client)
        client.task(name="double", shared=False)(double)
        made.append(client)
        return client

    yield make
    for client in made:
        Ranch(client).engine.close()
        client.backend.result_consumer.stop()
        client.backend.result_consumer._pubsub = None
        client.backend.client.connection_pool.disconnect()
        client.close()


def test_what_is_always_eager_runs_at_once_and_is_stored_if_asked_for(app, other_client):
    client = other_client({"task_always_eager": True, "task_store_eager_result": True})
    result = client.tasks["double"].apply_async((4,), {"tenant": "eager"}, lru_key="eager")
    assert (result.get(), result.state) == (8, "SUCCESS")
    assert app.client.AsyncResult(result.id).get(timeout=5) == 8
    assert ("eager",) not in [found.key for found in Ranch(client).keys()]  # noqa: SIM118


@pytest.mark.parametrize(
    "celery, options",
    [
        ({}, {"retry": False}),
        ({"task_publish_retry": False}, {}),
        ({}, {"retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0}}),
        ({"task_publish_retry_policy": {"max_retries": 2, "interval_step": 0}}, {}),
    ],
)
def test_a_call_to_a_store_that_is_away_fails_after_its_retries(other_client, celery, options):
    client = other_client(celery, {"url": "redis://127.0.0.1:1/0"})
    with pytest.raises(OperationalError):
        client.send_task("double", (1,), lru_key="acme", **options)

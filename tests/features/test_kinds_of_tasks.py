"""Tasks made in every way that Celery has are fair, and stay what they are."""

import secrets

import celery
import pytest
from celery import Celery
from celery.exceptions import TimeLimitExceeded
from pydantic import BaseModel

from celery_ranch import configure, lru_task
from tests.servers import eventually

APP = "kinds_app"
CELERY = {
    "task_annotations": {
        "kinds_app.annotated": {"time_limit": 0.7},
        "kinds_app.own_options": {"noted": "by name"},
        "*": {"default_retry_delay": 7},
    },
}

pytestmark = pytest.mark.usefixtures("worker")

KEYS = pytest.mark.parametrize("key", [None, "a"], ids=["plain", "fair"])


def handlers(app, result):
    return app.recorded(f"handlers:{result.id}")


@pytest.mark.parametrize("how", ["succeeds", "fails", "is retried"])
def test_the_handlers_of_a_class_are_called_as_for_a_plain_task(app, how):
    plain, fair = [app.send("handled", how, lru_key=key) for key in (None, "a")]
    for result in (plain, fair):
        result.get(timeout=20, propagate=False)
    # A retry has no `after_return`, and may go on in the other process meanwhile.
    count = 5 if how == "is retried" else 3
    expected = app.await_recorded(f"handlers:{plain.id}", count)
    app.await_recorded(f"handlers:{fair.id}", count)

    assert sorted(handlers(app, fair)) == sorted(expected)
    assert len(expected) == count


def test_the_handlers_of_a_task_that_takes_too_long_are_called_as_for_a_plain_one(app):
    plain, fair = [app.send("handled_too_long", lru_key=key) for key in (None, "a")]
    for result in (plain, fair):
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=20)
    app.await_idle()

    eventually(
        lambda: handlers(app, fair) == handlers(app, plain),
        20,
        f"{handlers(app, fair)} is {handlers(app, plain)}",
    )


def test_an_instance_of_a_class_keeps_its_state_between_fair_runs(app):
    runs = [app.send("counting", 1, lru_key="a").get(timeout=20) for _ in range(5)]

    # Two processes count, each for itself.
    assert max(runs) >= 3
    assert sorted(runs)[0] == 1


@KEYS
@pytest.mark.parametrize("task", ["doubled", "doubled_by_decorator"])
def test_a_base_may_wrap_the_call(app, task, key):
    assert app.send(task, 21, lru_key=key).get(timeout=20) == 42


@KEYS
@pytest.mark.parametrize("task", ["shared", "shared_fair"])
def test_a_shared_task_is_fair_whatever_its_base(app, task, key):
    assert app.send(task, 2, 3, lru_key=key).get(timeout=20) == 5


def test_a_task_that_submits_tasks_hands_its_key_on(app):
    result = app.send("parent", lru_key="a")
    child = app.client.AsyncResult(result.get(timeout=20))

    assert child.get(timeout=20) == ["a", result.id, result.id]
    assert child.id in {each.id for each in result.children}


def test_a_child_may_have_a_key_of_its_own(app):
    result = app.send("parent", "b", lru_key="a")
    child = app.client.AsyncResult(result.get(timeout=20))

    assert child.get(timeout=20)[0] == "b"
    submitted = app.send("parent_of_fair", lru_key="a").get(timeout=20)
    assert app.client.AsyncResult(submitted).get(timeout=20) == 3


def test_a_plain_task_that_submits_tasks_makes_none_of_them_fair(app):
    child = app.client.AsyncResult(app.send("parent").get(timeout=20))

    assert child.get(timeout=20)[0] is None


@pytest.mark.parametrize("task", ["replaced", "replaced_late"])
def test_what_replaces_a_task_waits_on_behalf_of_the_same_key_under_its_id(app, task):
    result = app.send(task, lru_key="a")

    key, _, root = result.get(timeout=20)
    assert key == "a"
    assert root == result.id


def test_annotations_count_for_fair_tasks(app):
    with pytest.raises(TimeLimitExceeded):
        app.send("annotated", lru_key="a").get(timeout=20)
    assert app.send("own_options", lru_key="a").get(timeout=20) == ["by name", 7]


@pytest.mark.skipif(celery.VERSION < (5, 5), reason="Celery takes pydantic's models from 5.5 on")
@KEYS
def test_a_fair_task_takes_and_returns_models_of_pydantic(app, key):
    sold = app.send("sell", {"number": 7, "amount": 1.5}, lru_key=key)
    assert sold.get(timeout=20) == {"text": "Order 7: 1.50"}

    refused = app.send("sell", {"amount": 1.5}, lru_key=key)
    with pytest.raises(Exception, match="ValidationError"):
        refused.get(timeout=20)


def test_a_task_may_have_a_name_of_its_own(app):
    result = app.client.send_task("named.otherwise", lru_key="a")

    assert result.get(timeout=20) == "named.otherwise"


@KEYS
def test_a_result_that_is_ignored_is_not_stored(app, key):
    result = app.send("unasked", lru_key=key)
    app.await_recorded(f"handlers:{result.id}", 1)
    app.await_idle()

    # To Celery 5.6 a caller who does not know the task wants its result.
    if (5, 6) <= celery.VERSION < (5, 7):
        eventually(lambda: result.state == "SUCCESS", 30, "it is stored all the same")
    else:
        assert result.state == "PENDING"


def test_an_abstract_base_is_no_task(app):
    (registered,) = app.client.control.inspect(timeout=20, limit=1).registered().values()

    assert "kinds_app.handled" in {each.split()[0] for each in registered}
    assert not [each for each in registered if "Handling" in each or "LRUTask" in each]


# On the side of the caller


@pytest.fixture
def caller(redis_url):
    """An application that only submits."""
    name = f"caller-{secrets.token_hex(4)}"
    caller = Celery(name, broker="memory://", set_as_current=False)
    caller.conf.task_default_queue = name
    caller.conf.celery_ranch = {"url": redis_url, "redis_prefix": f"{name}:"}
    ranch = configure(caller)
    yield caller
    ranch.engine.close()
    caller.close()


def waiting(caller):
    return configure(caller).engine.snapshot(caller.main).waiting


def test_wrong_arguments_are_refused_at_the_call_and_nothing_is_stored(caller):
    @lru_task(caller, shared=False)
    def add(x, y): ...

    with pytest.raises(TypeError):
        add.lru_delay("a", 1)
    with pytest.raises(TypeError):
        add.apply_async((1,), {"z": 2}, lru_key="a")
    assert waiting(caller) == 0


def test_without_typing_wrong_arguments_are_stored_all_the_same(caller):
    @lru_task(caller, typing=False, shared=False)
    def add(x, y): ...

    add.lru_delay("a", 1)

    assert waiting(caller) == 1


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="Celery takes models as arguments from 5.7 on")
def test_a_model_of_pydantic_may_be_an_argument(caller):
    class Order(BaseModel):
        number: int

    @lru_task(caller, pydantic=True, shared=False)
    def sell(order: Order): ...

    result = sell.lru_delay("a", Order(number=7))

    message = configure(caller).engine.cancel(caller.main, result.id)
    body = message.replace(b"\\", b"").replace(b" ", b"")
    assert b'{"number":7}' in body

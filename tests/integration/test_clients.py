"""What tasks have for keys, by the guides' names, with a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Queue
from kombu.common import Broadcast

from celery_ranch import (
    InvalidDataError,
    InvalidKeyError,
    InvalidShareError,
    InvalidTagError,
    LRUTask,
    Ranch,
    RanchError,
    RoutingError,
    StoreUnavailableError,
    get_status,
    lru_task,
)
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.observing.views import last_configured
from celery_ranch.utils import lru_tracker, prioritize
from tests.redis_invariants import check_queue
from tests.servers import RedisServer

QUEUE = "celery"


@pytest.fixture
def app(redis_url: str, redis_prefix: str) -> Iterator[Celery]:
    app = Celery("clients", broker="memory://", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    app.conf.task_routes = {
        "to_others": {"queue": "others"},
        "to_third": {"queue": "third", "routing_key": "third"},
        "everywhere": {"queue": "all"},
    }
    yield app
    for queue in sorted(Ranch(app).engine.queues()):
        assert Ranch(app).check(queue) == ()
    Ranch(app).engine.close()
    app.close()


@pytest.fixture
def render(app: Celery) -> Any:
    @lru_task(app, shared=False, name="render")
    def render(report: int) -> None: ...

    return render


def nothing() -> None:
    """A task's function."""


# -- weights -------------------------------------------------------------------------------


def test_a_weight_is_the_inverse_of_a_share_and_holds_at_once(app: Celery, render: Any) -> None:
    for key in ("acme", "bolt"):
        for number in range(12):
            render.lru_delay(key, number)
    assert render.set_priority_weight("acme", 0.5) is True
    assert Ranch(app).key("acme").share == 2.0
    leased = Ranch(app).engine.lease("worker", [QUEUE], 9).leases
    assert [lease.key[0] for lease in leased].count("acme") == 6


@pytest.mark.parametrize("weight", [0, -1, 0.009, 100.1, float("nan"), float("inf"), "1", True])
def test_a_weight_that_is_none_is_refused_and_named(render: Any, weight: Any) -> None:
    render.set_priority_weight("acme", 2)
    with pytest.raises(InvalidShareError, match=r"0\.01 to 100") as refused:
        render.set_priority_weight("acme", weight)
    assert repr(weight) in str(refused.value)
    assert render.get_client_metadata("acme")["weight"] == 2.0


# -- tags ----------------------------------------------------------------------------------


def test_keys_are_found_by_their_tags(render: Any) -> None:
    assert render.add_tag("acme", "tier", "gold") is True
    render.add_tag(("bolt", "alice"), "tier", "free")
    render.add_tag("coil", "region", "eu")
    assert render.get_tagged_clients("tier", "gold") == ["acme"]
    assert render.get_tagged_clients("tier") == ["acme", ("bolt", "alice")]
    assert render.get_tagged_clients("tier", "silver") == render.get_tagged_clients("none") == []


def test_a_key_has_one_value_of_a_tag_by_these_names(app: Celery, render: Any) -> None:
    render.add_tag("acme", "tier", "gold")
    render.add_tag("acme", "region", "eu")
    render.add_tag("acme", "tier", "free")
    assert render.get_client_metadata("acme")["tags"] == {"tier": "free", "region": "eu"}
    assert render.get_tagged_clients("tier", "gold") == []


@pytest.mark.parametrize(
    "name, value", [("", "gold"), ("a=b", "gold"), ("tier", ""), ("tier", 3), ("t" * 129, "gold")]
)
def test_a_tag_that_is_none_is_refused_and_changes_nothing(
    render: Any, name: Any, value: Any
) -> None:
    for call in (
        lambda: render.add_tag("acme", name, value),
        lambda: render.lru_delay("acme", 1, tags={"region": "eu", name: value}),
    ):
        with pytest.raises(InvalidTagError):
            call()
    assert render.get_client_metadata("acme")["tags"] is None
    assert render.get_system_status()["backlog_size"] == 0


# -- data ----------------------------------------------------------------------------------


def test_what_is_noted_of_a_key_comes_back_as_it_was(render: Any) -> None:
    data = {
        "cores": 4,
        "load": 0.25,
        "plan": "größer \N{SNOWMAN}",
        "is_big": True,
        "none": None,
        "hosts": ["a", {"b": [1, 2.0]}],
    }
    for name, value in data.items():
        assert render.set_custom_data("acme", name, value) is True
    assert render.get_custom_data("acme") == data
    assert render.get_custom_data("bolt") == {}
    assert render.get_client_metadata("acme")["custom_data"] == data


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        *({1: "one"}, (1, 2), {1, 2}, object(), b"x", float("nan"), float("inf")),
        *(nested(100_000), "x" * 8_192, [float("-inf")]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_give_back_is_refused_and_changes_nothing(render: Any, value: Any) -> None:
    render.set_custom_data("acme", "cores", 4)
    with pytest.raises(InvalidDataError, match="allowed: "):
        render.set_custom_data("acme", "cores", value)
    assert render.get_custom_data("acme") == {"cores": 4}


@pytest.mark.parametrize("name", ["", None, 3, "a\x1fb", "n" * 129, "\ud800"])
def test_data_without_a_name_is_refused(render: Any, name: Any) -> None:
    with pytest.raises(InvalidDataError, match="name"):
        render.set_custom_data("acme", name, 1)
    assert render.get_custom_data("acme") == {}


def test_data_for_which_a_key_has_no_room_is_refused_until_other_is_taken_back(
    app: Celery, render: Any
) -> None:
    render.set_custom_data("acme", "much", "x" * 8_000)
    with pytest.raises(InvalidDataError, match="8,192 bytes with what else is noted of 'acme'"):
        render.set_custom_data("acme", "more", "y" * 200)
    Ranch(app).remove_custom_data("acme", "much")
    render.set_custom_data("acme", "more", "y" * 200)
    assert list(render.get_custom_data("acme")) == ["more"]


# -- one key -------------------------------------------------------------------------------


def test_the_metadata_of_a_key_never_heard_of_is_that_of_an_idle_one(render: Any) -> None:
    assert render.get_client_metadata("acme") == {
        "lru_key": "acme",
        "weight": 1.0,
        "last_execution": None,
        "tags": None,
        "custom_data": None,
        "pending_tasks": 0,
    }


def test_the_metadata_of_a_key_is_what_is_known_of_it(app: Celery, render: Any) -> None:
    render.lru_delay("acme", 1)
    before = time.time()
    Ranch(app).engine.lease("worker", [QUEUE], 1)
    render.lru_delay("acme", 2, priority_weight=4)
    render.apply_async((3,), lru_key="acme", countdown=100)
    found = render.get_client_metadata("acme")
    assert (found["weight"], found["pending_tasks"]) == (4.0, 2)
    assert before - 5 < found["last_execution"] < time.time() + 5


@pytest.mark.parametrize("key", ["", None, 7, ("a", ""), ("p",) * 9, "x" * 513])
def test_a_key_that_is_none_is_refused_by_each(render: Any, key: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: render.set_priority_weight(key, 1),
        lambda: render.add_tag(key, "tier", "gold"),
        lambda: render.set_custom_data(key, "cores", 1),
        lambda: render.get_custom_data(key),
        lambda: render.get_client_metadata(key),
    ]
    for call in calls:
        with pytest.raises(InvalidKeyError):
            call()
    assert render.get_tagged_clients("tier") == []


# -- which queue ---------------------------------------------------------------------------


def test_it_is_all_about_the_queue_that_the_task_s_calls_go_to(app: Celery, render: Any) -> None:
    @lru_task(app, shared=False, name="to_others")
    def to_others(report: int) -> None: ...

    @lru_task(app, shared=False, name="to_third")
    def to_third(report: int) -> None: ...

    for weight, task in enumerate((render, to_others, to_third), 2):
        task.set_priority_weight("acme", weight)
        task.add_tag("acme", "of", task.name)
        task.lru_delay("acme", 1)
        assert task.get_client_metadata("acme")["pending_tasks"] == 1
    weights = [1 / Ranch(app).key("acme", queue).share for queue in (QUEUE, "others", "third")]
    assert weights == pytest.approx([2, 3, 4])
    assert to_others.get_tagged_clients("of") == ["acme"]
    assert render.get_tagged_clients("of", "to_others") == []


def test_a_task_whose_calls_have_no_fair_queue_says_so(app: Celery) -> None:
    app.conf.task_queues = [Queue(QUEUE), Broadcast("all")]

    @lru_task(app, shared=False, name="everywhere")
    def everywhere() -> None: ...

    with pytest.raises(RoutingError, match="everywhere"):
        everywhere.set_priority_weight("acme", 2)


def test_every_base_of_the_guides_has_them(app: Celery) -> None:
    class MyCustomTask(LRUTask):
        pass

    @lru_task(app, shared=False, base=MyCustomTask, name="custom")
    def custom() -> None: ...

    assert custom.set_custom_data("acme", "cores", 4)
    assert custom.get_custom_data("acme") == {"cores": 4}


# -- lru_delay -----------------------------------------------------------------------------


def test_a_call_gives_its_key_a_weight_and_tags(app: Celery, render: Any) -> None:
    render.lru_delay("acme", 1, priority_weight=0.5, tags={"tier": "gold", "region": "eu"})
    render.lru_delay("acme", 2, tags={"tier": "free"})
    found = render.get_client_metadata("acme")
    assert (found["weight"], found["tags"]) == (0.5, {"tier": "free", "region": "eu"})
    assert [task.args for task in Ranch(app).pending("acme")] == [[1], [2]]
    assert not any(task.kwargs for task in Ranch(app).pending("acme"))


def test_many_calls_at_once_give_their_key_a_weight(render: Any) -> None:
    render.lru_map("acme", range(3), priority_weight=0.5)
    assert render.get_client_metadata("acme")["weight"] == 0.5


def test_a_call_with_an_expiry_may_wait_so_long_and_no_longer(app: Celery, render: Any) -> None:
    render.lru_delay("acme", 1, expiry=1_800)
    render.lru_delay("bolt", 2)
    engine = Ranch(app).engine
    now_us = time.time_ns() // 1_000
    first, second = engine.lease("early", [QUEUE], 2, now_us=now_us + 1_700_000_000).leases
    assert [first.is_expired, second.is_expired] == [False, False]
    render.lru_delay("acme", 3, expiry=1_800)
    (late,) = engine.lease("late", [QUEUE], 1, now_us=now_us + 1_900_000_000).leases
    assert late.is_expired


@pytest.mark.parametrize("expiry", [0, -1, "soon", True, float("nan"), float("inf")])
def test_an_expiry_that_is_none_is_refused_and_nothing_stored(render: Any, expiry: Any) -> None:
    with pytest.raises(ValueError, match="allowed: a positive number of seconds") as refused:
        render.lru_delay("acme", 1, expiry=expiry)
    assert repr(expiry) in str(refused.value)
    assert render.get_system_status()["backlog_size"] == 0


@pytest.mark.parametrize("tags", ["tier=gold", [("tier", "gold")], 3])
def test_tags_that_are_no_dict_are_refused_and_nothing_stored(render: Any, tags: Any) -> None:
    with pytest.raises(InvalidTagError, match="dict of names and values"):
        render.lru_delay("acme", 1, tags=tags)
    assert render.get_system_status()["backlog_size"] == 0


def test_a_call_that_runs_eagerly_asks_no_store(redis_prefix: str) -> None:
    app = Celery("eager", broker="memory://", set_as_current=False, task_always_eager=True)
    app.conf.celery_ranch = {"url": "redis://127.0.0.1:1", "redis_prefix": redis_prefix}

    @lru_task(app, shared=False, name="double")
    def double(x: int) -> int:
        return 2 * x

    assert double.lru_delay("acme", 4, priority_weight=2, tags={"a": "b"}, expiry=60).get() == 8


# -- the whole -----------------------------------------------------------------------------


def test_the_status_counts_all_queues(app: Celery, render: Any) -> None:
    last_configured.remember(app)
    assert render.get_system_status() == {
        "initialized": True,
        "storage_type": "RedisStorage",
        "backlog_size": 0,
        "unique_lru_keys": 0,
        "running": 0,
        "dead_letters": 0,
        "health": True,
    }
    for key in ("acme", "acme", "bolt"):
        render.lru_delay(key, 1)
    render.apply_async((1,), lru_key="acme", queue="others")
    render.apply_async((1,), lru_key="coil", countdown=100)
    Ranch(app).engine.lease("worker", [QUEUE], 1)
    found = render.get_system_status()
    assert (found["backlog_size"], found["unique_lru_keys"], found["running"]) == (4, 3, 1)
    assert get_status() == prioritize.get_status() == found
    assert prioritize._task_backlog.get_all_lru_keys() == ["acme", "bolt", "coil"]
    assert lru_tracker._lru_tracker.get_last_used_times().keys() == {"acme"}


def test_the_status_of_a_store_that_is_away_says_so(redis_prefix: str) -> None:
    with RedisServer() as server:
        app = Celery("away", broker="memory://", set_as_current=False)
        app.conf.celery_ranch = {"url": server.url, "redis_prefix": redis_prefix}
        task = lru_task(app, shared=False, name="task")(nothing)
        assert task.get_system_status()["health"] is True
    assert task.get_system_status()["health"] is False
    with pytest.raises(StoreUnavailableError):
        task.set_priority_weight("acme", 2)
    Ranch(app).engine.close()


@pytest.mark.filterwarnings("ignore::celery_ranch.RanchWarning")
def test_in_the_memory_of_a_process_it_is_the_same() -> None:
    app = Celery("lonely", broker="memory://", set_as_current=False)
    task = lru_task(app, shared=False, name="task")(nothing)
    task.lru_delay("acme", priority_weight=0.25, tags={"tier": "gold"})
    task.set_custom_data("acme", "cores", [4])
    found = task.get_client_metadata("acme")
    assert (found["weight"], found["tags"], found["custom_data"], found["pending_tasks"]) == (
        *(0.25, {"tier": "gold"}, {"cores": [4]}, 1),
    )
    assert task.get_tagged_clients("tier") == ["acme"]
    assert task.get_system_status()["storage_type"] == "InMemoryStorage"


def test_nothing_of_it_is_out_of_order_in_the_store(
    app: Celery, render: Any, redis_server: RedisServer
) -> None:
    for number in range(5):
        render.lru_delay(f"key {number}", 1, tags={"n": f"{number % 2}"}, priority_weight=2)
        render.set_custom_data(f"key {number}", "n", number)
    engine = Ranch(app).engine
    assert isinstance(engine, RedisEngine)
    with redis_server.client() as client:
        check_queue(client, engine.prefix, QUEUE)


def test_all_that_is_refused_is_a_ranch_error() -> None:
    assert issubclass(InvalidDataError, RanchError)

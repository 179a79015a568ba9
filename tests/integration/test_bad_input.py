"""What is wrong is refused where it is given, by name, and nothing of it is stored."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import OperationalError
from redis import Redis

from celery_ranch import (
    ConfigurationError,
    InvalidKeyError,
    InvalidShareError,
    Ranch,
    StoreUnavailableError,
    lru_task,
)
from tests.servers import RedisServer, eventually

FAST = {"max_retries": 2, "interval_start": 0.01, "interval_step": 0.0, "interval_max": 0.01}


def make_app(url: str, prefix: str, settings: dict[str, Any] | None = None) -> Celery:
    app = Celery("bad_input", broker="memory://", set_as_current=False)
    app.conf.celery_ranch = {"url": url, "redis_prefix": prefix, **(settings or {})}
    app.conf.task_default_queue = f"default-{secrets.token_hex(4)}"
    return app


def make_task(app: Celery) -> Any:
    @lru_task(app, name="render", shared=False)
    def render(*args: Any, **kwargs: Any) -> None: ...

    return render


@pytest.fixture
def render(redis_url: str, redis_prefix: str) -> Any:
    return make_task(make_app(redis_url, redis_prefix))


def stored(url: str, prefix: str) -> list[Any]:
    """Return the names of everything under a prefix."""
    client = Redis.from_url(url)
    try:
        return list(client.scan_iter(f"{prefix}*"))
    finally:
        client.close()


@pytest.mark.parametrize(
    "key", ["", None, 42, b"acme", "x" * 513, "é" * 257, "\ud800", (), ("",), ("a", 1), ("a",) * 9]
)
def test_a_bad_key_is_refused_and_nothing_is_stored(
    render: Any, redis_url: str, redis_prefix: str, key: Any
) -> None:
    with pytest.raises(InvalidKeyError):
        render.lru_delay(key, 1)
    if key is not None:
        with pytest.raises(InvalidKeyError):
            render.apply_async((1,), lru_key=key)
    assert stored(redis_url, redis_prefix) == []


@pytest.mark.parametrize(
    "weight", [0, -1, 0.009, 101, float("nan"), float("inf"), "0.5", True, [1]]
)
def test_a_bad_weight_is_refused_and_nothing_is_stored(
    render: Any, redis_url: str, redis_prefix: str, weight: Any
) -> None:
    with pytest.raises(InvalidShareError):
        render.lru_delay("acme", 1, priority_weight=weight)
    assert stored(redis_url, redis_prefix) == []


@pytest.mark.parametrize("share", [0, 0.009, 100.1, float("nan"), "2"])
def test_a_bad_share_is_refused_and_nothing_changes(
    render: Any, redis_url: str, redis_prefix: str, share: Any
) -> None:
    with pytest.raises(InvalidShareError):
        Ranch(render.app).set_share("acme", share)
    assert stored(redis_url, redis_prefix) == []


@pytest.mark.parametrize("weight, share", [(0.01, 100), (0.5, 2), (1, 1), (100, 0.01)])
def test_a_weight_is_the_inverse_of_a_share(render: Any, weight: float, share: float) -> None:
    render.lru_delay("acme", priority_weight=weight)
    (found,) = Ranch(render.app).keys()
    assert found.share == pytest.approx(share)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"redis_prefx": "a:"}, r"celery_ranch\['redis_prefx'\].*did you mean 'redis_prefix'"),
        ({"lease_seconds": "30"}, r"celery_ranch\['lease_seconds'\] is '30'; allowed: a number"),
        ({"lease_seconds": 0}, r"celery_ranch\['lease_seconds'\] is 0; allowed: .* from 1"),
        ({"redis_serializer": "pickle"}, r"celery_ranch\['redis_serializer'\].*accept_content"),
        ({"url": "amqp://broker"}, r"celery_ranch\['url'\] is 'amqp://broker'; allowed: a redis"),
    ],
)
def test_a_wrong_setting_is_named_at_the_first_call_and_nothing_is_stored(
    redis_url: str, redis_prefix: str, settings: dict[str, Any], named: str
) -> None:
    render = make_task(make_app(redis_url, redis_prefix, settings))
    with pytest.raises(ConfigurationError, match=named):
        render.lru_delay("acme")
    assert stored(redis_url, redis_prefix) == []


def test_a_message_that_cannot_be_written_is_not_stored(
    render: Any, redis_url: str, redis_prefix: str
) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        render.lru_delay("acme", object())
    assert stored(redis_url, redis_prefix) == []


@pytest.fixture
def away(own_redis: RedisServer) -> RedisServer:
    """A store that is not there."""
    own_redis.stop()
    return own_redis


@pytest.mark.parametrize("options", [{"retry": False}, {"retry_policy": FAST}])
def test_a_store_that_is_away_gives_celery_s_own_error_and_nothing_is_stored(
    away: RedisServer, redis_prefix: str, options: dict[str, Any]
) -> None:
    render = make_task(make_app(away.url, redis_prefix))
    with pytest.raises(OperationalError) as caught:
        render.apply_async(lru_key="acme", **options)
    assert isinstance(caught.value.__cause__, StoreUnavailableError)
    away.start()
    assert stored(away.url, redis_prefix) == []


class HangingUp:
    """A server that ends every connection at once, and counts them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._socket.getsockname()[1]}"
        self.calls = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if connection.recv(4) == b"stop":
                    return
                self.calls += 1

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()) as connection:
            connection.sendall(b"stop")
        self._thread.join()
        self._socket.close()


@pytest.fixture
def hanging_up() -> Iterator[HangingUp]:
    server = HangingUp()
    yield server
    server.close()


@pytest.mark.parametrize(
    "settings, options, tries",
    [
        ({}, {}, 4),
        ({"redis_max_retries": 1}, {}, 2),
        ({"redis_max_retries": 0}, {}, 1),
        ({"redis_max_retries": 1}, {"retry_policy": FAST}, 3),
        ({}, {"retry_policy": {"max_retries": 0}}, 1),
        ({}, {"retry": False}, 1),
    ],
)
def test_a_publish_is_tried_again_as_often_as_call_and_settings_say(
    hanging_up: HangingUp, settings: dict[str, Any], options: dict[str, Any], tries: int
) -> None:
    app = make_app(hanging_up.url, "p:", settings)
    app.conf.task_publish_retry_policy = {**FAST, "max_retries": 3}
    with pytest.raises(OperationalError):
        make_task(app).apply_async(lru_key="acme", **options)
    assert hanging_up.calls == tries


def test_the_app_s_own_retry_policy_counts_before_the_setting(hanging_up: HangingUp) -> None:
    app = make_app(hanging_up.url, "p:", {"redis_max_retries": 1})
    app.conf.task_publish_retry_policy = {**FAST, "max_retries": 5}
    with pytest.raises(OperationalError):
        make_task(app).lru_delay("acme")
    assert hanging_up.calls == 6


def test_a_publish_succeeds_when_the_store_comes_back_meanwhile(
    away: RedisServer, redis_prefix: str
) -> None:
    app = make_app(away.url, redis_prefix)
    render = make_task(app)
    patient = {**FAST, "max_retries": 2_000}
    sent = threading.Thread(
        target=render.apply_async, kwargs={"lru_key": "acme", "retry_policy": patient}
    )
    sent.start()
    away.start()
    sent.join(30)
    (snapshot,) = Ranch(app).keys()
    assert (snapshot.key, snapshot.waiting) == (("acme",), 1)


def test_a_store_without_memory_gives_celery_s_error_in_the_store_s_words(
    own_redis: RedisServer, redis_prefix: str
) -> None:
    render = make_task(make_app(own_redis.url, redis_prefix))
    client = Redis.from_url(own_redis.url)
    client.config_set("maxmemory", 1)
    with pytest.raises(OperationalError, match="maxmemory"):
        render.lru_delay("acme")
    client.config_set("maxmemory", 0)
    client.close()
    assert eventually(lambda: stored(own_redis.url, redis_prefix) == [], 5, "nothing is stored")

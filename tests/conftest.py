"""Fixtures for every test: servers that start when first asked for, and stop for sure."""

from __future__ import annotations

import gc
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import (
    RabbitMQServer,
    RedisServer,
    make_certificates,
    shipped_server,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos", "what tests/chaos breaks, and how often")
    group.addoption("--chaos", choices=("short", "long"), default="short", help="how much of it")
    group.addoption("--chaos-seed", type=int, default=None, help="a seed that a failure named")


#: Whose PubSub locks itself up when Celery's results are collected while it subscribes:
#: Celery unsubscribes from each then, and the lock can be taken only once.
_LOCKS_UP_ON_COLLECTION = (5, 3) <= redis.VERSION < (6, 4)


@pytest.fixture(autouse=_LOCKS_UP_ON_COLLECTION)
def collect_between_tests() -> Iterator[None]:
    """Let nothing be collected but when a test has ended."""
    gc.disable()
    yield
    gc.collect()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The session's Redis. Leave it running, and use keys under `redis_prefix`."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the session's Redis, over TCP."""
    return redis_server.url


@pytest.fixture(scope="session")
def oldest_redis_url() -> Iterator[str]:
    """The URL of a Redis of the oldest version that is supported."""
    with RedisServer(program=shipped_server("redis-6.2")) as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of a Valkey."""
    with RedisServer(program=shipped_server("valkey")) as server:
        yield server.url


@pytest.fixture
def redis_prefix() -> str:
    """What the test's own keys begin with."""
    return f"test-{secrets.token_hex(8)}:"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of this test alone, to stop, kill and freeze; it keeps what it stored."""
    with RedisServer(is_persistent=True) as server:
        yield server


@pytest.fixture(scope="session")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that speaks TLS alone; `certificates.ca` is the file to trust."""
    certificates = make_certificates(tmp_path_factory.mktemp("tls"))
    with RedisServer(certificates=certificates) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """The URL of the session's RabbitMQ; without one, skip, or fail under CI."""
    with RabbitMQServer() as server:
        yield server.url


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for a unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="ranch-", ignore_cleanup_errors=True) as name:
        yield Path(name)

"""Fixtures that give every test of the suite each engine in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import TAG_LIMIT, EngineSettings


@pytest.fixture(
    params=["memory", "redis_url", "oldest_redis_url", "valkey_url"],
    ids=["memory", "redis", "redis-6.2", "valkey"],
)
def open_engine(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Opens an engine on an empty store, with the settings given by name."""
    opened: list[Engine] = []

    def open_one(*, tag_limit: int = TAG_LIMIT, **settings: Any) -> Engine:
        told = EngineSettings(**settings)
        if request.param == "memory":
            engine: Engine = MemoryEngine(told, tag_limit=tag_limit)
        else:
            url = request.getfixturevalue(request.param)
            prefix = f"{request.getfixturevalue('redis_prefix')}{len(opened)}:"
            engine = RedisEngine(url, prefix, told, tag_limit=tag_limit)
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(open_engine: Callable[..., Engine]) -> Engine:
    """An engine with the default settings on an empty store."""
    return open_engine()

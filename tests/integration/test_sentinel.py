"""Behind Sentinel: who is master is asked for, found anew, and never taken for granted."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from redis.sentinel import Sentinel

from celery_ranch.config import Settings
from celery_ranch.engines.opening import StoreOffer, choose_store, open_engine
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.errors import StoreError, StoreUnavailableError
from tests.sentinels import FAILOVER_SECONDS, SentinelServers
from tests.servers import eventually, free_port, make_certificates
from tests.workers import FairApp

pytestmark = pytest.mark.timeout(400)

KEYS = ("acme", "bolt", "core")


@pytest.fixture(scope="module")
def servers() -> Iterator[SentinelServers]:
    with SentinelServers(replicas=2, password="data", sentinel_password="watch") as servers:
        yield servers


def engine_of(place: Any = None, **settings: Any) -> RedisEngine:
    chosen = Settings(**settings)
    engine = open_engine(choose_store(chosen, StoreOffer(None), StoreOffer(None), place), chosen)
    assert isinstance(engine, RedisEngine)
    return engine


def test_the_master_that_the_sentinels_name_is_used(servers: SentinelServers) -> None:
    engine = engine_of(**servers.ranch)
    connection = engine.connect()
    connection.connect()
    assert (connection.host, connection.port) == ("127.0.0.1", servers.master.port)
    connection.disconnect()


def test_a_sentinel_that_is_away_is_passed_over(servers: SentinelServers) -> None:
    url = f"sentinel://:data@127.0.0.1:{free_port()}/0;{servers.url}"
    with contextlib.closing(engine_of(**{**servers.ranch, "url": url})) as engine:
        assert engine.queues() is not None


def test_a_client_made_by_redis_py_s_sentinel_gives_the_store(servers: SentinelServers) -> None:
    addresses = [("127.0.0.1", port) for port in servers.sentinel_ports]
    manager = Sentinel(addresses, sentinel_kwargs={"password": "watch"})
    client = manager.master_for(servers.master_name, password="data")
    with contextlib.closing(engine_of(client)) as engine:
        assert engine.queues() is not None


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"sentinel_master": "nobody"}, "'nobody'.*there is no such master"),
        ({"url": "sentinel://localhost:1"}, "'ranch-master'.*localhost:1.*refused"),
        ({"sentinel_kwargs": {}}, "(?i)'ranch-master'.*authentication required"),
        ({"sentinel_kwargs": {"password": "wrong"}}, "(?i)'ranch-master'.*password"),
    ],
)
def test_where_no_master_is_found_it_is_said_which_and_why(
    servers: SentinelServers, changed: dict[str, Any], says: str
) -> None:
    engine = engine_of(**{**servers.ranch, **changed})
    with pytest.raises(StoreUnavailableError, match=says):
        engine.queues()


def test_a_replica_that_a_sentinel_takes_for_the_master_is_left_again(
    servers: SentinelServers,
) -> None:
    engine = engine_of(**servers.ranch)
    connection = engine.connect()
    replica, *_ = servers.replicas
    connection._finder.find = lambda: ("127.0.0.1", replica.port)
    with pytest.raises(Exception, match=f"127.0.0.1:{replica.port} is a slave"):
        connection.connect()


def test_a_replica_s_refusal_to_write_is_a_store_that_is_away(servers: SentinelServers) -> None:
    replica, *_ = servers.replicas
    engine = engine_of(f"redis://:data@127.0.0.1:{replica.port}/0")
    with pytest.raises(StoreUnavailableError, match=r"(?i)read only"):
        engine.heartbeat("nobody")
    engine.close()


def test_a_master_without_enough_replicas_is_a_store_that_is_away(
    servers: SentinelServers,
) -> None:
    with contextlib.closing(engine_of(**servers.ranch)) as engine:
        engine.heartbeat("nobody")
        with servers.client() as client:
            client.config_set("min-replicas-to-write", 3)
            try:
                with pytest.raises(StoreUnavailableError, match="NOREPLICAS"):
                    engine.heartbeat("nobody")
            finally:
                client.config_set("min-replicas-to-write", 0)
        engine.heartbeat("nobody")


def test_sentinels_and_servers_behind_tls_are_verified(tmp_path: Path) -> None:
    guarded = SentinelServers(
        replicas=0, sentinels=1, password="data", certificates=make_certificates(tmp_path)
    )
    with guarded as servers:
        with contextlib.closing(engine_of(**servers.ranch)) as engine:
            assert engine.queues() == frozenset()
        for changed in ({"redis_use_ssl": True}, {"sentinel_kwargs": {"ssl": True}}):
            engine = engine_of(**{**servers.ranch, **changed})
            with pytest.raises(StoreError, match=r"(?i)certificate"):
                engine.queues()


class Load:
    """Sends one task after the other in a thread, and notes which calls returned."""

    def __init__(self, app: FairApp) -> None:
        self.accepted: list[str] = []
        self._app = app
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def await_more(self, count: int) -> None:
        """Wait until so many more calls have returned."""
        enough = len(self.accepted) + count
        eventually(
            lambda: len(self.accepted) >= enough, FAILOVER_SECONDS, f"{count} more are accepted"
        )

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped.set()
        self._thread.join(30)

    def _run(self) -> None:
        for number in itertools.count():
            with contextlib.suppress(OperationalError):
                self._app.send(
                    "note", number, 0.02, lru_key=KEYS[number % 3], ignore_result=True, retry=False
                )
                self.accepted.append(str(number))
            if self._stopped.wait(0.05):
                return


@pytest.fixture
def apps(servers: SentinelServers, tmp_path: Path, redis_url: str) -> Iterator[dict[str, FairApp]]:
    """By their workers' pools: all behind Sentinel as Celery has it, and the store alone."""
    settings = {
        "prefork": {"celery": servers.celery, "ranch": {"url": None}},
        "threads": {"ranch": servers.ranch},
    }
    apps = {
        pool: FairApp(
            tmp_path, redis_url, open_store=lambda: servers.client(as_text=False), **of_pool
        )
        for pool, of_pool in settings.items()
    }
    yield apps
    for app in apps.values():
        app.close()


def test_workers_and_callers_follow_the_master_through_failovers(
    servers: SentinelServers, apps: dict[str, FairApp]
) -> None:
    with contextlib.ExitStack() as stack:
        workers = {
            pool: stack.enter_context(app.worker(name=pool, pool=pool))
            for pool, app in apps.items()
        }
        loads = [stack.enter_context(Load(app)) for app in apps.values()]
        must_run: list[set[str]] = [set() for _ in loads]

        def fail_over(replace: Callable[[], Any]) -> None:
            begun = [len(load.accepted) for load in loads]
            for load in loads:
                load.await_more(20)
            copied = [len(load.accepted) for load in loads]
            servers.await_replicas()
            replace()
            # The old master, if it lives, takes no writes any more.
            servers.await_replicas()
            replaced = [len(load.accepted) for load in loads]
            for load in loads:
                load.await_more(20)
            for ids, load, *(first, last, again) in zip(
                must_run, loads, begun, copied, replaced, strict=True
            ):
                ids.update(load.accepted[first:last], load.accepted[again:])

        fail_over(servers.kill_master)
        fail_over(servers.fail_over)
        for load in loads:
            load.stop()
        for ids, app in zip(must_run, apps.values(), strict=True):
            eventually(
                lambda ids=ids, app=app: ids <= set(app.recorded("ended")), 60, "all of them ran"
            )
            app.await_idle(60)
            app.check()
        for worker in workers.values():
            assert worker.log.count("Lost the store") == 2
            assert worker.log.count("The store answers again") == 2

"""A store behind a password, a user with few rights, a socket or TLS serves callers and workers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

import celery_ranch
from celery_ranch.config import Settings
from celery_ranch.engines.opening import StoreOffer, choose_store, open_engine
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.errors import StoreError
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import Entry, Outcome, OutcomeKind
from celery_ranch.scheduling.policies import Tag
from tests.servers import (
    Certificates,
    RedisServer,
    make_certificates,
    shipped_server,
)
from tests.workers import FairApp

PAGE = Path(__file__).parents[2] / "docs/how-to/choose-a-store.md"
LUA = Path(celery_ranch.__file__).parent / "engines/lua"
PASSWORD = "p:w/d"
QUOTED = "p%3Aw%2Fd"

needs_unix_sockets = pytest.mark.skipif(
    redis.VERSION < (4, 5, 4), reason="redis-py 4.5.2 cannot connect to any unix socket"
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A Redis with a password, reached by nobody without it."""
    with RedisServer(settings={"requirepass": PASSWORD}) as server:
        yield server


@pytest.fixture(scope="module")
def guarded_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that speaks TLS alone, with clients that have a certificate."""
    with tls_server(make_certificates(tmp_path_factory.mktemp("tls"))) as server:
        yield server


def tls_server(certificates: Certificates) -> RedisServer:
    return RedisServer(certificates=certificates, settings={"tls-auth-clients": "yes"})


def everything_at(url: str, **celery: Any) -> dict[str, Any]:
    """Settings of an application whose only server is this one, as Celery reads them."""
    return {
        "celery": {"broker_url": url, "result_backend": url, **celery},
        "ranch": {"url": None},
    }


def acl_line(prefix: str) -> list[str]:
    """The rule that the documentation gives, for another prefix."""
    text = PAGE.read_text(encoding="utf-8")
    match = re.search(r"\nACL SETUSER ranch on >password ([^`]*)\n```", text)
    assert match
    return [word.replace("~celery_ranch:", f"~{prefix}") for word in match[1].split()]


def limit_user(server: RedisServer, prefix: str, *changes: str) -> str:
    """Make the documented user, changed, and return the URL of the store as that one sees it."""
    with server.client() as client:
        client.execute_command(
            "ACL SETUSER", "ranch", "reset", "on", ">secret", *acl_line(prefix), *changes
        )
    return f"redis://ranch:secret@127.0.0.1:{server.port}/0"


@pytest.mark.parametrize(
    "kind", ["password", pytest.param("socket", marks=needs_unix_sockets), "tls"]
)
def test_a_guarded_broker_is_the_store_of_its_callers_and_workers(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, redis_url: str
) -> None:
    server: RedisServer = request.getfixturevalue("guarded_tls" if kind == "tls" else "guarded")
    if kind == "password":
        settings = everything_at(f"redis://:{QUOTED}@127.0.0.1:{server.port}/0")
    elif kind == "socket":
        settings = everything_at(f"redis+socket://:{QUOTED}@{server.socket_path}?virtual_host=0")
    else:
        certificate = {"ssl_cert_reqs": "required", **server.tls_options}
        settings = everything_at(
            server.url, broker_use_ssl=certificate, redis_backend_use_ssl=certificate
        )
    serves(FairApp(tmp_path, redis_url, open_store=server.client, **settings))


def test_a_user_with_the_documented_rights_serves_callers_and_workers(
    guarded: RedisServer, tmp_path: Path, redis_url: str, redis_prefix: str
) -> None:
    ranch = {"url": limit_user(guarded, redis_prefix), "redis_prefix": redis_prefix}
    serves(FairApp(tmp_path, redis_url, open_store=guarded.client, ranch=ranch))


def serves(app: FairApp) -> None:
    """Call, delay, wait for the results beside a worker, and look at everything."""
    with contextlib.closing(app), app.worker() as worker:
        late = app.send("note", "late", lru_key="acme", countdown=0.5)
        now = app.send("note_late", "now", lru_key="acme")
        assert now.get(timeout=30) == "noted now"
        assert late.get(timeout=30) == "noted late"
        app.await_idle()
        assert "Lost the store" not in worker.log
        assert "Could not look at the store" not in worker.log


def test_the_documented_rights_are_what_the_engine_uses_and_no_more(guarded: RedisServer) -> None:
    scripts = [path.read_text(encoding="utf-8") for path in LUA.glob("*.lua")]
    code = [line for text in scripts for line in text.splitlines() if not line.startswith("--")]
    words = {word.lower() for line in code for word in re.findall(r"'([A-Z]{3,})'", line)}
    with guarded.client(decode_responses=True) as client:
        commands = set(client.execute_command("COMMAND").keys())
    used = {"evalsha", "script|load", "blpop", "info", "zrange"} | (words & commands)
    given = {word[1:] for word in acl_line("p:") if word.startswith("+")}
    assert given == used


@pytest.mark.parametrize("program", ["redis-6.2", "valkey"])
def test_the_documented_rights_are_enough_for_the_engine_on_other_servers(
    program: str, redis_prefix: str
) -> None:
    with RedisServer(program=shipped_server(program)) as server:
        engine = RedisEngine(limit_user(server, redis_prefix), redis_prefix)
        with contextlib.closing(engine):
            engine.load_scripts()
            assert engine.warnings() == ()
            engine.enqueue([Entry("one", ("acme",), "celery", b"message")])
            (lease,) = engine.lease("worker", ["celery"], 1).leases
            engine.settle("worker", [Outcome(OutcomeKind.RELEASED, "celery", "one", lease.number)])
            assert engine.wait(["celery"], 0.01)
            assert tuple(engine.check("celery")) == ()
            engine.add_tag("celery", ("acme",), "plan=free")
            engine.set_limits("celery", Tag("plan=free"), Limits(concurrency=1))
            assert engine.tagged("celery", "plan=free") == {("acme",)}
            assert engine.cancel("celery", "one") == b"message"


@pytest.mark.parametrize(
    "taken, said",
    [
        ("-evalsha", "no permissions.*'evalsha'"),
        ("resetkeys", "no permissions to access .*key"),
    ],
)
def test_without_a_right_a_call_fails_with_redis_s_own_words_and_stores_nothing(
    taken: str, said: str, guarded: RedisServer, tmp_path: Path, redis_url: str, redis_prefix: str
) -> None:
    whole = {"url": limit_user(guarded, redis_prefix), "redis_prefix": redis_prefix}
    app = FairApp(tmp_path, redis_url, open_store=guarded.client, ranch=whole)
    with contextlib.closing(app):
        app.send("note", "may", lru_key="acme")
        before = app.engine.snapshot(app.name)
        limit_user(guarded, redis_prefix, taken)
        with pytest.raises(OperationalError, match=f"(?i){said}"):
            app.send("note", "may not", lru_key="acme")
        limit_user(guarded, redis_prefix)
        assert app.engine.snapshot(app.name) == before


def test_a_right_denied_in_the_middle_of_a_call_is_no_success(
    guarded: RedisServer, redis_prefix: str
) -> None:
    engine = RedisEngine(limit_user(guarded, redis_prefix), redis_prefix)
    with contextlib.closing(engine):
        engine.enqueue([Entry("may", ("acme",), "celery", b"message")])
        limit_user(guarded, redis_prefix, "-zadd")
        for due_in_us in (None, 1_000_000):
            entry = Entry("may not", ("acme",), "celery", b"", due_in_us=due_in_us)
            with pytest.raises(StoreError, match=r"(?i)no permissions.*'zadd'|can't run"):
                engine.enqueue([entry])
            with guarded.client() as client:
                client.hdel(f"{redis_prefix}{{celery}}:entries", "may not")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/0", "redis://:wrong@127.0.0.1:{port}/0"])
def test_a_wrong_password_is_refused_at_once(url: str, guarded: RedisServer) -> None:
    engine = RedisEngine(url.format(port=guarded.port))
    with pytest.raises(StoreError, match=r"(?i)auth|password"):
        engine.heartbeat("worker")
    engine.close()


def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    guarded_tls: RedisServer,
) -> None:
    known = guarded_tls.tls_options
    with contextlib.closing(RedisEngine(guarded_tls.url, connection_kwargs=known)) as engine:
        assert engine.queues() is not None
    stranger = RedisEngine(
        guarded_tls.url, connection_kwargs={"ssl_ca_certs": known["ssl_ca_certs"]}
    )
    with pytest.raises(StoreError):
        stranger.queues()


def test_a_certificate_for_another_name_is_refused_unless_it_is_said_otherwise(
    tmp_path: Path,
) -> None:
    with tls_server(make_certificates(tmp_path, "elsewhere.example")) as server:
        for is_checked in (True, False):
            use_ssl = server.tls_options | ({} if is_checked else {"ssl_check_hostname": False})
            settings = Settings(url=server.url, redis_use_ssl=use_ssl)
            store = choose_store(settings, StoreOffer(None), StoreOffer(None))
            with contextlib.closing(open_engine(store, settings)) as engine:
                if is_checked:
                    with pytest.raises(StoreError, match=r"(?i)certificate.*127\.0\.0\.1"):
                        engine.queues()
                else:
                    assert engine.queues() == frozenset()

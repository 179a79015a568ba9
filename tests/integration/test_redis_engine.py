"""What the Redis engine promises beyond the contract: its server, its connections, its keys."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from celery_ranch.engines.redis import VERBS, RedisEngine, Request, ScriptMissing
from celery_ranch.engines.scripts import load_script
from celery_ranch.errors import ConfigurationError, StoreError, StoreUnavailableError
from celery_ranch.scheduling.model import (
    ACTIVATION_BUDGET,
    EngineSettings,
    Entry,
    Outcome,
    OutcomeKind,
    Publish,
    charge,
)
from tests.redis_invariants import check_queue
from tests.servers import RedisServer, eventually

ENTRY = Entry("1", ("acme",), "celery", b"message")


@pytest.fixture
def engine(redis_url: str, redis_prefix: str) -> Iterator[RedisEngine]:
    engine = RedisEngine(redis_url, prefix=redis_prefix)
    yield engine
    engine.close()


@pytest.fixture
def own_engine(own_redis: RedisServer) -> Iterator[RedisEngine]:
    engine = RedisEngine(own_redis.url)
    yield engine
    engine.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def entries(count: int, **named: Any) -> list[Entry]:
    return [replace(ENTRY, entry_id=str(number), **named) for number in range(count)]


def ask(connection: Any, request: Request[Any]) -> Any:
    connection.send_command(*request.args)
    try:
        reply = connection.read_response()
    except ResponseError as error:
        reply = error
    return request.parse(reply)


# -- scripts ------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_the_server_knows_every_verb_by_the_sha_that_is_sent(
    verb: str, client: redis.Redis
) -> None:
    script = load_script(verb)
    assert client.script_load(script.source.decode()) in (script.sha, script.sha.decode())


def test_every_script_is_a_verb_or_has_functions_that_a_script_needs() -> None:
    files = (resources.files("celery_ranch.engines") / "lua").iterdir()
    texts = {file.name.removesuffix(".lua"): file.read_text("utf-8") for file in files}
    needs = re.findall(r"^-- NEEDS +(.*)$", "\n".join(texts.values()), re.MULTILINE)
    needed = {name for names in needs for name in re.findall(r"[a-z_]+", names)}
    assert texts.keys() == set(VERBS) | needed
    assert not set(VERBS) & needed


LUA = resources.files("celery_ranch.engines") / "lua"
FUNCTIONS = {
    name
    for file in LUA.iterdir()
    for name in re.findall(r"^local function (\w+)", file.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_function_that_a_script_calls_is_made_before_in_it(verb: str) -> None:
    made: set[str] = set()
    for line in load_script(verb).source.decode().splitlines():
        made |= set(re.findall(r"local function (\w+)", line))
        called = set(re.findall(r"(?<![.\w])(\w+)\(", line))
        assert called & FUNCTIONS <= made, line


def test_a_verb_that_does_not_exist_cannot_be_loaded() -> None:
    with pytest.raises(FileNotFoundError):
        load_script("steal")


def test_scripts_that_the_server_forgot_are_loaded_again_unnoticed(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    assert own_engine.enqueue([ENTRY]).stored == 1
    own_redis.client().script_flush()
    assert own_engine.enqueue([ENTRY]).taken == ("1",)


def test_a_request_says_that_its_script_is_missing_and_how_to_load_it(
    own_engine: RedisEngine,
) -> None:
    connection = own_engine.connect()
    connection.connect()
    with pytest.raises(ScriptMissing):
        ask(connection, own_engine.request_heartbeat("w"))
    for request in own_engine.requests_load():
        ask(connection, request)
    assert ask(connection, own_engine.request_heartbeat("w")) is False
    connection.disconnect()


def test_requests_can_be_sent_in_one_go_on_a_connection_of_ones_own(engine: RedisEngine) -> None:
    engine.load_scripts()
    engine.enqueue(entries(3))
    first = engine.lease("w", ["celery"], 1).leases[0]
    done = [Outcome(OutcomeKind.COMPLETED, first.queue, first.entry_id, first.number)]
    requests: list[Request[Any]] = [
        engine.request_settle("w", done),
        engine.request_lease("w", ["celery"], 5),
        engine.request_held("w"),
        engine.request_heartbeat("w"),
        engine.request_reap(10),
        engine.request_wake(["celery"]),
        engine.request_wait(["celery"], 0),
    ]
    connection = engine.connect()
    connection.connect()
    connection.send_packed_command(connection.pack_commands([r.args for r in requests]))
    stale, leased, held, *rest = [r.parse(connection.read_response()) for r in requests]
    connection.disconnect()
    assert stale == ()
    assert [lease.entry_id for lease in leased.leases] == ["1", "2"]
    assert held == {("celery", "1", 2), ("celery", "2", 3)}
    assert rest[0] is True
    assert rest[3] is True


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lead=st.integers(0, 2**40),
    old=st.floats(0.01, 100).map(charge),
    new=st.floats(0.01, 100).map(charge),
)
def test_a_lead_is_rescaled_without_rounding_errors(
    lead: int, old: int, new: int, client: redis.Redis
) -> None:
    lead %= 3 * old
    functions = (resources.files("celery_ranch.engines") / "lua" / "charging.lua").read_text()
    code = functions + "return string.format('%.0f', rescaled(unpack(cjson.decode(ARGV[1]))))"
    assert int(client.eval(code, 0, f"[{lead},{old},{new}]")) == (2 * lead * new + old) // (2 * old)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0.01, 100), cost=st.integers(0, 10**12))
def test_a_share_is_charged_alike_in_lua_and_in_python(
    share: float, cost: int, client: redis.Redis
) -> None:
    functions = (resources.files("celery_ranch.engines") / "lua" / "charging.lua").read_text()
    code = functions + "return string.format('%.0f', charge(tonumber(ARGV[1]), tonumber(ARGV[2])))"
    assert int(client.eval(code, 0, repr(share), cost)) == charge(share, cost)


# -- a server in trouble ------------------------------------------------------


def test_a_full_redis_refuses_a_batch_whole(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    own_redis.client().config_set("maxmemory", 1_000)
    with pytest.raises(StoreError, match="maxmemory") as refusal:
        own_engine.enqueue(entries(10, message=bytes(1_000)), publish=Publish("p", 1))
    assert not isinstance(refusal.value, StoreUnavailableError)
    assert own_engine.snapshot("celery").waiting == 0
    assert own_engine.queues() == frozenset()
    own_redis.client().config_set("maxmemory", 0)
    assert own_engine.enqueue(entries(10), publish=Publish("p", 1)).stored == 10


def test_a_publisher_is_remembered_for_a_quarter_of_an_hour_after_its_last_publish(
    engine: RedisEngine, client: redis.Redis
) -> None:
    remembered = f"{engine.prefix}{{celery}}:publisher:p"
    for number in (1, 2):
        engine.enqueue(entries(1, message=b""), publish=Publish("p", number))
        assert client.get(remembered) == str(number).encode()
        assert 890_000 < client.pttl(remembered) <= 900_000
        client.pexpire(remembered, 1_000)
        engine.cancel("celery", "0")
    client.delete(remembered)
    assert engine.enqueue(entries(1), publish=Publish("p", 1)).stored == 1


def test_an_attempt_that_stores_nothing_leaves_the_publisher_s_last_number(
    engine: RedisEngine, client: redis.Redis
) -> None:
    remembered = f"{engine.prefix}{{celery}}:publisher:p"
    engine.enqueue(entries(1), publish=Publish("p", 5))
    assert engine.enqueue(entries(1), publish=Publish("p", 6)).taken == ("0",)
    assert client.get(remembered) == b"5"
    engine.cancel("celery", "0")
    assert engine.enqueue(entries(1), publish=Publish("p", 4)).is_repeated
    assert client.get(remembered) == b"5"
    assert client.pttl(remembered) > 890_000


def test_a_publisher_s_number_of_another_type_refuses_a_batch_as_a_whole(
    engine: RedisEngine, client: redis.Redis
) -> None:
    remembered = f"{engine.prefix}{{celery}}:publisher:p"
    client.rpush(remembered, "junk")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        engine.enqueue(entries(3), publish=Publish("p", 1))
    assert engine.snapshot("celery").waiting == 0
    assert not client.exists(f"{engine.prefix}{{celery}}:entries")
    client.set(remembered, "junk")
    assert engine.enqueue(entries(3), publish=Publish("p", 1)).stored == 3


def test_scripts_that_are_flushed_again_and_again_run_all_the_same(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    is_over = threading.Event()

    def flush() -> None:
        with own_redis.client() as client:
            while not is_over.is_set():
                client.script_flush()

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        for number in range(200):
            assert own_engine.enqueue([replace(ENTRY, entry_id=str(number))]).stored == 1
    finally:
        is_over.set()
        flushing.join()


def test_a_full_redis_is_drained_all_the_same(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    own_engine.enqueue(entries(10))
    own_redis.client().config_set("maxmemory", 1_000)
    leases = own_engine.lease("w", ["celery"], 8).leases
    kinds = list(OutcomeKind)
    outcomes = [
        Outcome(kind, lease.queue, lease.entry_id, lease.number)
        for kind, lease in zip(kinds, leases, strict=False)
    ]
    assert own_engine.settle("w", outcomes) == ()
    assert own_engine.heartbeat("w")
    own_engine.pause("celery", ("acme",))
    own_engine.resume("celery", ("acme",))
    own_engine.set_share("celery", ("acme",), 2.0)
    assert own_engine.retry_dead("celery", own_engine.dead_letters("celery")[0].entry_id)
    assert own_engine.cancel("celery", "9") is not None
    far = 2**52
    own_engine.reap(1, now_us=far)
    own_engine.reap(1, now_us=far + 10_000_000)
    own_engine.reap(1, now_us=far + 20_000_000)
    assert own_engine.reap(10, now_us=far + 30_000_000).freed == 1
    check_queue(own_redis.client(), own_engine.prefix, "celery")


def test_a_store_that_is_away_is_unavailable_and_is_found_again(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    own_engine.enqueue([ENTRY])
    own_redis.stop()
    with pytest.raises(StoreUnavailableError):
        own_engine.enqueue([ENTRY])
    with pytest.raises(StoreUnavailableError):
        own_engine.wait(["celery"], 1)
    own_redis.start()
    assert own_engine.enqueue([ENTRY]).taken == ("1",)


def test_a_wait_does_not_fail_over_a_connection_that_was_closed_since_the_last_one(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    assert own_engine.wait(["celery"], 0.01) is False
    own_redis.stop()
    own_redis.start()
    assert own_engine.wait(["celery"], 0.01) is False


def test_a_server_that_runs_an_endless_script_is_unavailable_meanwhile(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    with own_redis.client() as client:
        client.config_set("lua-time-limit", 1)
        endless = threading.Thread(target=_run_until_killed, args=(own_redis,))
        endless.start()

        def is_busy() -> bool:
            try:
                own_engine.snapshot("celery")
            except StoreUnavailableError as error:
                return "BUSY" in str(error)
            return False

        eventually(is_busy, 20, "the server is busy")
        client.script_kill()
        endless.join(20)
    assert own_engine.snapshot("celery").waiting == 0


def _run_until_killed(server: RedisServer) -> None:
    with server.client() as client, contextlib.suppress(redis.ResponseError):
        client.eval("while true do end", 0)


def test_a_store_that_does_not_answer_is_unavailable_in_time(own_redis: RedisServer) -> None:
    engine = RedisEngine(own_redis.url, connection_kwargs={"socket_timeout": 0.2})
    own_redis.freeze()
    publish = Publish("p", 1)
    with pytest.raises(StoreUnavailableError):
        engine.enqueue([ENTRY], publish=publish)
    own_redis.thaw()
    assert engine.enqueue([ENTRY], publish=publish).taken == ()
    assert engine.snapshot("celery").waiting == 1
    engine.close()


def test_a_wrong_password_is_refused_in_the_servers_words(own_redis: RedisServer) -> None:
    own_redis.client().config_set("requirepass", "right")
    engine = RedisEngine(own_redis.url.replace("//", "//:wrong@"))
    with pytest.raises(StoreError, match="password") as refusal:
        engine.enqueue([ENTRY])
    assert not isinstance(refusal.value, StoreUnavailableError)
    engine.close()


def test_a_server_that_may_evict_is_warned_about(
    own_engine: RedisEngine, own_redis: RedisServer
) -> None:
    assert own_engine.warnings() == ()
    own_redis.client().config_set("maxmemory-policy", "allkeys-lru")
    (warning,) = own_engine.warnings()
    assert "allkeys-lru" in warning
    assert "noeviction" in warning


def test_the_server_is_new_enough_and_says_what_it_is(engine: RedisEngine) -> None:
    assert engine.check_server().version >= (6, 2)


def test_an_entry_whose_record_cannot_be_read_goes_to_the_dead_letters(
    engine: RedisEngine, client: redis.Redis
) -> None:
    engine.enqueue(entries(4))
    records = f"{engine.prefix}{{celery}}:entries"
    client.hset(records, "0", b"no record")
    client.hset(records, "1", b"0 - - 0 5 - 500 acme")
    client.hdel(records, "2")
    assert [lease.entry_id for lease in engine.lease("w", ["celery"], 4).leases] == ["3"]
    letters = engine.dead_letters("celery")
    assert [letter.entry_id for letter in letters] == ["2", "1", "0"]
    assert [letter.message for letter in letters] == [b"", b"0 - - 0 5 - 500 acme", b"no record"]
    assert {(letter.key, letter.reason) for letter in letters} == {(("acme",), "unreadable record")}
    check_queue(client, engine.prefix, "celery")


def test_a_lease_passes_over_so_many_keys_of_a_damaged_index_and_comes_back_for_more(
    engine: RedisEngine, client: redis.Redis
) -> None:
    engine.enqueue(entries(1))
    (index,) = client.keys(f"{engine.prefix}{{celery}}:index:*")
    strays = {f"0{number:016d}stray-{number}": -1 for number in range(ACTIVATION_BUDGET + 1)}
    client.zadd(index, strays)
    first = engine.lease("w", ["celery"], 1)
    assert (first.leases, first.has_more) == ((), True)
    (lease,) = engine.lease("w", ["celery"], 1).leases
    assert lease.entry_id == "0"


# -- connections --------------------------------------------------------------


def test_every_form_of_address_leads_to_the_same_store(own_redis: RedisServer) -> None:
    path, port = own_redis.socket_path, own_redis.port
    stores: list[Any] = [
        f"redis://127.0.0.1:{port}/3",
        redis.Redis(host="127.0.0.1", port=port, db=3),
    ]
    # Before, redis-py cannot connect to any unix socket.
    if redis.VERSION >= (4, 5, 4):
        stores += [
            f"unix://{path}?db=3",
            f"redis+socket://{path}?virtual_host=3",
            redis.Redis(unix_socket_path=path, db=3, decode_responses=True),
        ]
    # Before, it knows no other protocol than 2.
    if redis.VERSION >= (5, 0):
        third = f"redis://127.0.0.1:{port}/3?protocol=3"
        stores.append(redis.Redis.from_url(third, decode_responses=True))
    for number, store in enumerate(stores):
        engine = RedisEngine(store)
        engine.enqueue([replace(ENTRY, entry_id=str(number))])
        assert engine.snapshot("celery").waiting == number + 1
        engine.close()


def test_a_clients_own_connections_are_left_alone(redis_url: str, redis_prefix: str) -> None:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    engine = RedisEngine(client, prefix=redis_prefix)
    engine.enqueue([ENTRY])
    engine.close()
    client.set(f"{redis_prefix}text", "é")
    assert client.get(f"{redis_prefix}text") == "é"
    client.close()


@pytest.mark.parametrize("store", ["amqp://localhost", "redis+socket://", 7, None])
def test_what_is_no_redis_is_refused(store: Any) -> None:
    with pytest.raises(ConfigurationError):
        RedisEngine(store)


def test_an_option_that_redis_py_does_not_know_is_refused_by_name(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="ssl_ca_cret"):
        RedisEngine(redis_url, connection_kwargs={"ssl_ca_cret": "x"})


def test_tls_verifies_the_servers_certificate(tls_redis: RedisServer, redis_prefix: str) -> None:
    assert tls_redis.certificates is not None
    trusting = {"ssl_ca_certs": str(tls_redis.certificates.ca)}
    engine = RedisEngine(tls_redis.url, prefix=redis_prefix, connection_kwargs=trusting)
    assert engine.enqueue([ENTRY]).stored == 1
    engine.close()
    stranger = RedisEngine(tls_redis.url, prefix=redis_prefix)
    with pytest.raises(StoreUnavailableError, match=r"(?i)certificate"):
        stranger.enqueue([ENTRY])
    stranger.close()


def test_threads_that_share_an_engine_lease_every_entry_once(engine: RedisEngine) -> None:
    engine.enqueue(entries(300))
    found: list[str] = []

    def work(worker: str) -> None:
        while leases := engine.lease(worker, ["celery"], 7).leases:
            found.extend(lease.entry_id for lease in leases)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(str(number) for number in range(300))


def test_a_waiter_is_woken_by_an_entry_and_stops_nobody_meanwhile(
    engine: RedisEngine, client: redis.Redis
) -> None:
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(engine.wait(["celery"], 30)))
    waiter.start()
    eventually(lambda: client.info("clients")["blocked_clients"], 10, "the waiter blocks")
    engine.enqueue([ENTRY])
    waiter.join(10)
    assert woken == [True]


def test_a_forked_child_uses_connections_of_its_own(engine: RedisEngine) -> None:
    engine.enqueue(entries(50))
    engine.wait(["celery"], 1)
    engine.wake(["celery"])
    child = os.fork()
    if not child:
        is_right = True
        try:
            is_right &= engine.wait(["celery"], 1)
            for number in range(50):
                is_right &= engine.cancel("celery", str(number)) == b"message"
        except BaseException:
            is_right = False
        finally:
            os._exit(0 if is_right else 1)
    for _ in range(50):
        assert engine.queues() == {"celery"}
        assert engine.heartbeat("nobody") is False
    assert os.waitpid(child, 0)[1] == 0
    assert engine.snapshot("celery").waiting == 0


# -- keys ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a b", "{x}", "*[a]?", "new\nline", "nul\0", "é\u2028", "x" * 512]
)
def test_any_text_may_be_a_key_a_queue_a_worker_or_an_id(
    name: str, engine: RedisEngine, client: redis.Redis
) -> None:
    worker = f"worker {name}"
    entry = Entry(name, (name,), name, name.encode(), due_in_us=0)
    engine.enqueue([entry, replace(entry, entry_id=name + "2", due_in_us=10**9)])
    assert engine.enqueue([entry]).taken == (name,)
    (lease,) = engine.lease(worker, [name], 9).leases
    assert (lease.entry_id, lease.key, lease.message) == (name, (name,), name.encode())
    assert engine.held(worker) == {(name, name, 1)}
    engine.settle(worker, [Outcome(OutcomeKind.DEAD, name, name, 1, reason=name)])
    assert engine.dead_letters(name)[0].reason == name
    assert [key.key for key in engine.keys(name)[1]] == [(name,)]
    assert engine.pending(name, (name,)) == ((name + "2", name.encode()),)
    assert engine.queues() == {name}
    assert engine.heartbeat(worker)


def test_engines_of_two_prefixes_do_not_meet(redis_url: str, redis_prefix: str) -> None:
    one, other = (RedisEngine(redis_url, prefix=f"{redis_prefix}{n}:") for n in (1, 2))
    one.enqueue([ENTRY])
    assert other.queues() == frozenset()
    assert other.lease("w", ["celery"], 1).leases == ()
    one.close()
    other.close()


def test_nothing_is_left_of_a_queue_but_counters_when_all_is_done(
    redis_url: str, redis_prefix: str, client: redis.Redis
) -> None:
    engine = RedisEngine(redis_url, prefix=redis_prefix, settings=EngineSettings(idle_key_us=1))
    engine.enqueue(entries(20), now_us=0)
    leases = engine.lease("w", ["celery"], 20, now_us=0).leases
    done = [Outcome(OutcomeKind.COMPLETED, lq.queue, lq.entry_id, lq.number) for lq in leases]
    engine.settle("w", done, now_us=1)
    for second in range(0, 100, 9):
        engine.reap(100, now_us=second * 1_000_000)
    names = {
        name.decode().removeprefix(redis_prefix) for name in client.scan_iter(f"{redis_prefix}*")
    }
    assert names == {"queues", "turn", "reaping", "{celery}:tree", "{celery}:wake"}
    engine.close()

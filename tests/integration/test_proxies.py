"""The proxy that other tests cut wires with does what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.proxies import Fault, Point, Proxy, amqp_message, redis_message


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    """A client through the proxy that repeats nothing by itself."""
    never = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(proxy.url, retry=never, socket_timeout=20) as client:
        yield client


@pytest.fixture
def direct(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as direct:
        yield direct


@pytest.fixture
def key(redis_prefix: str) -> str:
    return f"{redis_prefix}proxied"


@pytest.mark.parametrize(
    "point, is_done",
    [
        (Point.BEFORE_REQUEST, False),
        (Point.IN_REQUEST, False),
        (Point.BEFORE_REPLY, True),
        (Point.IN_REPLY, True),
    ],
)
def test_a_fault_cuts_the_request_off_where_it_says(
    proxy: Proxy,
    client: redis.Redis,
    direct: redis.Redis,
    key: str,
    point: Point,
    is_done: bool,
) -> None:
    client.set(key, "0123456789" * 20_000)
    fault = proxy.arm(Fault(point, matching=b"APPEND"))
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        client.append(key, "x")
    assert fault.happened.wait(20)
    assert (direct.strlen(key) > 200_000) is is_done
    assert client.get(key) == direct.get(key), "the next connection is whole"


def test_a_late_request_arrives_when_it_is_delivered(
    proxy: Proxy, client: redis.Redis, direct: redis.Redis, key: str
) -> None:
    fault = proxy.arm(Fault(Point.LATE_REQUEST, matching=b"INCR", skipping=1))
    assert client.incr(key) == 1
    with pytest.raises(redis.ConnectionError):
        client.incr(key)
    assert client.incr(key) == 2
    assert direct.get(key) == b"2"
    assert fault.deliver() == b":3\r\n"
    assert direct.get(key) == b"3"


def test_no_fault_happens_to_what_is_on_a_connection_that_was_cut(
    redis_url: str, direct: redis.Redis, key: str
) -> None:
    cuts: list[int] = []

    def cut_first(received: bytes) -> int:
        end = redis_message(received)
        if b"INCR" in received[:end] and not cuts:
            cuts.append(proxy.cut())
        return end

    never = Retry(NoBackoff(), 0)
    with (
        Proxy(redis_url, cut_first) as proxy,
        redis.Redis.from_url(proxy.url, retry=never, socket_timeout=20) as client,
    ):
        fault = proxy.arm(Fault(Point.LATE_REQUEST, matching=b"INCR"))
        for is_late in (False, True):
            with pytest.raises(redis.ConnectionError):
                client.incr(key)
            assert fault.happened.is_set() is is_late
        assert not direct.exists(key)
        assert fault.deliver() == b":1\r\n"


def test_what_happens_in_between_happens_after_the_server_and_before_the_client(
    proxy: Proxy, client: redis.Redis, direct: redis.Redis, key: str
) -> None:
    seen: list[object] = []
    proxy.arm(Fault(Point.BEFORE_REPLY, b"INCR", then=lambda: seen.append(direct.get(key))))
    with pytest.raises(redis.ConnectionError):
        client.incr(key)
    assert seen == [b"1"]


def test_a_refused_request_is_not_done_and_its_reply_comes_in_its_place(
    proxy: Proxy, client: redis.Redis, direct: redis.Redis, key: str
) -> None:
    refused = proxy.arm(Fault(Point.REFUSED, b"LPUSH", reply=b"-OOM no\r\n"))
    with client.pipeline(transaction=False) as pipe:
        pipe.set(key, "0123456789" * 20_000).get(key).lpush(f"{key}2", "x").strlen(key)
        *before, error, after = pipe.execute(raise_on_error=False)
    assert refused.happened.is_set()
    assert isinstance(error, redis.ResponseError)
    assert [before[0], len(before[1]), after] == [True, 200_000, 200_000]
    assert not direct.exists(f"{key}2")
    assert client.ping()
    assert proxy.accepted == 1


def test_a_request_without_a_reply_is_done_and_its_connection_stays_mute(
    proxy: Proxy, direct: redis.Redis, key: str
) -> None:
    never = Retry(NoBackoff(), 0)
    with redis.Redis.from_url(proxy.url, retry=never, socket_timeout=0.2) as client:
        unheard = proxy.arm(Fault(Point.NO_REPLY, b"INCR"))
        with pytest.raises(redis.TimeoutError):
            client.incr(key)
        assert unheard.happened.is_set()
        assert direct.get(key) == b"1"
        assert client.incr(key) == 2


def test_a_cut_connection_is_made_anew_and_a_refused_one_is_not(
    proxy: Proxy, client: redis.Redis
) -> None:
    client.ping()
    assert proxy.cut() == 1
    client.ping()  # redis-py looks whether a connection still stands
    assert proxy.accepted == 2
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    proxy.admit()
    assert client.ping()


def test_what_is_held_arrives_when_released(
    proxy: Proxy, client: redis.Redis, direct: redis.Redis, key: str
) -> None:
    client.ping()
    proxy.hold()
    replies: list[object] = []
    waiting = threading.Thread(target=lambda: replies.append(client.incr(key)))
    waiting.start()
    waiting.join(0.1)
    assert not direct.exists(key)
    proxy.release()
    waiting.join(20)
    assert replies == [1]


def test_a_publish_to_rabbitmq_is_cut_off_before_its_body(rabbitmq_url: str) -> None:
    with Proxy(rabbitmq_url) as proxy, Connection(rabbitmq_url) as direct:
        with Connection(proxy.url) as connection:
            queue = connection.SimpleQueue("proxied")
            queue.put("passes")
            fault = proxy.arm(Fault(Point.BEFORE_REQUEST, matching=b"is cut off"))
            queue.put("is cut off")  # an unconfirmed publish waits for nothing
            with pytest.raises((OSError, OperationalError)):
                queue.channel.queue_declare(passive=True, queue="proxied")
            assert fault.happened.wait(20)
        with direct.SimpleQueue("proxied") as queue:
            assert queue.get(timeout=20).payload == "passes"
            assert queue.qsize() == 0
            queue.clear()


@pytest.mark.parametrize(
    "whole",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"*-1\r\n",
        b"*2\r\n$4\r\nPI\r\n\r\n*1\r\n:5\r\n",
        b"%1\r\n+a\r\n~2\r\n#t\r\n_\r\n",
    ],
)
def test_a_message_of_redis_ends_where_it_ends(whole: bytes) -> None:
    assert redis_message(whole + b"+rest") == len(whole)
    assert [redis_message(whole[:end]) for end in range(len(whole))] == [0] * len(whole)


@pytest.mark.parametrize("whole", [b"AMQP\0\0\x09\x01", b"\x01\0\x01\0\0\0\x04four\xce"])
def test_a_message_of_amqp_ends_where_it_ends(whole: bytes) -> None:
    assert amqp_message(whole + b"\x08\0") == len(whole)
    assert [amqp_message(whole[:end]) for end in range(len(whole))] == [0] * len(whole)

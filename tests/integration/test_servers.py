"""The servers that other tests lean on are what they say they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from kombu import Connection

from tests.sentinels import SentinelServers
from tests.servers import RedisServer, make_certificates


def test_a_client_that_trusts_the_authority_talks_to_redis_over_tls(tls_redis: RedisServer) -> None:
    assert tls_redis.certificates is not None
    with redis.Redis.from_url(tls_redis.url, ssl_ca_certs=str(tls_redis.certificates.ca)) as client:
        assert client.ping()


def test_a_client_that_does_not_trust_the_authority_is_refused(tls_redis: RedisServer) -> None:
    with (
        redis.Redis.from_url(tls_redis.url) as client,
        pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"),
    ):
        client.ping()


def test_a_message_put_into_the_private_rabbitmq_comes_out_again(rabbitmq_url: str) -> None:
    with Connection(rabbitmq_url) as connection, connection.SimpleQueue("round-trip") as queue:
        queue.put("there and back")
        message = queue.get(timeout=10)
        assert message.payload == "there and back"
        message.ack()


def test_a_redis_of_ones_own_keeps_what_it_stored_when_it_is_killed(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("kept", "yes")
    own_redis.kill()
    own_redis.start()
    with own_redis.client() as client:
        assert client.get("kept") == b"yes"


def test_sentinels_behind_passwords_and_tls_fail_over(tmp_path: Path) -> None:
    guarded = SentinelServers(
        password="data", sentinel_password="watch", certificates=make_certificates(tmp_path)
    )
    with guarded as servers:
        before = servers.master
        servers.fail_over()
        assert servers.master is not before

"""A store behind TLS is verified, with the certificates of whoever names them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import OperationalError

from celery_ranch import Ranch, lru_task
from tests.servers import RedisServer


def publish(app: Celery) -> int:
    """Publish one task, return how many wait."""

    @lru_task(app, name="render", shared=False)
    def render() -> None: ...

    render.apply_async(lru_key="acme", retry=False)
    (snapshot,) = Ranch(app).status()
    return snapshot.waiting


def ca_of(server: RedisServer) -> str:
    assert server.certificates is not None
    return str(server.certificates.ca)


def app_with(broker: str, prefix: str, settings: dict[str, Any], **conf: Any) -> Celery:
    app = Celery("tls", broker=broker, set_as_current=False)
    app.conf.update(conf)
    app.conf.celery_ranch = {"redis_prefix": prefix, **settings}
    return app


def test_a_dict_gives_the_authority(tls_redis: RedisServer, redis_prefix: str) -> None:
    settings = {"url": tls_redis.url, "redis_use_ssl": {"ssl_ca_certs": ca_of(tls_redis)}}
    assert publish(app_with("memory://", redis_prefix, settings)) == 1


def test_true_verifies_with_the_broker_s_authority(
    tls_redis: RedisServer, redis_prefix: str
) -> None:
    certificates = {"ssl_ca_certs": ca_of(tls_redis), "ssl_cert_reqs": "CERT_NONE"}
    app = app_with(
        tls_redis.url, redis_prefix, {"redis_use_ssl": True}, broker_use_ssl=certificates
    )
    assert publish(app) == 1


def test_the_broker_s_certificates_are_used_without_any_setting(
    tls_redis: RedisServer, redis_prefix: str
) -> None:
    certificates = {"ssl_ca_certs": ca_of(tls_redis), "ssl_cert_reqs": "required"}
    assert publish(app_with(tls_redis.url, redis_prefix, {}, broker_use_ssl=certificates)) == 1


def test_a_certificate_of_an_unknown_authority_is_refused(
    tls_redis: RedisServer, redis_prefix: str
) -> None:
    app = app_with("memory://", redis_prefix, {"url": tls_redis.url, "redis_use_ssl": True})
    with pytest.raises(OperationalError, match=r"(?i)certificate"):
        publish(app)


def test_verification_can_be_turned_off_in_a_dict(
    tls_redis: RedisServer, redis_prefix: str
) -> None:
    settings = {"url": tls_redis.url, "redis_use_ssl": {"ssl_cert_reqs": "CERT_NONE"}}
    assert publish(app_with("memory://", redis_prefix, settings)) == 1

"""What an application's broker and result backend are as stores of entries."""

from __future__ import annotations

from urllib.parse import quote

from celery import Celery

from celery_ranch.engines.opening import StoreOffer

__all__ = ["backend_offer", "broker_offer"]


def broker_offer(app: Celery) -> StoreOffer:
    """Return the broker as a store, as far as it is a Redis."""
    connection = app.connection_for_write()
    transport = connection.transport_cls
    if transport == "sentinel":
        return StoreOffer("sentinel://")
    if transport not in ("redis", "rediss"):
        return StoreOffer(None)
    options = connection.transport_options or {}
    use_ssl = connection.ssl or False
    if "://" in (connection.hostname or ""):
        url = f"redis+{connection.hostname}"
    else:
        login = ""
        if connection.userid or connection.password:
            userid, password = connection.userid or "", connection.password or ""
            login = f"{quote(userid, safe='')}:{quote(password, safe='')}@"
        scheme = "rediss" if use_ssl else transport
        host = connection.hostname or "localhost"
        host = f"[{host}]" if ":" in host else host
        port, database = connection.port or 6379, (connection.virtual_host or "0").strip("/")
        url = f"{scheme}://{login}{host}:{port}/{database or 0}"
    return StoreOffer(url, use_ssl, options, options.get("global_keyprefix") or "")


def backend_offer(app: Celery) -> StoreOffer:
    """Return the result backend as a store, as far as it is a Redis."""
    url = app.conf.result_backend
    if not isinstance(url, str) or url.partition("://")[0] not in (
        "redis",
        "rediss",
        "redis+socket",
        "socket",
        "sentinel",
    ):
        return StoreOffer(None)
    options = app.conf.result_backend_transport_options or {}
    return StoreOffer(
        url,
        app.conf.redis_backend_use_ssl or False,
        key_prefix=options.get("global_keyprefix") or "",
    )

"""What an application's broker and result backend are as stores of entries."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from celery import Celery

from celery_ranch.engines.opening import StoreOffer

__all__ = ["backend_offer", "broker_offer"]

#: What Celery's Redis backend is told of sentinels; its other options are its own.
_SENTINEL_OPTIONS = ("master_name", "sentinel_kwargs", "min_other_sentinels")


def broker_offer(app: Celery) -> StoreOffer:
    """Return the broker as a store, as far as it is a Redis."""
    connection = app.connection_for_write()
    transport = connection.transport_cls
    if transport not in ("redis", "rediss", "sentinel"):
        return StoreOffer(None)
    options = connection.transport_options or {}
    use_ssl = connection.ssl or False
    if transport == "sentinel":
        # The first is where the connection begins; the others are as they were written.
        url = ";".join([_url("sentinel", connection, 26379), *connection.alt[1:]])
    elif "://" in (connection.hostname or ""):
        url = f"redis+{connection.hostname}"
    else:
        url = _url("rediss" if use_ssl else transport, connection, 6379)
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
        {name: options[name] for name in _SENTINEL_OPTIONS if name in options},
        options.get("global_keyprefix") or "",
    )


def _url(scheme: str, connection: Any, usual_port: int) -> str:
    login = ""
    if connection.userid or connection.password:
        userid, password = connection.userid or "", connection.password or ""
        login = f"{quote(userid, safe='')}:{quote(password, safe='')}@"
    host = connection.hostname or "localhost"
    host = f"[{host}]" if ":" in host else host
    database = (connection.virtual_host or "0").strip("/")
    return f"{scheme}://{login}{host}:{connection.port or usual_port}/{database or 0}"

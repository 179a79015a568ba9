"""Where entries are stored, and the engine that stores them there.

The first of these that applies: the storage given to `configure` · the `url`
setting · the broker's Redis · the result backend's Redis · this process's
memory. A choice is made from plain values; `ranch` collects them from the
application.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery_ranch.config import Settings
from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.sentinel_store import SENTINEL_SCHEME, SentinelStore
from celery_ranch.errors import ConfigurationError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import WHOLE_CREDIT, EngineSettings

__all__ = ["RedisStorage", "Store", "StoreOffer", "choose_store", "open_engine"]

_PREFIX = "celery_ranch:"
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix", "redis+socket", "socket"})
_TLS_SCHEMES = {"redis": "rediss", "rediss": "rediss"}
_ALLOWED_URLS = (
    "a redis://, rediss://, sentinel://, unix://, redis+socket://, embedded:// or memory:// URL"
)

#: What kombu's and Celery's Redis transports take that redis-py takes as well.
_TIMING_OPTIONS = (
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
    "client_name",
)
_NO = frozenset({"0", "F", "FALSE", "N", "NO"})
_CERT_REQS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}


@dataclass(frozen=True, slots=True)
class RedisStorage:
    """A Redis to store entries in, for `configure(storage=...)`.

    Args:
        redis_client: A `redis.Redis`, or a URL; a client tells only where
            the server is and how to log in, connections are the engine's own.
        prefix: What the names of all keys in Redis begin with.
    """

    redis_client: Any
    prefix: str = _PREFIX


@dataclass(frozen=True, slots=True)
class StoreOffer:
    """A Redis that the application has for another purpose."""

    url: str | None
    """A URL without TLS settings; None if it is not Redis."""
    use_ssl: bool | Mapping[str, Any] = False
    """True, or a dict of certificates as Celery takes it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Connection options as redis-py names them; others are left out."""
    key_prefix: str = ""
    """What Celery puts before its own keys there."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where entries are stored, and how to get there."""

    place: Any
    """A URL, a `redis.Redis` or a `SentinelStore`; None for this process's memory."""
    prefix: str = _PREFIX
    options: Mapping[str, Any] = field(default_factory=dict)
    """Connection options as redis-py names them."""
    is_fallback: bool = False
    """Nobody chose this process's memory; there was nothing else."""


def choose_store(
    settings: Settings, broker: StoreOffer, backend: StoreOffer, storage: Any = None
) -> Store:
    """Return where entries are stored.

    Args:
        settings: The application's settings.
        broker: Its broker, as far as that is a Redis.
        backend: Its result backend, likewise.
        storage: What was given to `configure`: a `RedisStorage`, a
            `redis.Redis` or a URL.

    Raises:
        ConfigurationError: The storage or URL is of no known kind, or TLS is
            asked for where there is none.
    """
    prefix = (broker.key_prefix or backend.key_prefix) + settings.redis_prefix
    if isinstance(storage, RedisStorage):
        if not isinstance(storage.redis_client, str):
            return Store(storage.redis_client, storage.prefix)
        return _at_url(storage.redis_client, storage.prefix, settings, StoreOffer(None))
    if storage is not None:
        if not isinstance(storage, str):
            return Store(storage, prefix)
        return _at_url(storage, prefix, settings, StoreOffer(None))
    if settings.url is not None:
        is_tls = bool(settings.redis_use_ssl) or _scheme(settings.url) == "rediss"
        certificates = StoreOffer(None, use_ssl=broker.use_ssl if is_tls else False)
        return _at_url(settings.url, prefix, settings, certificates)
    for offer in (broker, backend):
        if offer.url is not None:
            return _at_url(offer.url, prefix, settings, offer)
    return Store(None, prefix, is_fallback=True)


def open_engine(store: Store, settings: Settings) -> Engine:
    """Return a new engine on a store.

    Raises:
        ConfigurationError: The store is of no known kind, or redis-py is not
            installed.
        StoreUnavailableError: An embedded server does not start.
    """
    engine_settings = EngineSettings(
        lease_us=round(settings.lease_seconds * 1_000_000),
        max_deliveries=settings.max_deliveries,
        dead_letter_limit=settings.dead_letter_limit,
        idle_key_us=settings.redis_key_ttl * 1_000_000,
        level_floor=int(settings.level_floor * WHOLE_CREDIT),
    )
    if store.place is None:
        return MemoryEngine(engine_settings)
    try:
        # redis-py is an extra: without it entries stay in memory.
        from celery_ranch.engines.redis import RedisEngine
    except ImportError as error:
        raise ConfigurationError(
            "the store", store.place, "a Redis store where celery-ranch[redis] is installed"
        ) from error
    place = store.place
    if isinstance(place, str) and _scheme(place) == "embedded":
        from celery_ranch.engines.embedded import embedded_path, embedded_urls

        place = embedded_urls(embedded_path(place)).store
    return RedisEngine(
        place,
        prefix=store.prefix,
        settings=engine_settings,
        connection_kwargs=dict(store.options),
    )


def _scheme(url: str | None) -> str:
    return urlsplit(url).scheme if url else ""


def _at_url(url: str, prefix: str, settings: Settings, offer: StoreOffer) -> Store:
    scheme = _scheme(url)
    if scheme == "memory":
        return Store(None, prefix)
    if scheme == "embedded":
        return Store(url, prefix)
    if scheme == SENTINEL_SCHEME:
        return _watched(url, prefix, settings, offer)
    if scheme not in _REDIS_SCHEMES:
        raise ConfigurationError("celery_ranch['url']", url, _ALLOWED_URLS)
    url, options = _without_certificates(url)
    options.update(_timing(offer))
    use_ssl = settings.redis_use_ssl or offer.use_ssl
    if not use_ssl and scheme != "rediss":
        return Store(url, prefix, options)
    if scheme not in _TLS_SCHEMES:
        if settings.redis_use_ssl:
            raise ConfigurationError(
                "celery_ranch['redis_use_ssl']", settings.redis_use_ssl, f"False over {scheme}://"
            )
        return Store(url, prefix, options)
    options.update(_certificates(settings.redis_use_ssl, offer.use_ssl))
    _check_name(options, settings, offer)
    return Store(_TLS_SCHEMES[scheme] + url[len(scheme) :], prefix, options)


def _watched(url: str, prefix: str, settings: Settings, offer: StoreOffer) -> Store:
    master = settings.sentinel_master or offer.options.get("master_name")
    if master is None:
        raise ConfigurationError(
            "celery_ranch['sentinel_master']", None, "the name that the sentinels know it by"
        )
    sentinel_options = settings.sentinel_kwargs
    if sentinel_options is None:
        sentinel_options = offer.options.get("sentinel_kwargs") or {}
    is_tls = bool(settings.redis_use_ssl or offer.use_ssl)
    least = offer.options.get("min_other_sentinels") or 0
    place = SentinelStore.from_url(url, master, sentinel_options, least, is_tls)
    options = _timing(offer)
    if is_tls:
        options.update(_certificates(settings.redis_use_ssl, offer.use_ssl))
        _check_name(options, settings, offer)
    return Store(place, prefix, options)


def _timing(offer: StoreOffer) -> dict[str, Any]:
    return {k: v for k, v in offer.options.items() if k in _TIMING_OPTIONS and v is not None}


def _certificates(ours: bool | Mapping[str, Any], offered: Any) -> dict[str, Any]:
    """Return the TLS options: a dict of ours alone, else the broker's."""
    if isinstance(ours, Mapping):
        return {name: _certificate_option(name, value) for name, value in ours.items()}
    options = {}
    if isinstance(offered, Mapping):
        options = {name: _certificate_option(name, value) for name, value in offered.items()}
    if ours:
        options.update(ssl_cert_reqs="required", ssl_check_hostname=True)
    return options


def _check_name(options: dict[str, Any], settings: Settings, offer: StoreOffer) -> None:
    """Have the name in a certificate verified too, which redis-py does only since 6.0.

    What the broker or result backend is reached by stays as Celery has it.
    """
    is_ours = settings.redis_use_ssl or (offer.url is None and not offer.use_ssl)
    is_verified = options.get("ssl_cert_reqs", "required") in ("required", ssl.CERT_REQUIRED)
    if is_ours and is_verified:
        options.setdefault("ssl_check_hostname", True)


def _certificate_option(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name == "ssl_check_hostname":  # in a URL, where redis-py reads it like this
        return value.upper() not in _NO
    return _CERT_REQS.get(value, value)


def _without_certificates(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL without its ``ssl_`` arguments, and those as options.

    Celery writes ``ssl_cert_reqs=CERT_NONE`` where redis-py reads ``none``.
    """
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    options = {k: _certificate_option(k, v) for k, v in given if k.startswith("ssl_")}
    if not options:
        return url, {}
    kept = urlencode([(k, v) for k, v in given if not k.startswith("ssl_")])
    return urlunsplit(parts._replace(query=kept)), options

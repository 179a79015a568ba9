"""A Redis that sentinels watch, as it is named; redis-py is not needed to say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from celery_ranch.errors import ConfigurationError

__all__ = ["SENTINEL_SCHEME", "SentinelStore"]

SENTINEL_SCHEME = "sentinel"

_USUAL_PORT = 26379
_ALLOWED_URL = "sentinel://[[user]:password@]host[:port][/database];sentinel://host[:port]..."


@dataclass(frozen=True, slots=True)
class SentinelStore:
    """A Redis that sentinels watch, and how to reach those and it."""

    sentinels: tuple[tuple[str, int], ...]
    """Host and port of each sentinel, asked in this order."""
    master: str
    """The name they know the master by."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Database, user and password of the master, as redis-py names them."""
    sentinel_options: Mapping[str, Any] = field(default_factory=dict)
    """The sentinels' own connection options, as `redis.Redis` takes them."""
    min_other_sentinels: int = 0
    """How many others a sentinel must see to be believed."""
    is_tls: bool = False
    """Whether the master speaks TLS."""

    @classmethod
    def from_url(
        cls,
        url: str,
        master: str,
        sentinel_options: Mapping[str, Any],
        min_other_sentinels: int = 0,
        is_tls: bool = False,
    ) -> SentinelStore:
        """Return the store at a URL as Celery writes it.

        Database, user and password are those of the first sentinel's URL.

        Raises:
            ConfigurationError: The URL is of another form.
        """
        addresses: list[tuple[str, int]] = []
        options: dict[str, Any] = {}
        for place, text in enumerate(url.split(";")):
            try:
                parts = urlsplit(text)
                address = (parts.hostname or "localhost", parts.port or _USUAL_PORT)
            except ValueError:
                raise ConfigurationError("url", url, _ALLOWED_URL) from None
            database = parts.path.strip("/")
            is_plain = (database or "0").isdecimal() and not parts.query
            if parts.scheme != SENTINEL_SCHEME or not is_plain:
                raise ConfigurationError("url", url, _ALLOWED_URL)
            addresses.append(address)
            if place == 0:
                login = {"username": parts.username, "password": parts.password}
                options = {name: unquote(text) for name, text in login.items() if text}
                options["db"] = int(database or 0)
        return cls(tuple(addresses), master, options, sentinel_options, min_other_sentinels, is_tls)

"""Connections to a Redis store: from a URL or a client, always the same kind.

Every connection speaks RESP2 and bytes, repeats nothing by itself and listens
to no notifications, whatever redis-py's defaults are in the installed version.
"""

from __future__ import annotations

import inspect
import os
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakSet

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from celery_ranch.engines.sentinel import (
    FoundBySentinels,
    MasterConnection,
    MasterTlsConnection,
    store_of_pool,
)
from celery_ranch.engines.sentinel_store import SentinelStore
from celery_ranch.errors import ConfigurationError, StoreError, StoreUnavailableError

__all__ = ["Connections", "ServerFacts", "packed_command", "still_stands", "store_error"]

RedisConnection: TypeAlias = Any
"""A `redis.Connection` or one of its siblings; their common class has no public name."""

#: What is taken over from a client's pool: where the server is and how it is
#: spoken to, but nothing that is bound to the pool or the user's replies.
_TAKEN_OVER = frozenset(
    {
        "client_name",
        "credential_provider",
        "db",
        "host",
        "password",
        "path",
        "port",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_timeout",
        "socket_type",
        "username",
    }
)

#: How much longer than asked for a blocking command may take to reply.
_REPLY_SECONDS = 10.0
#: A connection used within this time is not looked at before it is used again.
_TRUSTED_SECONDS = 1.0
_USUAL_SECONDS = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0}
_OLDEST_VERSION = (6, 2)
_SCHEMES = "redis://, rediss://, unix:// or redis+socket://"

#: What a server replies that cannot serve now, and did nothing: it became a
#: replica, has lost its own, is loading, or runs somebody's endless script.
#: Redis 6.2 says it of a script in the middle of a sentence; redis-py cuts the
#: words off that it has a class for.
_AWAY = re.compile(r"\b(READONLY|LOADING|BUSY|MASTERDOWN|UNBLOCKED|NOREPLICAS)\b")
_AWAY_ERRORS = (redis.exceptions.ReadOnlyError, redis.exceptions.MasterDownError)


def store_error(error: BaseException) -> StoreError:
    """Return what an error of redis-py or of the system is to our callers."""
    reason = str(error) or type(error).__name__
    if isinstance(error, AuthenticationError):
        return StoreError(reason)
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return StoreUnavailableError(reason)
    if isinstance(error, _AWAY_ERRORS) or _AWAY.search(reason):
        return StoreUnavailableError(reason)
    return StoreError(reason)


def packed_command(command: tuple[bytes | str | int, ...]) -> bytes:
    r"""Return a command as it is sent, in RESP2.

    redis-py, without hiredis, does the same in more than twice the time,
    which shows in a batch of 1,000 entries: that has 6,000 arguments.

    Example:
        >>> packed_command(("GET", b"a", 1))
        b'*3\r\n$3\r\nGET\r\n$1\r\na\r\n$1\r\n1\r\n'
    """
    parts: list[bytes | int] = [len(command)]
    for value in command:
        # Ids that are no text in a damaged store come and go as what they are.
        written = (
            value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        )
        parts += (len(written), written)
    return (b"*%d\r\n" + b"$%d\r\n%b\r\n" * len(command)) % tuple(parts)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a store's server says about itself."""

    version: tuple[int, ...]
    """The Redis version; Valkey names the one it is compatible with."""
    maxmemory_policy: str
    """Empty if the server does not tell."""


class Connections:
    """Makes connections to one store; usable from all threads, also after a fork.

    Args:
        store: A URL, a `redis.Redis` whose address and credentials to use, or
            a `SentinelStore`.
        options: More arguments for redis-py's connection, such as
            `ssl_ca_certs` or `socket_timeout` (seconds).

    Raises:
        ConfigurationError: The store is neither, or an option is unknown.
    """

    def __init__(self, store: Any, options: Mapping[str, Any]) -> None:
        if isinstance(store, str):
            self._class, found = _from_url(store)
        elif isinstance(store, redis.Redis):
            self._class, found = _from_client(store)
        elif isinstance(store, SentinelStore):
            self._class, found = _from_sentinels(store)
        else:
            raise ConfigurationError("url", store, f"{_SCHEMES} or a redis.Redis client")
        known = _parameters(self._class)
        for name in options:
            if name not in known:
                allowed = f"what redis-py's {self._class.__name__} takes; it takes no {name}"
                raise ConfigurationError(f"connection option {name}", options[name], allowed)
        usual = {k: v for k, v in _USUAL_SECONDS.items() if k in known}
        self._options: dict[str, Any] = {**usual, **found, **options, **_always(known)}
        self._free: deque[tuple[float, RedisConnection]] = deque()
        self._pid = os.getpid()
        self._waiting = threading.local()
        self._lock = threading.Lock()
        self._waiters: WeakSet[RedisConnection] = WeakSet()

    def open(self) -> RedisConnection:
        """Return a connection that nobody shares, not yet connected."""
        return self._class(**self._options)

    def run(self, command: tuple[Any, ...]) -> Any:
        """Send a command, return its reply as it is.

        Raises:
            StoreError, StoreUnavailableError: But for an unknown script,
                which is raised as redis-py does.
        """
        # redis-py's own client takes longer for this than Redis for the command.
        packed = packed_command(command)
        connection = self._take()
        try:
            connection.send_packed_command([packed])
            reply = connection.read_response()
        except redis.ResponseError as error:
            refused = store_error(error)
            if isinstance(refused, StoreUnavailableError):  # another server may be the master
                connection.disconnect()
                self._disconnect_free()
                raise refused from error
            self._free.append((time.monotonic(), connection))
            if isinstance(error, redis.exceptions.NoScriptError):
                raise
            raise refused from error
        except (RedisError, OSError) as error:
            connection.disconnect()
            self._disconnect_free()  # they are probably as dead as this one
            raise store_error(error) from error
        except BaseException:  # a reply that nobody reads must not meet the next command
            connection.disconnect()
            raise
        self._free.append((time.monotonic(), connection))
        return reply

    def block(self, command: tuple[Any, ...], seconds: float) -> Any:
        """Send a command that takes up to `seconds` to reply, on the thread's own connection.

        Raises:
            StoreError, StoreUnavailableError: As `run`.
        """
        connection = self._own()
        if not still_stands(connection):  # the store was away while nobody waited
            connection.disconnect()
        try:
            connection.send_command(*command)
            if not connection.can_read(timeout=seconds + _REPLY_SECONDS):
                raise redis.TimeoutError("no reply to a blocking command")
            return connection.read_response()
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise store_error(error) from error
        except BaseException:
            connection.disconnect()
            raise

    def check_server(self) -> ServerFacts:
        """Return what the server says about itself.

        Raises:
            ConfigurationError: It is older than Redis 6.2.
            StoreError, StoreUnavailableError: It refused or is away.
        """
        said = _facts(self.run(("INFO", "server"))) | _facts(self.run(("INFO", "memory")))
        version = said.get("redis_version", "")
        numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
        if numbers < _OLDEST_VERSION:
            raise ConfigurationError("url", f"a Redis {version}", "Redis 6.2, Valkey 7.2 or newer")
        return ServerFacts(numbers, said.get("maxmemory_policy", ""))

    def close(self) -> None:
        """Disconnect; a later call connects again."""
        self._disconnect_free()
        with self._lock:
            waiters = list(self._waiters)
        for connection in waiters:
            connection.disconnect()

    def _take(self) -> RedisConnection:
        """Return a free connection, one that still stands, or a new one."""
        if self._pid != os.getpid():  # forked: the sockets are the parent's
            self._free, self._pid = deque(), os.getpid()
        try:
            used_at, connection = self._free.pop()
        except IndexError:
            return self.open()
        if time.monotonic() - used_at > _TRUSTED_SECONDS and not still_stands(connection):
            connection.disconnect()
        return connection

    def _disconnect_free(self) -> None:
        while self._free:
            try:
                _, connection = self._free.pop()
            except IndexError:
                return
            connection.disconnect()

    def _own(self) -> RedisConnection:
        if getattr(self._waiting, "pid", None) != os.getpid():
            connection = self.open()
            self._waiting.connection, self._waiting.pid = connection, os.getpid()
            with self._lock:
                self._waiters.add(connection)
        return self._waiting.connection


def _from_url(url: str) -> tuple[Any, dict[str, Any]]:
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":  # as kombu writes it
        query = parse_qs(parts.query)
        database = query.get("virtual_host", query.get("db", ["0"]))[0]
        if not database.isdecimal() or not parts.path:
            raise ConfigurationError("url", url, "redis+socket:///path?virtual_host=NUMBER")
        found = {"path": unquote(parts.path), "db": int(database)}
        if parts.password:
            found |= {"password": unquote(parts.password), "username": parts.username or None}
        return redis.UnixDomainSocketConnection, found
    try:
        pool = redis.ConnectionPool.from_url(url)
    except ValueError as error:
        raise ConfigurationError("url", url, _SCHEMES) from error
    return pool.connection_class, dict(pool.connection_kwargs)


def _from_client(client: Any) -> tuple[Any, dict[str, Any]]:
    pool = client.connection_pool
    found = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if value is not None and (name in _TAKEN_OVER or name.startswith("ssl_"))
    }
    if isinstance(pool, SentinelConnectionPool):
        return _from_sentinels(store_of_pool(pool, found))
    return pool.connection_class, found


def _from_sentinels(store: SentinelStore) -> tuple[Any, dict[str, Any]]:
    connection_class = MasterTlsConnection if store.is_tls else MasterConnection
    always = _always(_parameters(connection_class))
    return connection_class, {**store.options, "finder": FoundBySentinels(store, always)}


def still_stands(connection: RedisConnection) -> bool:
    """Return whether nothing came on an idle connection, its end neither."""
    try:
        return not connection.can_read(timeout=0)
    except (RedisError, OSError):
        return False


def _parameters(connection_class: Any) -> frozenset[str]:
    return frozenset(
        name
        for parent in connection_class.__mro__
        for name in inspect.signature(parent.__init__).parameters
    )


def _always(known: frozenset[str]) -> dict[str, Any]:
    """Return what no store may change, as far as this redis-py has it."""
    options = {
        "decode_responses": False,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "protocol": 2,
    }
    if "maint_notifications_config" in known:
        from redis.maint_notifications import MaintNotificationsConfig

        options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    return {name: value for name, value in options.items() if name in known}


def _facts(info: bytes) -> dict[str, str]:
    lines = (line.split(":", 1) for line in str(info, "utf-8").splitlines() if ":" in line)
    return dict(lines)

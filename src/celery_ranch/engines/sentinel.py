"""The master that sentinels name, asked for at every connection to it.

A failover is seen as a lost connection, or as a server that takes no writes:
whoever connects again comes to the new master.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from redis.exceptions import RedisError, ResponseError
from redis.sentinel import SentinelConnectionPool

from celery_ranch.engines.sentinel_store import SentinelStore
from celery_ranch.errors import ConfigurationError

__all__ = [
    "FoundBySentinels",
    "MasterConnection",
    "MasterTlsConnection",
    "store_of_pool",
]

#: How long one sentinel may take, in seconds; the next is asked after it.
_USUAL_SECONDS = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}


def store_of_pool(pool: SentinelConnectionPool, options: Mapping[str, Any]) -> SentinelStore:
    """Return the store of a client that `redis.sentinel.Sentinel.master_for` made.

    Args:
        pool: The client's connection pool.
        options: Database, user and password of the master, as redis-py names them.

    Raises:
        ConfigurationError: It is a client of replicas.
    """
    if not pool.is_master:
        raise ConfigurationError("url", pool, "a client made by Sentinel.master_for")
    manager = pool.sentinel_manager
    found = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    return SentinelStore(
        tuple((each["host"], each["port"]) for each in found),
        pool.service_name,
        options,
        manager.sentinel_kwargs,
        manager.min_other_sentinels,
        issubclass(pool.connection_class, redis.SSLConnection),
    )


class FoundBySentinels:
    """Finds the master that a connection is to go to.

    It shares nothing with anybody and takes no lock, so that every thread may
    ask, green or native, also after a fork.

    Args:
        store: Whom to ask, and for which master.
        always: Options of every connection of this process.

    Raises:
        ConfigurationError: A sentinel's option is unknown.
    """

    def __init__(self, store: SentinelStore, always: Mapping[str, Any]) -> None:
        self._store = store
        given = {k: v for k, v in store.sentinel_options.items() if v is not None}
        is_tls = given.pop("ssl", False)
        self._class: Any = redis.SSLConnection if is_tls else redis.Connection
        self._options = {**_USUAL_SECONDS, **given, **always}
        host, port = store.sentinels[0]
        try:
            self._class(host=host, port=port, **self._options)
        except TypeError as error:
            allowed = f"what redis-py's {self._class.__name__} takes ({error})"
            raise ConfigurationError("sentinel_kwargs", sorted(given), allowed) from None

    def find(self) -> tuple[str, int]:
        """Return host and port of the master.

        Raises:
            redis.ConnectionError: No sentinel answers, or none knows a
                master of that name that is up; it says which said what.
        """
        told = []
        for host, port in self._store.sentinels:
            try:
                said = self._ask(host, port)
            except (RedisError, OSError) as error:
                told.append(f"{host}:{port}: {error}")
                continue
            doubt = self._doubt(said)
            if doubt is None:
                return said["ip"], int(said["port"])
            told.append(f"{host}:{port}: {doubt}")
        raise redis.ConnectionError(
            f"no sentinel knows where the master {self._store.master!r} is ({'; '.join(told)})"
        )

    def check(self, connection: Any) -> None:
        """Shake hands with a server and make sure that it is a master.

        A sentinel that was cut off may still name the old one.

        Raises:
            redis.ConnectionError: It is a replica.
        """
        connection.on_connect()
        connection.send_command("ROLE")
        role = _text(connection.read_response()[0])
        if role != "master":
            raise redis.ConnectionError(
                f"{connection.host}:{connection.port} is a {role}, though a sentinel says"
                f" that it is the master {self._store.master!r}"
            )

    def _ask(self, host: str, port: int) -> dict[str, str]:
        connection = self._class(host=host, port=port, **self._options)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "MASTER", self._store.master)
            try:
                reply = connection.read_response()
            except ResponseError as error:
                if "No such master" not in str(error):
                    raise
                return {}
        finally:
            connection.disconnect()
        words = [_text(word) for word in reply]
        return dict(zip(words[::2], words[1::2], strict=True))

    def _doubt(self, said: Mapping[str, str]) -> str | None:
        """Return why an answer is no help, as redis-py judges it; None if it is one."""
        if not said:
            return "there is no such master"
        if {"s_down", "o_down"} & set(said["flags"].split(",")):
            return "it is down"
        if int(said["num-other-sentinels"]) < self._store.min_other_sentinels:
            return "it sees too few other sentinels"
        return None


class _ToMaster:
    """Asks for the address each time a socket is opened.

    redis-py opens it in `_connect`, of a connection that reconnects by itself
    too (checked on redis-py 4.5 to 8.1); `tests/integration/test_private_points.py`
    fails when it moves.
    """

    def __init__(self, finder: FoundBySentinels, **options: Any) -> None:
        self._finder = finder
        super().__init__(redis_connect_func=finder.check, **options)  # type: ignore[call-arg]

    def _connect(self) -> Any:
        self.host, self.port = self._finder.find()
        return super()._connect()  # type: ignore[misc]


class MasterConnection(_ToMaster, redis.Connection):
    """A connection to the master."""


class MasterTlsConnection(_ToMaster, redis.SSLConnection):
    """A connection to the master over TLS."""


def _text(word: Any) -> str:
    return str(word, "utf-8") if isinstance(word, bytes) else str(word)

"""The engine for many workers: every verb one Lua script on one Redis.

Each verb that a worker may want to call without blocking has a twin,
`request_…`, which gives the command to send and what its reply means. The verb
itself sends that and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celery_ranch.engines import checking, redis_bulk, redis_figures, wire
from celery_ranch.engines.connections import ServerFacts
from celery_ranch.engines.redis_bulk import RedisBulk
from celery_ranch.engines.redis_figures import RedisFigures
from celery_ranch.engines.scripts import Argument, load_script
from celery_ranch.engines.wire import Request, ScriptMissing
from celery_ranch.errors import BatchTooLargeError
from celery_ranch.scheduling.model import (
    MAX_BATCH,
    Enqueued,
    Entry,
    Leased,
    Outcome,
    Publish,
    Reaped,
)

__all__ = ["VERBS", "RedisEngine", "Request", "ScriptMissing", "ServerFacts"]

#: Every script, in the order of the engine's contract.
VERBS = (
    "enqueue",
    "lease",
    "settle",
    "heartbeat",
    "held",
    "reap",
    "wake",
    "set_share",
    "set_limits",
    "add_tag",
    "remove_tag",
    "set_data",
    "pause",
    "resume",
    "cancel",
    "dead_letters",
    "retry_dead",
    "delete_dead",
    "snapshot",
    "keys",
    "details",
    "pending",
    "explain",
    *redis_bulk.VERBS,
    *redis_figures.VERBS,
    *checking.VERBS,
)


class RedisEngine(RedisFigures, RedisBulk):
    """Keeps entries in Redis 6.2 or newer, or Valkey 7.2 or newer.

    Threads may share it, and forked children use connections of their own.
    Nothing is sent before the first verb.

    Args:
        store: A redis://, rediss://, unix:// or redis+socket:// URL, a
            `redis.Redis` whose server to use, or a `SentinelStore`.
        prefix: What the names of all Redis keys begin with.
        settings: What every engine is told.
        tag_limit: Virtual time at which tags are shifted down, at least 2^30;
            tests make it small.
        connection_kwargs: More arguments for redis-py's connection.

    Raises:
        ConfigurationError: The store or an argument for it cannot be used.
    """

    # -- data ---------------------------------------------------------------

    def enqueue(
        self,
        entries: Sequence[Entry],
        *,
        publish: Publish | None = None,
        now_us: int | None = None,
    ) -> Enqueued:
        """As `Engine.enqueue`."""
        if len(entries) > MAX_BATCH:
            raise BatchTooLargeError(len(entries), MAX_BATCH)
        if not entries:
            return Enqueued(0)
        places, bases = self._places(entry.queue for entry in entries)
        arguments: list[Argument] = []
        for entry in entries:
            arguments += wire.entry_arguments(places[entry.queue], entry)
        publisher, number = (publish.publisher, publish.number) if publish else ("", 0)
        named = self._named(now_us, publisher=publisher, number=number)
        command = load_script("enqueue").command(named, bases, arguments)
        count = len(entries)
        return self._run(
            Request("enqueue", command, lambda reply: wire.read_enqueued(reply, count))
        )

    def lease(
        self, worker: str, queues: Sequence[str], limit: int, *, now_us: int | None = None
    ) -> Leased:
        """As `Engine.lease`."""
        if not queues:
            return Leased((), False, None)
        return self._run(self.request_lease(worker, queues, limit, now_us))

    def request_lease(
        self, worker: str, queues: Sequence[str], limit: int, now_us: int | None = None
    ) -> Request[Leased]:
        """Return the request of `lease`; there must be at least one queue."""
        named = self._named(now_us, worker=worker, limit=limit)
        places, bases = self._places(queues)
        names = list(places)
        command = load_script("lease").command(named, bases)
        return Request("lease", command, lambda reply: wire.read_leased(reply, names))

    def settle(
        self, worker: str, outcomes: Sequence[Outcome], *, now_us: int | None = None
    ) -> tuple[Outcome, ...]:
        """As `Engine.settle`."""
        if not outcomes:
            return ()
        return self._run(self.request_settle(worker, outcomes, now_us))

    def request_settle(
        self, worker: str, outcomes: Sequence[Outcome], now_us: int | None = None
    ) -> Request[tuple[Outcome, ...]]:
        """Return the request of `settle`; there must be at least one outcome."""
        named = self._named(now_us, worker=worker)
        places, bases = self._places(outcome.queue for outcome in outcomes)
        arguments: list[Argument] = []
        for outcome in outcomes:
            arguments += wire.outcome_arguments(places[outcome.queue], outcome)
        command = load_script("settle").command(named, bases, arguments)
        return Request("settle", command, lambda reply: wire.read_stale(reply, outcomes))

    def heartbeat(self, worker: str, *, now_us: int | None = None) -> bool:
        """As `Engine.heartbeat`."""
        return self._run(self.request_heartbeat(worker, now_us))

    def request_heartbeat(self, worker: str, now_us: int | None = None) -> Request[bool]:
        """Return the request of `heartbeat`."""
        command = load_script("heartbeat").command(self._named(now_us, worker=worker))
        return Request("heartbeat", command, _says("kept"))

    def held(self, worker: str) -> frozenset[tuple[str, str, int]]:
        """As `Engine.held`."""
        return self._run(self.request_held(worker))

    def request_held(self, worker: str) -> Request[frozenset[tuple[str, str, int]]]:
        """Return the request of `held`."""
        command = load_script("held").command(self._named(None, worker=worker))
        return Request("held", command, wire.read_held)

    def reap(self, limit: int, *, now_us: int | None = None) -> Reaped:
        """As `Engine.reap`."""
        return self._run(self.request_reap(limit, now_us))

    def request_reap(self, limit: int, now_us: int | None = None) -> Request[Reaped]:
        """Return the request of `reap`."""
        command = load_script("reap").command(self._named(now_us, limit=limit))
        return Request("reap", command, wire.read_reaped)

    def wait(self, queues: Sequence[str], seconds: float) -> bool:
        """As `Engine.wait`; on a connection of the calling thread's own."""
        if not queues:
            return False
        request = self.request_wait(queues, seconds)
        return request.parse(self._connections.block(request.args, seconds))

    def request_wait(self, queues: Sequence[str], seconds: float) -> Request[bool]:
        """Return the request of `wait`, which takes up to `seconds` to reply."""
        wakes = [f"{base}wake" for base in self._places(queues)[1]]
        # To Redis 0 is for ever, and to 6.2 so is what it rounds down to 0 milliseconds.
        timeout = f"{max(seconds, 0.01):.3f}"
        return Request("wait", ("BLPOP", *wakes, timeout), lambda reply: reply is not None)

    def wake(self, queues: Sequence[str]) -> None:
        """As `Engine.wake`."""
        if queues:
            self._run(self.request_wake(queues))

    def request_wake(self, queues: Sequence[str]) -> Request[None]:
        """Return the request of `wake`; there must be at least one queue."""
        command = load_script("wake").command(self._named(None), self._places(queues)[1])
        return Request("wake", command, lambda _: None)

    # -- the store ----------------------------------------------------------

    def connect(self) -> Any:
        """Return a redis-py connection of the caller's own, not yet connected.

        It speaks RESP2 and bytes; requests may be sent on it as they are.
        """
        return self._connections.open()

    def load_scripts(self) -> None:
        """Load every script, for whoever met `ScriptMissing`.

        Raises:
            StoreError, StoreUnavailableError: The store refused or is away.
        """
        for request in self.requests_load():
            self._connections.run(request.args)

    def requests_load(self) -> Iterator[Request[None]]:
        """Yield the requests that load every script."""
        for verb in VERBS:
            command = ("SCRIPT", "LOAD", load_script(verb).source)
            yield Request(verb, command, lambda _: None)

    def check_server(self) -> ServerFacts:
        """Return what the server says about itself.

        Raises:
            ConfigurationError: It is older than Redis 6.2.
            StoreError, StoreUnavailableError: It refused or is away.
        """
        return self._connections.check_server()

    def warnings(self) -> tuple[str, ...]:
        """Return what about this server endangers entries, a sentence each.

        Raises:
            ConfigurationError, StoreError: As `check_server`.
        """
        policy = self.check_server().maxmemory_policy
        if policy in ("", "noeviction"):
            return ()
        return (
            f"The store's Redis may evict entries when its memory is full"
            f" (maxmemory-policy is {policy}): set it to noeviction.",
        )

    def close(self) -> None:
        """As `Engine.close`."""
        self._connections.close()


def _says(word: str) -> Callable[[Any], bool]:
    return lambda reply: wire.read_word(reply) == word

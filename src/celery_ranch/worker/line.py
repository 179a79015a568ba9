"""A worker's own connections to the store: on the event loop, or blocking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from celery.utils.log import get_logger
from redis.exceptions import ResponseError

from celery_ranch.engines.connections import packed_command, still_stands
from celery_ranch.engines.redis import RedisEngine, Request, ScriptMissing
from celery_ranch.errors import StoreError
from celery_ranch.scheduling.model import Outcome, Reaped
from celery_ranch.scheduling.service import ServiceReport

__all__ = ["BlockingVerbs", "Call", "Line"]

logger = get_logger(__name__)

T = TypeVar("T")

#: How long a reply may take beyond what was asked for, in seconds.
_REPLY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and what is done with its reply."""

    request: Request[Any]
    then: Callable[[Any], None]


class Line:
    """Sends calls in one write and runs their continuations as replies come.

    Args:
        hub: The worker's event loop.
        engine: Makes the connection and reloads scripts.
        on_broken: Called with what went wrong; the line is of no use then.
        on_refused: The same, when one verb was refused and the others answered.

    Raises:
        redis.exceptions.RedisError, OSError: It could not connect.
    """

    def __init__(
        self,
        hub: Any,
        engine: RedisEngine,
        on_broken: Callable[[Exception], None],
        on_refused: Callable[[str, Exception], None],
    ) -> None:
        self._hub = hub
        self._engine = engine
        self._on_broken = on_broken
        self._on_refused = on_refused
        self._awaited: Sequence[Call] = ()
        self._deadline = 0.0
        self._is_closed = False
        self._connection = engine.connect()
        self._connection.connect()
        # redis-py has no public way to the socket (checked on 4.5 to 8.1);
        # `tests/integration/test_private_points.py` fails when it moves.
        self._fd = self._connection._sock.fileno()
        hub.add_reader(self._fd, self._on_readable)

    @property
    def is_idle(self) -> bool:
        """Whether no reply is awaited."""
        return not self._awaited

    @property
    def is_overdue(self) -> bool:
        """Whether a reply is awaited that should have come."""
        return bool(self._awaited) and monotonic() > self._deadline

    def send(self, calls: Sequence[Call], seconds: float = 0.0) -> None:
        """Send calls; their replies may take `seconds` longer than usual."""
        self._awaited = calls
        self._deadline = monotonic() + seconds + _REPLY_SECONDS
        try:
            packed = [packed_command(call.request.args) for call in calls]
            self._connection.send_packed_command(packed)
        except Exception as error:  # whatever it is, the worker goes on
            self._on_broken(error)

    def ask(self, request: Request[Any]) -> Any:
        """Send one request and block for its reply, and for those before it.

        Raises:
            redis.exceptions.RedisError, OSError: The line broke.
        """
        self.finish()
        for last_try in (False, True):
            self._connection.send_packed_command([packed_command(request.args)])
            try:
                return request.parse(self._reply())
            except ScriptMissing:
                if last_try:
                    raise
                self._engine.load_scripts()

    def finish(self) -> None:
        """Block until every awaited reply was read.

        Raises:
            ConnectionError: The line broke over it.
        """
        while self._awaited and not self._is_closed:
            self._on_readable()
        if self._is_closed:
            raise ConnectionError("the line to the store is closed")

    def read_waiting(self) -> None:
        """Read replies that wait, where the loop does not run while a pool drains."""
        try:
            is_readable = self._connection.can_read(timeout=0)
        except Exception as error:  # whatever it is, the worker goes on
            self._on_broken(error)
            return
        if is_readable:
            self._on_readable()

    def close(self) -> None:
        """Let go of the loop and of the connection; nothing is awaited any more."""
        self._is_closed = True
        self._awaited = ()
        try:
            self._hub.remove_reader(self._fd)
        finally:
            self._connection.disconnect()

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def _on_readable(self) -> None:
        # One reply is due for each call and all of them are read, so nothing
        # stays in a buffer (TLS, hiredis) that the loop's poller cannot see.
        try:
            if not self._awaited:
                # Its reply may have been read since the poller saw it.
                if not self._connection.can_read(timeout=0):
                    return
                raise ConnectionError("the store closed the connection")
            replies = [self._reply() for _ in self._awaited]
        except Exception as error:
            self._on_broken(error)
            return
        calls, self._awaited = self._awaited, ()
        again: list[Call] = []
        refused: tuple[str, Exception] | None = None
        for call, reply in zip(calls, replies, strict=True):
            try:
                result = call.request.parse(reply)
            except ScriptMissing:
                again.append(call)
            except Exception as error:  # a reply that means nothing, too
                # What else was answered counts all the same: it may be a lease.
                refused = refused or (call.request.verb, error)
            else:
                self._go_on(call, result)
        if self._is_closed:
            return
        if refused:
            self._on_refused(*refused)
        elif again:
            self._repeat(again)

    def _go_on(self, call: Call, result: Any) -> None:
        try:
            call.then(result)
        except Exception:
            # Raised into the loop it would end the worker.
            logger.exception("Could not take a reply of the store")

    def _repeat(self, calls: list[Call]) -> None:
        try:
            self._engine.load_scripts()
        except StoreError as error:
            self._on_broken(error)
        else:
            self.send(calls)


class BlockingVerbs:
    """The verbs of a heartbeat, over one connection of their own; it reconnects.

    It takes no lock, so a native thread may use it beside green ones.
    """

    def __init__(self, engine: RedisEngine) -> None:
        self._engine = engine
        self._connection: Any = None

    def heartbeat(self, worker: str) -> bool:
        """As `Engine.heartbeat`."""
        return self._ask(self._engine.request_heartbeat(worker))

    def reap(self, limit: int) -> Reaped:
        """As `Engine.reap`."""
        return self._ask(self._engine.request_reap(limit))

    def held(self, worker: str) -> frozenset[tuple[str, str, int]]:
        """As `Engine.held`."""
        return self._ask(self._engine.request_held(worker))

    def settle(self, worker: str, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
        """As `Engine.settle`."""
        return self._ask(self._engine.request_settle(worker, outcomes))

    def report(self, worker: str, report: ServiceReport) -> None:
        """As `Engine.report`."""
        self._ask(self._engine.request_report(worker, report))

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _ask(self, request: Request[T]) -> T:
        try:
            if self._connection is not None and not still_stands(self._connection):
                # The store was away since the last beat, and may be back by now.
                self.close()
            if self._connection is None:
                self._connection = self._engine.connect()
                self._connection.connect()
            try:
                return request.parse(self._reply(request))
            except ScriptMissing:
                for script in self._engine.requests_load():
                    script.parse(self._reply(script))
                return request.parse(self._reply(request))
        except Exception:
            self.close()  # the next one may come to another server
            raise

    def _reply(self, request: Request[Any]) -> Any:
        self._connection.send_packed_command([packed_command(request.args)])
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

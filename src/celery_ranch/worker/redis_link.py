"""A link to Redis that does not block the worker's event loop."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from celery.utils.log import get_logger

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.model import Leased, Outcome
from celery_ranch.worker.line import Call, Line
from celery_ranch.worker.links import Listener
from celery_ranch.worker.outage import BackOff, Outage

__all__ = ["RedisLink"]

logger = get_logger(__name__)

#: As which part of the worker it loses the store.
_PART = "leasing"


class RedisLink:
    """A link over two connections: one for turns, one for wake-ups."""

    def __init__(
        self, hub: Any, engine: RedisEngine, worker: str, listener: Listener, outage: Outage
    ) -> None:
        self._hub = hub
        self._engine = engine
        self._worker = worker
        self._listener = listener
        self._outage = outage
        self._turns: Line | None = None
        self._wakes: Line | None = None
        self._unconfirmed: list[Outcome] = []
        self._refused: set[str] = set()
        self._backoff = BackOff()
        self._next_try = 0.0
        self._is_closed = False
        self._connect()

    @property
    def is_idle(self) -> bool:
        return self._turns is not None and self._turns.is_idle

    @property
    def is_listening(self) -> bool:
        return self._wakes is not None and not self._wakes.is_idle

    def turn(self, outcomes: list[Outcome], queues: Sequence[str], limit: int) -> None:
        assert self._turns is not None
        calls = []
        if outcomes:
            self._unconfirmed = outcomes
            settle = self._engine.request_settle(self._worker, outcomes)
            calls.append(Call(settle, lambda stale: self._on_settled(outcomes, stale)))
        if limit:
            if not outcomes:
                # The heartbeat has said what was refused from here.
                self._refused.discard("settle")
            lease = self._engine.request_lease(self._worker, queues, limit)
            calls.append(Call(lease, lambda leased: self._on_leased(leased, limit)))
        self._turns.send(calls)

    def listen(self, queues: Sequence[str], seconds: float) -> None:
        if self._wakes is not None:
            request = self._engine.request_wait(queues, seconds)
            self._wakes.send([Call(request, self._on_woken)], seconds)

    def cease_listening(self) -> None:
        wakes, self._wakes = self._wakes, None
        if wakes is None:
            return
        wakes.close()
        try:
            self._wakes = self._line()
        except Exception as error:
            self._on_broken(error)
            return
        # A token may have been on its way.
        self._listener.on_woken()

    def wake(self, queues: Sequence[str]) -> None:
        if self._turns is not None:
            self._turns.send([Call(self._engine.request_wake(queues), lambda _: None)])

    def stop_listening(self, queues: Sequence[str]) -> None:
        wakes, self._wakes = self._wakes, None
        if wakes is not None:
            wakes.close()
        if self._turns is not None and queues:
            try:
                self._turns.ask(self._engine.request_wake(queues))
            except Exception as error:
                self._on_broken(error)

    def settle_now(self, outcomes: list[Outcome]) -> bool:
        if self._turns is None:
            return False
        try:
            stale = self._turns.ask(self._engine.request_settle(self._worker, outcomes))
        except Exception as error:
            self._on_broken(error)
            return False
        self._tell_stale(stale)
        return True

    def check(self) -> None:
        lines = [line for line in (self._turns, self._wakes) if line is not None]
        for line in lines:
            if not line.is_idle:
                line.read_waiting()
        if any(line.is_overdue for line in lines):
            self._on_broken(TimeoutError("the store does not answer"))
        if self._turns is None and not self._is_closed and monotonic() >= self._next_try:
            self._connect()

    def close(self) -> None:
        if self._turns is not None:
            try:
                self._turns.finish()
            except Exception as error:
                self._on_broken(error)
        self._is_closed = True
        self._drop_lines()

    def _connect(self) -> None:
        try:
            self._turns = self._line()
            self._wakes = self._line()
            # A server that is going down still accepts connections.
            self._turns.ask(self._engine.request_heartbeat(self._worker))
        except Exception as error:
            self._on_broken(error)
            return
        self._note_answers()
        self._listener.on_ready()

    def _line(self) -> Line:
        return Line(self._hub, self._engine, self._on_broken, self._on_refused)

    def _note_answers(self, verb: str = "") -> None:
        """Note that the store has answered; it is back if it refuses none of the others."""
        self._refused.discard(verb)
        if not self._refused:
            self._outage.end(_PART)
            self._backoff.reset()

    def _on_refused(self, verb: str, error: Exception) -> None:
        # Of the others no one can tell when they are asked for again.
        if verb in ("settle", "lease", "wait"):
            self._refused.add(verb)
        self._on_broken(error)

    def _on_broken(self, error: Exception) -> None:
        self._drop_lines()
        if self._is_closed:
            return
        self._outage.begin(_PART, error)
        seconds = self._backoff.next_seconds()
        self._next_try = monotonic() + seconds
        self._hub.call_later(seconds, self.check)
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        self._listener.on_lost(unconfirmed)

    def _drop_lines(self) -> None:
        lines = (self._turns, self._wakes)
        self._turns = self._wakes = None
        for line in lines:
            if line is not None:
                line.close()

    def _on_settled(self, outcomes: list[Outcome], stale: Sequence[Outcome]) -> None:
        self._unconfirmed = []
        self._tell_stale(stale)
        self._note_answers("settle")
        self._listener.on_settled(outcomes)

    def _tell_stale(self, stale: Sequence[Outcome]) -> None:
        for outcome in stale:
            logger.info("Lease of %s had passed on: %s", outcome.entry_id, outcome.kind.value)

    def _on_leased(self, leased: Leased, limit: int) -> None:
        self._note_answers("lease")
        self._listener.on_leased(leased, limit)

    def _on_woken(self, _: bool) -> None:
        self._note_answers("wait")
        self._listener.on_woken()

"""How a worker on an event loop talks to its engine without blocking it.

A link sends one turn at a time (settle what is over, lease what there is
room for) and listens for wake-ups beside it; replies arrive as calls. The one
here is for an engine in this process, whose verbs do not block;
`redis_link.RedisLink` is for Redis.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Leased, Outcome
from celery_ranch.worker.signals import LoopSignal

__all__ = ["DirectLink", "Link", "Listener"]


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom a link calls."""

    on_leased: Callable[[Leased, int], None]
    """With the reply to a turn that leased, and the limit it had."""
    on_woken: Callable[[], None]
    """When something may be leasable, or the time to wait is over."""
    on_settled: Callable[[list[Outcome]], None]
    """With outcomes that arrived."""
    on_lost: Callable[[list[Outcome]], None]
    """With outcomes of which it is unknown whether they arrived."""
    on_ready: Callable[[], None]
    """When a turn may be sent again; what was asked for before is lost."""


class Link(Protocol):
    """What the loop needs of an engine."""

    @property
    def is_idle(self) -> bool:
        """Whether a turn may be sent now."""
        ...

    @property
    def is_listening(self) -> bool:
        """Whether a wake-up would be heard."""
        ...

    def turn(self, outcomes: list[Outcome], queues: Sequence[str], limit: int) -> None:
        """Settle the outcomes, then lease; a limit of 0 leases nothing."""
        ...

    def listen(self, queues: Sequence[str], seconds: float) -> None:
        """Listen for a wake-up for at most so long."""
        ...

    def cease_listening(self) -> None:
        """Listen no more, if that can be had at once; what was heard unseen counts as heard."""
        ...

    def wake(self, queues: Sequence[str]) -> None:
        """Pass a wake-up on that this worker cannot use; only when idle."""
        ...

    def stop_listening(self, queues: Sequence[str]) -> None:
        """Take no more wake-ups, and pass on one that was taken unseen."""
        ...

    def settle_now(self, outcomes: list[Outcome]) -> bool:
        """Settle before returning; False means that it could not."""
        ...

    def check(self) -> None:
        """Notice replies that never came, and reconnect; called every second."""
        ...

    def close(self) -> None:
        """Take the replies still due, let go of the loop and of the connections."""
        ...


class DirectLink:
    """A link to an engine in this process."""

    def __init__(self, hub: Any, engine: Engine, worker: str, listener: Listener) -> None:
        self._engine = engine
        self._worker = worker
        self._listener = listener
        self._signal = LoopSignal(hub, self._on_signal)
        self._is_listening = False
        self._is_stopped = False

    @property
    def is_idle(self) -> bool:
        return True

    @property
    def is_listening(self) -> bool:
        return self._is_listening

    def turn(self, outcomes: list[Outcome], queues: Sequence[str], limit: int) -> None:
        if outcomes:
            self._engine.settle(self._worker, outcomes)
            self._listener.on_settled(outcomes)
        if limit:
            self._listener.on_leased(self._engine.lease(self._worker, queues, limit), limit)

    def listen(self, queues: Sequence[str], seconds: float) -> None:
        self._is_listening = True
        arguments = (tuple(queues), seconds)
        threading.Thread(target=self._listen, args=arguments, daemon=True).start()

    def cease_listening(self) -> None:
        # A thread that waits for the engine is not to be interrupted.
        return

    def wake(self, queues: Sequence[str]) -> None:
        self._engine.wake(queues)

    def stop_listening(self, queues: Sequence[str]) -> None:
        self._is_stopped = True
        self._engine.wake(queues)

    def settle_now(self, outcomes: list[Outcome]) -> bool:
        self._engine.settle(self._worker, outcomes)
        return True

    def check(self) -> None:
        return

    def close(self) -> None:
        self._signal.close()

    def _listen(self, queues: Sequence[str], seconds: float) -> None:
        if self._engine.wait(queues, seconds) and self._is_stopped:
            self._engine.wake(queues)
        self._signal.set()

    def _on_signal(self) -> None:
        self._is_listening = False
        self._listener.on_woken()

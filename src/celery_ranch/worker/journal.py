"""What threads of a worker have to say, logged where logging cannot block them for good."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from celery_ranch.worker.native import native

__all__ = ["Journal"]


class Journal:
    """Logs for green threads and for native ones beside them.

    Where eventlet has patched `threading`, a handler's lock is green, and a
    native thread that has to wait for it waits for ever (seen on eventlet
    0.41.3). So there a native thread's words are kept until a green one says
    something or flushes. Everywhere else they are logged at once.
    """

    def __init__(self) -> None:
        patcher = sys.modules.get("eventlet.patcher")
        self._is_green = patcher is not None and bool(patcher.is_monkey_patched("thread"))
        self._get_ident = native("_thread", "get_ident")
        self._made_in = self._get_ident()
        self._kept: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def say(self, log: Callable[..., None], *args: Any) -> None:
        """Call a logger's method with a text and its arguments, now or a little later."""
        self._kept.append((log, args))
        self.flush()

    def flush(self) -> None:
        """Log what was kept, unless this is a native thread that must not."""
        if self._is_green and self._get_ident() != self._made_in:
            return
        while self._kept:
            log, args = self._kept.popleft()
            log(*args)

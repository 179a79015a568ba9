"""Waking the worker's event loop from any thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger

from celery_ranch.worker.native import native

__all__ = ["LoopSignal"]

logger = get_logger(__name__)


class LoopSignal:
    """Lets any thread make the loop run a callback soon.

    kombu's own `call_soon` wakes a sleeping loop only from 5.7 on.
    """

    def __init__(self, hub: Any, callback: Callable[[], None]) -> None:
        self._hub = hub
        self._callback = callback
        self._is_set = False
        # Nobody may write to a descriptor that is closed, and may be
        # somebody else's by then. Reentrant for the sake of signal handlers.
        self._lock = native("_thread", "RLock")()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        hub.add_reader(self._reader, self._on_readable)

    @property
    def is_set(self) -> bool:
        """Whether the callback was asked for and has not run yet."""
        return self._is_set

    def set(self) -> None:
        """Ask for the callback; asking again before it ran costs nothing."""
        if self._is_set:
            return
        with self._lock:
            if self._is_set:
                return
            self._is_set = True
            try:
                os.write(self._writer, b"\0")
            except BlockingIOError:
                # The pipe is full, so the loop is about to read it anyway.
                return

    def close(self) -> None:
        """Let go of the loop; `set` does nothing from now on."""
        self._hub.remove_reader(self._reader)
        with self._lock:
            self._is_set = True
            os.close(self._reader)
            os.close(self._writer)

    def _on_readable(self) -> None:
        # Cleared before the callback looks, so that nothing said after its
        # look goes unheard.
        os.read(self._reader, 4096)
        self._is_set = False
        try:
            self._callback()
        except Exception:
            # Raised into the loop it would end the worker.
            logger.exception("Could not do what the loop was woken for")

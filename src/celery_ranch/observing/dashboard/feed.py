"""The live feed: one look a second for all who watch, and none when nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable

from celery.utils.log import get_logger

from celery_ranch.errors import RanchError
from celery_ranch.observing.dashboard.answers import to_json
from celery_ranch.observing.status import Status

__all__ = ["MAX_VIEWERS", "Feed"]

logger = get_logger(__name__)

#: How many pages may watch at once.
MAX_VIEWERS = 100


class Feed:
    """Looks for all who watch, and tells each what was seen.

    Events: `status` with what was seen; `trouble` with a sentence, when nothing could
    be seen; `pulse` when a look takes long, so that a page knows its server lives.

    Args:
        look: Returns what goes on now; it is called in a thread.
        seconds: How much time lies between the beginnings of two looks. After one that
            took long there is a rest of as long.
    """

    def __init__(self, look: Callable[[], Status], seconds: float = 1.0) -> None:
        self._look = look
        # A look goes on in its thread when nobody waits for it any more.
        self._one_at_a_time = threading.Lock()
        self._seconds = seconds
        self._changed = asyncio.Event()
        self._event = b""
        self._number = 0
        self._seen_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False
        self.viewers = 0

    @property
    def is_looking(self) -> bool:
        """Whether it looks, again and again."""
        return self._looking is not None

    async def events(self) -> AsyncIterator[bytes]:
        """Yield events until who watches leaves, or the feed is closed.

        Who is slow to read misses looks, and hears of the latest next.
        """
        self.viewers += 1
        try:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_again_and_again())
            number = 0
            if time.monotonic() - self._seen_at > 2 * self._seconds:
                number = self._number
            while not self._is_closed:
                if not await self._is_newer(number):
                    yield b"event: pulse\ndata: {}\n\n"
                    continue
                number = self._number
                yield self._event
        finally:
            self.viewers -= 1
            if not self.viewers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def close(self) -> None:
        """End all that is watched; call it where the feed's loop runs."""
        self._is_closed = True
        self._changed.set()

    async def _is_newer(self, number: int) -> bool:
        """Wait a while for something newer than that; return whether there is."""
        if self._number == number and not self._is_closed:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 2 * self._seconds)
        return self._number != number

    async def _look_again_and_again(self) -> None:
        while True:
            began = time.monotonic()
            self._tell(await asyncio.to_thread(self._seen))
            took = time.monotonic() - began
            await asyncio.sleep(max(took, self._seconds - took))

    def _tell(self, event: bytes) -> None:
        self._event = event
        self._number += 1
        self._seen_at = time.monotonic()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _seen(self) -> bytes:
        try:
            with self._one_at_a_time:
                kind, data = "status", to_json(self._look())
        except RanchError as error:
            kind, data = "trouble", to_json({"error": " ".join(str(error).split())})
        except Exception:
            logger.exception("The dashboard cannot look")
            kind = "trouble"
            data = to_json({"error": "looking fails; the dashboard's log says why"})
        return f"event: {kind}\ndata: {data}\n\n".encode("ascii")

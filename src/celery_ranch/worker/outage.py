"""What a worker says of its store being away: one line when it goes, one when it is back."""

from __future__ import annotations

import threading

from celery.utils.log import get_logger

__all__ = ["Outage"]

logger = get_logger(__name__)


class Outage:
    """Whether the store is away, as far as this worker has said so.

    It outlives connections, to the store and to the broker, so that neither
    line is left out or said twice; any thread may use it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_on = False

    def begin(self, error: BaseException) -> None:
        """Say that the store is away, unless that was said."""
        with self._lock:
            was_on, self._is_on = self._is_on, True
        if not was_on:
            logger.error(
                "Lost the store (%s); what runs goes on, no fair task is leased until it is back",
                error,
            )

    def end(self) -> None:
        """Say that the store is back, if it was away."""
        if not self._is_on:  # asked after every lease
            return
        with self._lock:
            was_on, self._is_on = self._is_on, False
        if was_on:
            logger.warning("The store answers again; fair tasks are leased again")

"""Finishing withdrawals that nobody carries out any more: who began them died."""

from __future__ import annotations

import threading

from celery.utils.log import get_logger

from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import Withdrawal

__all__ = ["Finisher"]

logger = get_logger(__name__)

#: How often to look whether there is something to finish, in seconds.
_LOOK_SECONDS = 1.0

#: How long a stopping worker waits for the slice that is under way, in seconds.
_STOP_SECONDS = 5.0


class Finisher:
    """A thread that finishes what the heartbeat has heard of.

    It is green where `threading` is patched: it speaks to the result backend,
    and perhaps to the broker, through what all other threads use.

    Args:
        ranch: Whose withdrawals.
    """

    def __init__(self, ranch: Ranch) -> None:
        self._ranch = ranch
        self._abandoned: tuple[Withdrawal, ...] = ()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, abandoned: tuple[Withdrawal, ...]) -> None:
        """Say what nobody works on; any thread may, it takes no lock."""
        self._abandoned = abandoned

    def stop(self) -> None:
        """End the thread; what is left is another worker's."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            abandoned, self._abandoned = self._abandoned, ()
            for withdrawal in abandoned:
                self._finish(withdrawal)
            self._stopped.wait(_LOOK_SECONDS)

    def _finish(self, withdrawal: Withdrawal) -> None:
        try:
            taken = self._ranch.finish(withdrawal, is_stopping=self._stopped.is_set)
        except Exception:
            # Somebody is told of it again when this claim has run out.
            logger.exception("Could not finish withdrawing entries from %r", withdrawal.queue)
        else:
            if taken:
                logger.info("Withdrew %d entries from %r", taken, withdrawal.queue)

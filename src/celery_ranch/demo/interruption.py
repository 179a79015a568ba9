"""Ctrl-C and termination, heard where nothing can be left behind."""

from __future__ import annotations

import signal

__all__ = ["Interruption"]


class Interruption:
    """Notes the wish to end, and raises it where it is asked for.

    An exception out of a signal's handler may come between the start of a
    process and the note of it, which leaves the process running, or in a
    callback whose exceptions Python ignores, which leaves the wish unheard.
    """

    def __init__(self) -> None:
        self._is_wished = False

    def listen(self) -> None:
        """Note SIGINT and SIGTERM from now on, in place of what they did before.

        SIGINT too, because a shell starts what runs in its background deaf to it.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def check(self) -> None:
        """Return if nobody wishes to end.

        Raises:
            KeyboardInterrupt: Somebody does.
        """
        if self._is_wished:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: object) -> None:
        self._is_wished = True

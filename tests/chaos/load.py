"""Callers that go on sending tasks whatever fails, for as long as it takes."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any

from tests.chaos.ledger import Ledger
from tests.servers import eventually

#: More than any outage here lasts, and within what a store remembers a publish.
RETRY_POLICY = {
    "max_retries": 400,
    "interval_start": 0.05,
    "interval_step": 0.1,
    "interval_max": 0.5,
}

#: So much is accepted beyond what has ended, and no more but for what is waited for.
_MOST_WAITING = 120


class Load:
    """Threads that send tasks of `tests/applications/chaos_app` and note which calls returned.

    Use it as a context manager. A call that raises fails `stop`.

    Args:
        app: The `FairApp` of the case.
        ledger: Where accepted ids go.
        chance: What is sent, and for whom.
        callers: How many threads.
        tasks: The names of what is sent.
    """

    def __init__(
        self,
        app: Any,
        ledger: Ledger,
        chance: random.Random,
        *,
        callers: int = 2,
        tasks: tuple[str, ...] = ("early", "late", "again_if_lost"),
    ) -> None:
        self._app = app
        self._ledger = ledger
        self._tasks = tasks
        self._errors: list[BaseException] = []
        self._stopped = threading.Event()
        self._awaited = 0
        # A process that does not read results subscribes to none: that would
        # need their store to be there before anything is sent, and one thread.
        app.client.conf.result_backend = "disabled://"
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(chance.random()),))
            for _ in range(callers)
        ]

    def await_more(self, accepted: int = 0, ended: int = 0, seconds: float = 60) -> None:
        """Wait until so many more calls have returned, and so many more runs ended."""
        ledger = self._ledger
        calls, ends = len(ledger.accepted) + accepted, ledger.ends + ended
        self._awaited = calls
        eventually(
            lambda: self._errors or len(ledger.accepted) >= calls,
            seconds,
            f"{accepted} more are accepted",
        )
        assert not self._errors, self._errors
        ledger.await_ends(ends, seconds)

    def stop(self) -> None:
        """Send nothing more; fail if a call raised."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
        assert not self._errors, self._errors

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, chance: random.Random) -> None:
        try:
            for number in itertools.count():
                if self._stopped.wait(0.01):
                    return
                accepted = len(self._ledger.accepted)
                if accepted < self._awaited or accepted - self._ledger.ends < _MOST_WAITING:
                    self._send(chance, f"k{number % 7}")
        except BaseException as error:
            self._errors.append(error)

    def _send(self, chance: random.Random, key: str) -> None:
        options = {"countdown": chance.uniform(0, 1)} if chance.random() < 0.2 else {}
        result = self._app.send(
            chance.choice(self._tasks),
            chance.uniform(0, 0.05),
            lru_key=key,
            retry=True,
            retry_policy=RETRY_POLICY,
            **options,
        )
        self._ledger.accept(result)

"""A Celery worker in its own process, started with Celery's own command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

__all__ = ["WorkerFailedError", "WorkerProcess"]

#: A prefork pool that is stopped as its last task ends may wait half a minute
#: for its own children (billiard 4.3, ``_ensure_messages_consumed``).
STOP_SECONDS = 5.0


class WorkerFailedError(Exception):
    """The worker ended or does not answer; its log says why."""

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(reason, log)
        self.reason = reason
        self.log = log

    def __str__(self) -> str:
        return f"{self.reason}; its log ends with:\n{self.log}"


class WorkerProcess:
    """A running worker; leaving the ``with`` block stops it and its children.

    It has a session of its own, so that Ctrl-C reaches only who started it,
    and nothing of it is left when it does not stop by itself.
    """

    def __init__(
        self,
        app: str,
        broker_url: str,
        log: Path,
        *,
        concurrency: int,
        pool: str = "prefork",
        options: tuple[str, ...] = (),
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._log = log
        # Celery's own variables would win over what is said here.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CELERY_")}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "--app", app, "--broker", broker_url),
                    *("--result-backend", broker_url, "worker", "--loglevel", "WARNING"),
                    *("--pool", pool, "--concurrency", str(concurrency), *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**inherited, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id of the worker's main process."""
        return self._process.pid

    def check(self) -> None:
        """Return if the worker lives.

        Raises:
            WorkerFailedError: It has ended.
        """
        if self._process.poll() is not None:
            raise self.failed(f"the worker ended with code {self._process.returncode}")

    def failed(self, reason: str) -> WorkerFailedError:
        """Return the error that says this of the worker, with the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return WorkerFailedError(reason, "\n".join(lines[-15:]))

    def stop(self) -> None:
        """Let the worker finish what runs, for 5 seconds, then end it with all its children."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

"""A private Redis, a worker whose tasks leave records, and what machine this is."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apps
from celery import Celery
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from celery_ranch.demo.worker import WorkerProcess
from celery_ranch.engines.embedded import find_server

__all__ = [
    "BY_SECONDS",
    "FAIR",
    "PLAIN",
    "SIDES",
    "PrivateRedis",
    "Record",
    "RecordingWorker",
    "Side",
    "forget_celery_variables",
    "machine",
    "private_redis",
    "told",
    "worker",
]

BENCHMARKS = Path(__file__).resolve().parent
START_SECONDS = 10.0
POLL_SECONDS = 0.02

#: How long a living worker may write no record before it counts as stuck.
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared."""

    name: str
    app: Celery
    publish: Callable[..., None]
    """Takes the key, the number of the task, and its other arguments."""


PLAIN = Side("plain", apps.plain, apps.publish_plainly)
FAIR = Side("fair", apps.fair, apps.publish_fairly)
BY_SECONDS = Side("seconds", apps.seconds, apps.publish_by_seconds)
SIDES = (PLAIN, FAIR)


@dataclass(frozen=True, slots=True)
class Record:
    """What one task wrote down, in seconds of the machine's monotonic clock."""

    number: int
    started_at: float
    ended_at: float


class PrivateRedis:
    """A Redis server on a free port of this machine, without persistence."""

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = Redis(port=port)

    def used_memory_bytes(self) -> int:
        """Return what the data take, the allocator's rounding included."""
        return int(self.client.info("memory")["used_memory"])

    def cpu_seconds(self) -> float:
        """Return the processor time that the server has used."""
        told = self.client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    def version(self) -> str:
        """Return the server's version."""
        return str(self.client.info("server")["redis_version"])


@contextmanager
def private_redis() -> Iterator[PrivateRedis]:
    """Run a Redis server for every side, and point all applications at it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="celery-ranch-benchmark-") as folder:
        process = subprocess.Popen(
            [
                *(find_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            server = PrivateRedis(port)
            _wait_for(server.client)
            for side in (*SIDES, BY_SECONDS):
                side.app.conf.update(broker_url=server.url, result_backend=server.url)
            yield server
        finally:
            process.terminate()
            process.wait()


def _wait_for(client: Redis) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(RedisConnectionError):
            client.ping()
            return
        time.sleep(POLL_SECONDS)
    raise TimeoutError("Redis did not start")


class RecordingWorker:
    """A worker, and the records that its tasks have written."""

    def __init__(self, process: WorkerProcess, path: Path) -> None:
        self._process = process
        self._path = path
        self.pid = process.pid

    def count(self) -> int:
        """Return how many records there are."""
        return self._path.stat().st_size // apps.RECORD.size

    def wait_for(self, count: int) -> None:
        """Return when there are so many records.

        Raises:
            WorkerFailedError: The worker ended, or wrote nothing for a minute.
        """
        seen, seen_at = self.count(), time.monotonic()
        while seen < count:
            time.sleep(POLL_SECONDS)
            self._process.check()
            if self.count() > seen:
                seen, seen_at = self.count(), time.monotonic()
            elif time.monotonic() - seen_at > SILENCE_SECONDS:
                raise self._process.failed(
                    f"{seen} of {count} tasks ran, and none for {SILENCE_SECONDS:.0f} seconds"
                )

    def records(self) -> list[Record]:
        """Return the records so far, in the order in which tasks ended."""
        content = self._path.read_bytes()
        whole = content[: len(content) // apps.RECORD.size * apps.RECORD.size]
        return [Record(*fields) for fields in apps.RECORD.iter_unpack(whole)]


@contextmanager
def worker(
    side: Side, server: PrivateRedis, pool: str, concurrency: int
) -> Iterator[RecordingWorker]:
    """Run a worker of one side with Celery's own command and Celery's defaults."""
    with tempfile.TemporaryDirectory(prefix="celery-ranch-benchmark-") as folder:
        records = Path(folder) / "records"
        records.touch()
        with WorkerProcess(
            f"apps:{side.name}",
            server.url,
            Path(folder) / "worker.log",
            concurrency=concurrency,
            pool=pool,
            folder=BENCHMARKS,
            environment={apps.RECORDS_VARIABLE: str(records)},
        ) as process:
            yield RecordingWorker(process, records)


def forget_celery_variables() -> None:
    """Forget what Celery reads from the environment: it would win over the private Redis."""
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        del os.environ[name]


def machine(server: PrivateRedis) -> dict[str, Any]:
    """Return where and with what was measured."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "redis server": server.version(),
        **{name: version(name) for name in ("celery", "kombu", "redis")},
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_model() -> str:
    """Return the processor's name, as far as the system tells it."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def told(facts: dict[str, Any]) -> str:
    """Return facts as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())

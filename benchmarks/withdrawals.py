"""Measure how long Redis is held while a backlog is cancelled or moved, and how long it takes.

What is timed is what the store does, through `Engine.withdraw`, `carry_out` and
`arrive`, as `Ranch.cancel` and `Ranch.move` call them; telling the result backend
of each cancelled task comes on top, and is measured for itself. How long Redis is
held by the longest call is said twice: by the clock, as its slow log has it, where
whatever else the machine does is in it, and by the processor time that the server
took (as Linux counts it), where it is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from celery import Celery
from harness import PrivateRedis, machine, private_redis, told
from rich.console import Console
from rich.table import Table

from celery_ranch import Ranch, configure
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.ranch.withdrawals import SLICE
from celery_ranch.scheduling.model import EngineSettings, Entry, KeyPath, Outcome, OutcomeKind
from celery_ranch.scheduling.withdrawals import CarriedOut, DeadCursor, Move, Progress

T = TypeVar("T")

QUEUE, OTHER = "celery", "overnight"
HELPER = "benchmark"
MESSAGE = bytes(range(32, 127)) * 10  # about what a small task takes with its headers
DAY_US = 86_400_000_000

#: Redis' slow log takes commands from this time on, in microseconds.
SLOW_US = 1_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking a backlog away cost."""

    case: str
    entries: int
    begun_ms: float
    """The first call, after which nothing of it is leased."""
    swept_seconds: float
    """Until the key is served again."""
    all_seconds: float
    """Until nothing is left of it."""
    calls: int
    longest_ms: float
    """The longest that Redis was held by one command, by the clock."""
    longest_cpu_ms: float
    """The most processor time that it took for one call."""
    mean_cpu_ms: float


class Server:
    """An engine on a server of its own, and what that server says of its commands."""

    def __init__(self, server: PrivateRedis) -> None:
        self.client = server.client
        settings = EngineSettings(dead_letter_limit=10**9)
        self.engine = RedisEngine(server.url, "bench:", settings, connection_kwargs={})
        self.client.config_set("slowlog-max-len", 100_000)
        pid = self.client.info("server")["process_id"]
        self._times = Path(f"/proc/{pid}/task/{pid}/schedstat")
        self._cpu_ms: list[float] = []

    def fill(self, entries: int, keys: list[KeyPath], *, is_delayed: bool) -> None:
        """Store so many entries, key by key in turn."""
        for first in range(0, entries, 1_000):
            self.engine.enqueue(
                [
                    Entry(
                        f"{number:036x}",
                        keys[number % len(keys)],
                        QUEUE,
                        MESSAGE,
                        due_in_us=DAY_US + number % 977 if is_delayed else None,
                    )
                    for number in range(first, min(first + 1_000, entries))
                ]
            )

    def bury(self) -> None:
        """Let all that waits die."""
        while leases := self.engine.lease("w", [QUEUE], 500).leases:
            reports = [Outcome(OutcomeKind.DEAD, QUEUE, o.entry_id, o.number) for o in leases]
            self.engine.settle("w", reports)

    def begin(self) -> None:
        """Measure from now on."""
        self.client.config_set("slowlog-log-slower-than", SLOW_US)
        self.client.slowlog_reset()

    def call(self, verb: Callable[..., T], *args: Any, **named: Any) -> T:
        """Call a verb of the engine, and note what the server took for it."""
        before_ns = self._cpu_ns()
        reply = verb(*args, **named)
        self._cpu_ms.append((self._cpu_ns() - before_ns) / 1_000_000)
        return reply

    def taken(
        self, case: str, entries: int, begun_ms: float, swept_seconds: float, all_seconds: float
    ) -> Taken:
        """Return what was measured."""
        held = [each["duration"] for each in self.client.slowlog_get(100_000)]
        return Taken(
            case,
            entries,
            begun_ms,
            swept_seconds,
            all_seconds,
            calls=len(self._cpu_ms),
            longest_ms=max(held, default=SLOW_US) / 1_000,
            longest_cpu_ms=max(self._cpu_ms),
            mean_cpu_ms=statistics.mean(self._cpu_ms),
        )

    def _cpu_ns(self) -> int:
        return int(self._times.read_text().split()[0])


@dataclass(frozen=True, slots=True)
class Case:
    """A backlog, and what becomes of it."""

    name: str
    keys: list[KeyPath]
    move: Move | None = None
    is_delayed: bool = False


def cases(children: int) -> Iterator[Case]:
    """Yield what is measured."""
    one: list[KeyPath] = [("acme",)]
    many: list[KeyPath] = [("acme", f"job-{number}") for number in range(children)]
    yield Case("cancel a key", one)
    yield Case("cancel a key's delayed tasks", one, is_delayed=True)
    yield Case(f"cancel a path of {children:,} keys", many)
    yield Case("move a key to another key", one, Move(QUEUE, ("bolt",)))
    yield Case(f"move a path of {children:,} keys to one key", many, Move(QUEUE, ("bolt",)))
    yield Case("move a key to another queue", one, Move(OTHER))


def measure(case: Case, entries: int) -> Taken:
    """Store a backlog and take it away."""
    with private_redis() as private:
        server = Server(private)
        server.fill(entries, case.keys, is_delayed=case.is_delayed)
        server.begin()
        engine = server.engine
        started = time.perf_counter()
        begun = server.call(engine.withdraw, QUEUE, ("acme",), HELPER, move=case.move)
        assert begun is not None
        first = time.perf_counter()
        swept, reply = 0.0, CarriedOut(Progress.SWEEPING)
        while reply.progress is not Progress.OVER:
            if reply.move is not None:
                server.call(engine.arrive, reply.move.queue, reply.token, reply.entries)
            done = [entry.entry_id for entry in reply.entries]
            reply = server.call(engine.carry_out, begun, HELPER, SLICE, done=done)
            if not swept and reply.progress is not Progress.SWEEPING:
                swept = time.perf_counter()
        ended = time.perf_counter()
        if reply.taken != entries:
            raise RuntimeError(f"{reply.taken} entries taken instead of {entries}")
        engine.close()
        begun_ms = (first - started) * 1_000
        return server.taken(case.name, entries, begun_ms, swept - started, ended - started)


def measure_dead(entries: int) -> Taken:
    """Bury a backlog and put all of it back."""
    with private_redis() as private:
        server = Server(private)
        server.fill(entries, [("acme",)], is_delayed=False)
        server.bury()
        server.begin()
        started, count = time.perf_counter(), 0
        cursor: DeadCursor | None = DeadCursor()
        while cursor is not None:
            swept = server.call(
                server.engine.sweep_dead, QUEUE, None, SLICE, is_retried=True, cursor=cursor
            )
            count, cursor = count + swept.count, swept.cursor
        seconds = time.perf_counter() - started
        if count != entries:
            raise RuntimeError(f"{count} dead letters put back instead of {entries}")
        server.engine.close()
        return server.taken("put dead letters back", entries, 0.0, seconds, seconds)


def tasks_told_per_second(tasks: int) -> float:
    """Return how many cancelled tasks a second are announced to results in Redis."""
    with private_redis() as private:
        app = Celery("benchmark", broker=private.url, backend=private.url, set_as_current=False)
        configure(app)
        ranch = Ranch(app)
        for number in range(tasks):
            app.send_task("work", (number,), lru_key="acme")
        started = time.perf_counter()
        if ranch.cancel(key="acme") != tasks:
            raise RuntimeError("not all were cancelled")
        rate = tasks / (time.perf_counter() - started)
        ranch.engine.close()
        app.close()
        return rate


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, write the JSON; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="that wait (1000000)")
    parser.add_argument("--children", type=int, default=10_000, help="of the path (10000)")
    parser.add_argument("--told", type=int, default=20_000, help="tasks announced (20000)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    with private_redis() as server:
        facts = machine(server)
    measured: list[Taken] = []
    console = Console(width=None if sys.stdout.isatty() else 120)
    works: list[Callable[[], Taken]] = [
        *(lambda case=case: measure(case, options.entries) for case in cases(options.children)),
        lambda: measure_dead(options.entries),
    ]
    for work in works:
        measured.append(work())
        console.print(measured[-1].case, highlight=False)
    rate = tasks_told_per_second(options.told)
    console.print(_table(measured))
    console.print(f"cancelled tasks announced, results in Redis: {rate:,.0f} a second")
    console.print(told(facts), highlight=False)
    console.print(f"{SLICE} entries a call, message {len(MESSAGE)} bytes", highlight=False)
    if options.json is not None:
        document: dict[str, Any] = {
            "machine": facts,
            "taken": [asdict(each) for each in measured],
            "told_per_second": rate,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _table(measured: list[Taken]) -> Table:
    table = Table(title="taking a backlog away")
    names = (
        "what",
        "entries",
        "first call ms",
        "key free s",
        "in all s",
        "longest ms",
        "CPU ms",
        "mean",
    )
    for name in names:
        table.add_column(name, justify="left" if name == "what" else "right")
    for each in measured:
        table.add_row(
            each.case,
            f"{each.entries:,}",
            f"{each.begun_ms:.1f}",
            f"{each.swept_seconds:.1f}",
            f"{each.all_seconds:.1f}",
            f"{each.longest_ms:.1f}",
            f"{each.longest_cpu_ms:.1f}",
            f"{each.mean_cpu_ms:.2f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())

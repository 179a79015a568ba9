"""Measure what leasing and settling cost as more keys have a backlog, and what keys take.

What is timed is the client's side: lease, reply, settle, reply, over a unix
socket or loopback, with no worker and no Celery. Backlogs of all sizes stand
on one server at once, and rounds go from one to the next, so that whatever
else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import PrivateRedis, machine, private_redis, told
from rich.console import Console
from rich.table import Table

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.model import EngineSettings, Entry, Outcome, OutcomeKind

BATCHES = (1, 16)
ENTRIES_PER_KEY = 2
QUEUE = "celery"
WORKER = "celery@benchmark-host/0123456789abcdef"
MESSAGE = bytes(range(32, 127)) * 10  # about what a small task takes with its headers


@dataclass(frozen=True, slots=True)
class Cost:
    """What one lease and the settling of it cost, the median of many."""

    keys: int
    batch: int
    microseconds: float
    """For the whole batch, on the client's clock."""
    ratio: float
    """To the smallest number of keys, at the same batch."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What entries and keys take of the server's memory, in bytes."""

    message: int
    per_entry: float
    """At 10 entries a key, the key's part included."""
    per_backlogged_key: float
    per_idle_key: float


class Backlog:
    """Keys that each have a few entries, under a prefix of their own."""

    def __init__(self, server: PrivateRedis, keys: int, message: bytes = b"-") -> None:
        self.keys = keys
        self._message = message
        self._names = (f"{number:012x}" for number in range(10**9))
        self.engine = RedisEngine(
            server.url, f"scale-{keys}:", EngineSettings(idle_key_us=10**15), connection_kwargs={}
        )

    def fill(self, entries_per_key: int) -> None:
        """Give each key so many entries, a key after the other, then again."""
        for _ in range(entries_per_key):
            for first in range(0, self.keys, 1_000):
                self._store(range(first, min(first + 1_000, self.keys)))

    def round(self, batch: int) -> float:
        """Lease and settle a batch; return the seconds. Then store as much anew."""
        started = time.perf_counter()
        leases = self.engine.lease(WORKER, [QUEUE], batch).leases
        kind = OutcomeKind.COMPLETED
        self.engine.settle(
            WORKER, [Outcome(kind, lease.queue, lease.entry_id, lease.number) for lease in leases]
        )
        seconds = time.perf_counter() - started
        if len(leases) != batch:
            raise RuntimeError(f"{len(leases)} entries leased instead of {batch}")
        self._store([int(lease.key[0].removeprefix("tenant-")) for lease in leases])
        return seconds

    def drain(self) -> None:
        """Run everything, so that the keys are idle."""
        kind = OutcomeKind.COMPLETED
        while leases := self.engine.lease(WORKER, [QUEUE], 500).leases:
            self.engine.settle(
                WORKER, [Outcome(kind, done.queue, done.entry_id, done.number) for done in leases]
            )

    def _store(self, keys: Sequence[int]) -> None:
        names = ((f"{next(self._names)}-scaling", f"tenant-{key:08}") for key in keys)
        self.engine.enqueue([Entry(name, (key,), QUEUE, self._message) for name, key in names])


def costs(server: PrivateRedis, sizes: Sequence[int], rounds: int) -> list[Cost]:
    """Measure lease + settle over backlogs of these numbers of keys."""
    backlogs = [Backlog(server, size) for size in sizes]
    for backlog in backlogs:
        backlog.fill(ENTRIES_PER_KEY)
    found = []
    for batch in BATCHES:
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for backlog in backlogs:
                seconds[backlog.keys].append(backlog.round(batch))
        medians = {size: statistics.median(taken) for size, taken in seconds.items()}
        least = medians[min(sizes)]
        found += [Cost(size, batch, medians[size] * 1e6, medians[size] / least) for size in sizes]
    for backlog in backlogs:
        backlog.engine.close()
    server.client.flushall()
    return found


def footprint(server: PrivateRedis, keys: int) -> Footprint:
    """Measure the memory of entries and keys, from backlogs that differ in one alone."""
    empty = server.used_memory_bytes()
    many_keys = Backlog(server, keys, MESSAGE)
    many_keys.fill(10)
    full = server.used_memory_bytes() - empty
    many_keys.drain()
    idle = server.used_memory_bytes() - empty
    many_keys.engine.close()
    server.client.flushall()

    empty = server.used_memory_bytes()
    few_keys = Backlog(server, keys // 10, MESSAGE)
    few_keys.fill(100)
    same_entries = server.used_memory_bytes() - empty
    few_keys.engine.close()
    server.client.flushall()
    return Footprint(
        message=len(MESSAGE),
        per_entry=full / keys / 10,
        per_backlogged_key=(full - same_entries) / (keys - keys // 10),
        per_idle_key=idle / keys,
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print tables, write the JSON; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keys",
        type=int,
        action="append",
        help="a number of backlogged keys; may be repeated (10, 1000, 100000;"
        " 1000000 takes about 1 GB)",
    )
    parser.add_argument("--rounds", type=int, default=1_000, help="of each measure (1000)")
    parser.add_argument("--memory-keys", type=int, default=10_000, help="0: not measured (10000)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    sizes = sorted(options.keys or [10, 1_000, 100_000])
    with private_redis() as server:
        facts = machine(server)
        memory = footprint(server, options.memory_keys) if options.memory_keys else None
        measured = costs(server, sizes, options.rounds)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(_cost_table(measured))
    if memory is not None:
        console.print(_memory_table(memory))
    console.print(told(facts), highlight=False)
    console.print(f"rounds {options.rounds}, message {len(MESSAGE)} bytes", highlight=False)
    if options.json is not None:
        document = {
            "machine": facts,
            "rounds": options.rounds,
            "costs": [asdict(cost) for cost in measured],
            "memory": asdict(memory) if memory else None,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _cost_table(measured: Sequence[Cost]) -> Table:
    table = Table(title="lease + settle, client-side medians")
    for name in ("batch", "backlogged keys", "µs", "ratio", "target"):
        table.add_column(name, justify="right")
    for cost in measured:
        us = f"{cost.microseconds:.0f}"
        table.add_row(str(cost.batch), f"{cost.keys:,}", us, f"{cost.ratio:.2f}", "≤ 1.5")
    return table


def _memory_table(memory: Footprint) -> Table:
    table = Table(title=f"Redis memory, messages of {memory.message} bytes")
    for name in ("what", "bytes", "target"):
        table.add_column(name, justify="left" if name == "what" else "right")
    rows: list[tuple[str, Any, str]] = [
        ("an entry, at 10 a key", memory.per_entry, "not above plain"),
        ("a backlogged key", memory.per_backlogged_key, "≤ 600"),
        ("an idle key", memory.per_idle_key, "≤ 200"),
    ]
    for what, size, target in rows:
        table.add_row(what, f"{size:.0f}", target)
    return table


if __name__ == "__main__":
    sys.exit(main())

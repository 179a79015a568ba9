"""Measure what leasing and settling cost as more keys have a backlog, and what keys take.

What is timed is the client's side: lease, reply, settle, reply, over loopback,
with no worker and no Celery. Backlogs of all sizes stand on one server at
once, and rounds go from one to the next, so that whatever else the machine
does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backlogs import FLAT, KINDS, QUEUE, Backlog, Kind, Round
from harness import PrivateRedis, machine, private_redis, told
from page import markdown_table, put_into_page

from celery_ranch.scheduling.limits import Limits, Rate

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "benchmarks.md"
BATCHES = (1, 16)
TARGET_RATIO = 1.5
MESSAGE = bytes(range(32, 127)) * 10  # about what a small task takes with its headers

#: What memory is measured with: of a key of each of these.
FOOTPRINTS = (
    FLAT,
    Kind("paths of 3 parts", parts=3),
    Kind("limits of all keys", limits=Limits(concurrency=1_000, rate=Rate(1, 1_000))),
    Kind("limits of each key", limits=Limits(concurrency=1_000), is_limited_by_key=True),
)
ONE_A_DAY = Rate(interval_us=86_400_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one lease and the settling of it cost, medians of many."""

    kind: str
    keys: int
    batch: int
    lease_us: float
    """For the whole batch, on the client's clock."""
    settle_us: float
    both_us: float
    ratio: float
    """To the smallest number of keys, of the same kind and batch."""
    redis_us: float
    """Of both, the scripts alone on the server's clock."""
    redis_ratio: float


@dataclass(frozen=True, slots=True)
class Blocked:
    """What it costs to lease and settle an entry of the one key that may be served."""

    why: str
    keys: int
    """How many may not."""
    both_us: float
    alone_us: float
    """Where there is no other key."""
    redis_us: float
    alone_redis_us: float


@dataclass(frozen=True, slots=True)
class Footprint:
    """What entries and keys take of the server's memory, in bytes."""

    kind: str
    per_entry: float
    """At 10 entries a key, the key's part included."""
    per_backlogged_key: float
    """With its part of the nodes above it."""
    per_idle_key: float


def costs(server: PrivateRedis, kind: Kind, sizes: Sequence[int], rounds: int) -> list[Cost]:
    """Measure lease + settle over backlogs of these numbers of keys."""
    backlogs = [Backlog(server, size, kind) for size in sizes]
    for backlog in backlogs:
        started = time.perf_counter()
        backlog.fill()
        _tell(f"{kind.name}: {backlog.keys:,} keys in {time.perf_counter() - started:.1f} s")
    found: list[Cost] = []
    for batch in BATCHES:
        taken: dict[int, list[Round]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for backlog in backlogs:
                taken[backlog.keys].append(backlog.round(batch))
        least = _medians(taken[min(sizes)])
        for size, these in taken.items():
            both, redis = _medians(these)
            found.append(
                Cost(
                    kind=kind.name,
                    keys=size,
                    batch=batch,
                    lease_us=statistics.median(one.lease_us for one in these),
                    settle_us=statistics.median(one.settle_us for one in these),
                    both_us=both,
                    ratio=both / least[0],
                    redis_us=redis,
                    redis_ratio=redis / least[1],
                )
            )
    for backlog in backlogs:
        backlog.close()
    server.client.flushall()
    return found


def _medians(rounds: Sequence[Round]) -> tuple[float, float]:
    """Return what the client waited for both, and what Redis ran."""
    both = statistics.median(one.both_us for one in rounds)
    return both, statistics.median(one.redis_us for one in rounds)


def blocked(server: PrivateRedis, keys: int, rounds: int) -> list[Blocked]:
    """Measure the one key that may be served beside many that may not."""
    return [
        _beside(server, "paused", Kind("paused"), keys, rounds, _pause_all),
        _beside(
            server,
            "at their concurrency limit",
            Kind("full", limits=Limits(concurrency=1)),
            keys,
            rounds,
            _hold_one_each,
        ),
        _beside(
            server,
            "at their rate",
            Kind("paced", limits=Limits(rate=ONE_A_DAY)),
            keys,
            rounds,
            _run_one_each,
        ),
    ]


def _beside(
    server: PrivateRedis,
    why: str,
    kind: Kind,
    keys: int,
    rounds: int,
    block: Callable[[Backlog], None],
) -> Blocked:
    crowd, alone = Backlog(server, keys + 1, kind), Backlog(server, 1, kind)
    for backlog in (crowd, alone):
        # The last key is free, under limits that it does not reach.
        free = Limits(concurrency=2, rate=Rate(1, 1_000)) if kind.limits else Limits()
        backlog.engine.set_limits(QUEUE, backlog.key(backlog.keys - 1), free)
        backlog.fill()
    block(crowd)
    taken: dict[Backlog, list[Round]] = {crowd: [], alone: []}
    for _ in range(rounds):
        for backlog in taken:
            taken[backlog].append(backlog.round(1))
    for backlog in taken:
        backlog.close()
    server.client.flushall()
    (both, redis), (alone_both, alone_redis) = _medians(taken[crowd]), _medians(taken[alone])
    return Blocked(why, keys, both, alone_both, redis, alone_redis)


def _pause_all(backlog: Backlog) -> None:
    for number in range(backlog.keys - 1):
        backlog.engine.pause(QUEUE, backlog.key(number))


def _hold_one_each(backlog: Backlog) -> None:
    _lease_one_each(backlog, is_to_run=False)


def _run_one_each(backlog: Backlog) -> None:
    _lease_one_each(backlog, is_to_run=True)


def _lease_one_each(backlog: Backlog, *, is_to_run: bool) -> None:
    """Lease an entry of each key but the last one, whose entries come back."""
    worker, free, leased = "celery@another-host/0123456789abcdef", backlog.key(backlog.keys - 1), 0
    while leased < backlog.keys - 1:
        leases = backlog.lease(500, worker)
        of_free = [lease for lease in leases if lease.key == free]
        leased += len(leases) - len(of_free)
        backlog.settle(leases if is_to_run else of_free, worker)
        backlog.store(of_free)


def footprint(server: PrivateRedis, kind: Kind, keys: int) -> Footprint:
    """Measure the memory of entries and keys, from backlogs that differ in one alone."""
    of_key = len(kind.levels)
    empty = server.used_memory_bytes()
    many_keys = Backlog(server, keys, kind, MESSAGE)
    many_keys.fill(10 // of_key)
    full = _taken_by(many_keys, server) - empty
    many_keys.drain()
    idle = _taken_by(many_keys, server) - empty
    server.client.flushall()

    empty = server.used_memory_bytes()
    few_keys = Backlog(server, keys // 10, kind, MESSAGE)
    few_keys.fill(100 // of_key)
    same_entries = _taken_by(few_keys, server) - empty
    server.client.flushall()
    return Footprint(
        kind=kind.name,
        per_entry=full / keys / 10,
        per_backlogged_key=(full - same_entries) / (keys - keys // 10),
        per_idle_key=idle / keys,
    )


def _taken_by(backlog: Backlog, server: PrivateRedis) -> int:
    """Return the server's memory without the backlog's connections, which have buffers."""
    backlog.close()
    while server.client.info("clients")["connected_clients"] > 1:
        time.sleep(0.01)
    return server.used_memory_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print tables, write what is asked for; return the exit code."""
    options = _options(arguments)
    with private_redis() as server:
        facts = machine(server)
        footprint(server, FLAT, 10)  # so that the server knows all scripts
        memory = [footprint(server, kind, options.memory_keys) for kind in FOOTPRINTS]
        beside = blocked(server, options.blocked_keys, options.rounds)
        measured = [
            cost
            for kind in KINDS
            if not options.kind or kind.name in options.kind
            for cost in costs(server, kind, sorted(options.keys), options.rounds)
        ]
    lines = [
        f"{told(facts)}. Medians of {options.rounds:,} rounds.",
        "",
        *_cost_table(measured),
        "",
        *_blocked_table(beside),
        "",
        *_memory_table(memory, options.memory_keys),
    ]
    print("\n".join(lines))
    if options.write:
        put_into_page(PAGE, "scaling", lines)
    if options.json is not None:
        document = {
            "machine": facts,
            "rounds": options.rounds,
            "costs": [asdict(cost) for cost in measured],
            "blocked": [asdict(one) for one in beside],
            "memory": [asdict(one) for one in memory],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keys",
        type=int,
        action="append",
        help="a number of backlogged keys; may be repeated (10, 1000, 100000, 1000000,"
        " which takes about 2 GB)",
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=[kind.name for kind in KINDS],
        help="of backlog; may be repeated (all)",
    )
    parser.add_argument("--rounds", type=int, help="of each measure (1000)")
    parser.add_argument("--memory-keys", type=int, help="of the measure of memory (10000)")
    parser.add_argument("--blocked-keys", type=int, help="that may not be served (10000)")
    parser.add_argument("--quick", action="store_true", help="whether it works, in some seconds")
    parser.add_argument("--write", action="store_true", help="write the page's tables")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    options.keys = options.keys or ([10, 300] if options.quick else [10, 1_000, 100_000, 1_000_000])
    options.rounds = options.rounds or (10 if options.quick else 1_000)
    options.memory_keys = options.memory_keys or (300 if options.quick else 10_000)
    options.blocked_keys = options.blocked_keys or (100 if options.quick else 10_000)
    return options


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _cost_table(measured: Sequence[Cost]) -> list[str]:
    head = ["lease + settle", "keys", "batch", "lease", "settle", "both", "ratio"]
    head += ["in Redis", "ratio", "met"]
    rows = [
        [
            cost.kind,
            f"{cost.keys:,}",
            str(cost.batch),
            *(f"{us:.0f} µs" for us in (cost.lease_us, cost.settle_us, cost.both_us)),
            f"{cost.ratio:.2f}",
            f"{cost.redis_us:.0f} µs",
            f"{cost.redis_ratio:.2f}",
            "yes" if cost.ratio <= TARGET_RATIO else "**no**",
        ]
        for cost in measured
    ]
    return markdown_table(head, rows)


def _blocked_table(measured: Sequence[Blocked]) -> list[str]:
    head = ["one key beside others that are", "others", "both", "alone", "ratio"]
    head += ["in Redis", "alone", "ratio"]
    rows = [
        [
            one.why,
            f"{one.keys:,}",
            f"{one.both_us:.0f} µs",
            f"{one.alone_us:.0f} µs",
            f"{one.both_us / one.alone_us:.2f}",
            f"{one.redis_us:.0f} µs",
            f"{one.alone_redis_us:.0f} µs",
            f"{one.redis_us / one.alone_redis_us:.2f}",
        ]
        for one in measured
    ]
    return markdown_table(head, rows)


def _memory_table(measured: Sequence[Footprint], keys: int) -> list[str]:
    head = [f"Redis memory, {keys:,} keys", "an entry", "a backlogged key", "an idle key"]
    rows: list[list[Any]] = [
        [
            one.kind,
            f"{one.per_entry:.0f} B",
            f"{one.per_backlogged_key:.0f} B",
            f"{one.per_idle_key:.0f} B",
        ]
        for one in measured
    ]
    return markdown_table(head, rows)


if __name__ == "__main__":
    sys.exit(main())

"""Measure celery-ranch side by side with plain Celery on one Redis, in one run."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import FAIR, SIDES, PrivateRedis, forget_celery_variables, machine, private_redis, told
from measures import (
    MEASURED_POOLS,
    Drained,
    drain,
    footprint,
    latency,
    publish_rates,
    quiet_waits,
)
from rich.console import Console
from rich.table import Table

from celery_ranch.demo.report import percentile

PARTS = ("publish", "drain", "latency", "memory", "quiet")
DRAIN_TARGETS = {"prefork": 2.2, "solo": 4.0, "threads": 6.0}


@dataclass(frozen=True, slots=True)
class Samples:
    """One measure of both sides, a value for each repeat."""

    name: str
    unit: str
    plain: tuple[float, ...]
    fair: tuple[float, ...]
    target: str
    """What the ratio fair/plain (without a plain side: fair itself) is to be."""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """The medians' ratio, fair to plain; None without a plain side."""
        if not self.plain:
            return None
        return statistics.median(self.fair) / statistics.median(self.plain)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        ratio = self.ratio
        value = statistics.median(self.fair) if ratio is None else ratio
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    tasks: int
    repeats: int
    seed: int
    parts: tuple[str, ...]
    pools: tuple[str, ...]
    latency_tasks: int
    memory_entries: int
    flood_tasks: int
    quiet_tasks: int


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for, print the table, write the JSON; return the exit code."""
    options = _options(arguments)
    plan = _plan(options)
    console = Console(width=None if sys.stdout.isatty() else 120)
    forget_celery_variables()
    with private_redis() as server:
        facts = machine(server)
        measured = [samples for part in plan.parts for samples in _part(part, server, plan)]
    console.print(_table(measured))
    console.print(told(facts), highlight=False)
    console.print(told(asdict(plan)), highlight=False)
    if options.json is not None:
        options.json.write_text(json.dumps(_document(facts, plan, measured), indent=2) + "\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks per drain (20000)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measure (3)")
    parser.add_argument("--seed", type=int, default=1, help="of random gaps (1)")
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="measure this part; may be repeated"
    )
    parser.add_argument(
        "--pool", action="append", choices=list(MEASURED_POOLS), help="drain with this pool"
    )
    parser.add_argument("--quick", action="store_true", help="small numbers, once: does it run?")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    return parser.parse_args(arguments)


def _plan(options: argparse.Namespace) -> Plan:
    """Return how much is measured; a quick run asks for a hundredth, once."""
    is_quick = options.quick
    tasks = min(options.tasks, 200) if is_quick else options.tasks
    return Plan(
        tasks=tasks,
        repeats=1 if is_quick else options.repeats,
        seed=options.seed,
        parts=tuple(options.only or PARTS),
        pools=tuple(options.pool or MEASURED_POOLS),
        latency_tasks=20 if is_quick else 300,
        memory_entries=min(tasks, 10_000),
        flood_tasks=min(5 * tasks, 100_000),
        quiet_tasks=5 if is_quick else 50,
    )


def _part(part: str, server: PrivateRedis, plan: Plan) -> Iterable[Samples]:
    """Return the measures of one part."""
    if part == "publish":
        return _published(server, plan)
    if part == "drain":
        return _drained(server, plan)
    if part == "latency":
        return _latencies(server, plan)
    if part == "memory":
        return _footprints(server, plan)
    return _quiet(server, plan)


def _published(server: PrivateRedis, plan: Plan) -> list[Samples]:
    """Publish one by one and a thousand at a time."""
    measured = []
    for repeat in range(plan.repeats):
        _tell(f"publish {repeat + 1}/{plan.repeats}")
        measured.append(publish_rates(server, plan.tasks))
    one_by_one = tuple(rates.plain_one_by_one for rates in measured)
    single = Samples(
        "publish 1,000 one by one",
        "tasks/s",
        one_by_one,
        tuple(rates.fair_one_by_one for rates in measured),
        "at least 1.5",
        at_least=1.5,
    )
    groups = Samples(
        "publish groups of 1,000",
        "tasks/s",
        tuple(rates.plain_groups for rates in measured),
        tuple(rates.fair_groups for rates in measured),
        "at least 1.5",
        at_least=1.5,
    )
    against_plain = [
        Samples(
            f"publish by {name}, against plain one by one",
            "tasks/s",
            one_by_one,
            tuple(getattr(rates, attribute) for rates in measured),
            "at least 2.5",
            at_least=2.5,
        )
        for name, attribute in (("lru_map", "map"), ("submit", "submit"))
    ]
    against_fair = [
        Samples(
            f"publish by {name}, against fair one by one",
            "times",
            (),
            tuple(getattr(rates, attribute) / rates.fair_one_by_one for rates in measured),
            "at least 2.5",
            at_least=2.5,
        )
        for name, attribute in (("lru_map", "map"), ("submit", "submit"))
    ]
    return [single, groups, *against_plain, *against_fair]


def _drained(server: PrivateRedis, plan: Plan) -> list[Samples]:
    """Publish and drain with each pool, the sides taking turns."""
    drained: dict[tuple[str, str], list[Drained]] = defaultdict(list)
    for repeat in range(plan.repeats):
        for pool in plan.pools:
            for side in SIDES:
                _tell(f"drain {pool} {side.name} {repeat + 1}/{plan.repeats}")
                drained[pool, side.name].append(drain(side, server, pool, plan.tasks))

    def values(side: str, pools: Iterable[str], name: str) -> tuple[float, ...]:
        return tuple(getattr(one, name) for pool in pools for one in drained[pool, side])

    published, cpu = "published_per_second", "redis_cpu_us"
    publish = Samples(
        "publish one by one",
        "tasks/s",
        values("plain", plan.pools, published),
        values("fair", plan.pools, published),
        "at least 1.5",
        at_least=1.5,
    )
    drains = [
        Samples(
            f"drain, {pool} {MEASURED_POOLS[pool]}",
            "tasks/s",
            values("plain", [pool], "ran_per_second"),
            values("fair", [pool], "ran_per_second"),
            f"at least {DRAIN_TARGETS[pool]:g}",
            at_least=DRAIN_TARGETS[pool],
        )
        for pool in plan.pools
    ]
    cpus = [
        Samples(
            f"Redis CPU per task, {pool}",
            "µs",
            values("plain", [pool], cpu),
            values("fair", [pool], cpu),
            "at most 1",
            at_most=1.0,
        )
        for pool in plan.pools
    ]
    return [publish, *drains, *cpus]


def _latencies(server: PrivateRedis, plan: Plan) -> list[Samples]:
    """Measure publish to start, the sides taking turns."""
    chance = random.Random(plan.seed)
    measured: dict[str, list[Any]] = {side.name: [] for side in SIDES}
    for repeat in range(plan.repeats):
        for side in SIDES:
            _tell(f"latency {side.name} {repeat + 1}/{plan.repeats}")
            measured[side.name].append(latency(side, server, plan.latency_tasks, chance))
    return [
        Samples(
            f"publish to start, idle worker, {name}",
            "ms",
            tuple(getattr(one, f"{name}_ms") for one in measured["plain"]),
            tuple(getattr(one, f"{name}_ms") for one in measured["fair"]),
            "at most 1",
            at_most=1.0,
        )
        for name in ("p50", "p99")
    ]


def _footprints(server: PrivateRedis, plan: Plan) -> list[Samples]:
    """Measure memory once: it does not vary."""
    taken = {}
    for side in SIDES:
        _tell(f"memory {side.name}")
        taken[side.name] = footprint(side, server, plan.memory_entries)
    plain, fair = taken["plain"], taken["fair"]
    return [
        Samples(
            "Redis memory per waiting entry, 10 per key",
            "B",
            (plain.bytes_per_entry,),
            (fair.bytes_per_entry,),
            "at most 1",
            at_most=1.0,
        ),
        Samples(
            "Redis memory per backlogged key",
            "B",
            (),
            (fair.bytes_per_backlogged_key,),
            "at most 600 B",
            at_most=600.0,
        ),
        Samples(
            "Redis memory per idle key",
            "B",
            (),
            (fair.bytes_per_idle_key,),
            "at most 200 B",
            at_most=200.0,
        ),
    ]


def _quiet(server: PrivateRedis, plan: Plan) -> list[Samples]:
    """Measure a quiet key's wait under a flood of short and of long tasks."""
    chance = random.Random(plan.seed)
    measured = []
    for run_seconds in (0.005, 0.1):
        _tell(f"quiet key, tasks of {run_seconds * 1000:g} ms")
        waits = quiet_waits(server, plan.flood_tasks, run_seconds, plan.quiet_tasks, chance)
        for percent in (50, 95):
            measured.append(
                Samples(
                    f"quiet key's wait, {run_seconds * 1000:g} ms tasks, p{percent}",
                    "run times",
                    (),
                    (percentile(waits, percent),),
                    "at most 1",
                    at_most=1.0,
                )
            )
    return measured


def _tell(step: str) -> None:
    """Say on the standard error what is being measured."""
    print(f"measuring: {step}", file=sys.stderr, flush=True)


def _table(measured: list[Samples]) -> Table:
    """Return the medians as a table."""
    table = Table(title=f"{FAIR.name} against plain Celery, medians")
    for name in ("measure", "plain", "fair", "unit", "ratio", "target", "met"):
        justify = "left" if name in ("measure", "unit", "target", "met") else "right"
        table.add_column(name, justify=justify)
    for samples in measured:
        plain = f"{statistics.median(samples.plain):,.4g}" if samples.plain else "-"
        ratio = "-" if samples.ratio is None else f"{samples.ratio:.2f}"
        met = {True: "yes", False: "NO", None: "-"}[samples.is_met]
        fair = f"{statistics.median(samples.fair):,.4g}"
        table.add_row(samples.name, plain, fair, samples.unit, ratio, samples.target, met)
    return table


def _document(facts: dict[str, Any], plan: Plan, measured: list[Samples]) -> dict[str, Any]:
    """Return everything as JSON takes it."""
    return {
        "machine": facts,
        "plan": asdict(plan),
        "measures": [
            {**asdict(samples), "ratio": samples.ratio, "is_met": samples.is_met}
            for samples in measured
        ],
    }


if __name__ == "__main__":
    sys.exit(main())

"""Replay a workload log through real workers, plain and fair, the key being the user."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import (
    FAIR,
    PLAIN,
    PrivateRedis,
    Side,
    forget_celery_variables,
    machine,
    private_redis,
    told,
    worker,
)
from rich.console import Console
from rich.table import Table
from service import Evenness, Run, evenness
from workload_log import Job, read_jobs, scaled

from celery_ranch.demo.report import percentile

WARM_UP_TASKS = 20


@dataclass(frozen=True, slots=True)
class UserWaits:
    """How long some users' jobs waited for their start."""

    users: str
    jobs: int
    p50_seconds: float
    p95_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one side made of the log."""

    side: str
    waits: tuple[UserWaits, ...]
    """The users with most jobs, then the others together, then each user alike."""
    evenness: Evenness


def main(arguments: list[str] | None = None) -> int:
    """Replay the log on both sides, print the tables, write the JSON; return the exit code."""
    options = _options(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    forget_celery_variables()
    recorded = read_jobs(options.trace, options.skip, options.jobs)
    jobs = scaled(recorded, options.scale, options.longest_seconds)
    cut = sum(1 for job in recorded if job.run_seconds / options.scale > options.longest_seconds)
    with private_redis() as server:
        facts = machine(server)
        replayed = []
        for side in (PLAIN, FAIR):
            print(f"replaying: {side.name}", file=sys.stderr, flush=True)
            runs = replay(side, server, jobs, options.pool, options.concurrency)
            waits = user_waits(runs, options.top)
            index = evenness(runs, options.window_seconds)
            replayed.append(Replayed(side.name, waits, index))
    console.print(_table(replayed[0], replayed[1]))
    for one in replayed:
        console.print(
            f"{one.side}: Jain's index of service by tasks {one.evenness.by_tasks:.3f}, "
            f"by seconds {one.evenness.by_seconds:.3f}, in {one.evenness.windows} windows",
            highlight=False,
        )
    console.print(f"{cut} of {len(jobs)} run times were cut to {options.longest_seconds:g} s")
    console.print(told(facts), highlight=False)
    if options.json is not None:
        options.json.write_text(json.dumps(_document(options, facts, replayed), indent=2) + "\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path, help="a Standard Workload Format log, plain or .gz")
    parser.add_argument("--jobs", type=int, default=2_000, help="how many jobs (2000)")
    parser.add_argument("--skip", type=int, default=0, help="jobs to leave out before (0)")
    parser.add_argument("--scale", type=float, default=10_000.0, help="time divided by (10000)")
    parser.add_argument(
        "--longest-seconds", type=float, default=0.5, help="cut scaled run times to this (0.5)"
    )
    parser.add_argument("--pool", choices=("threads", "prefork"), default="threads")
    parser.add_argument("--concurrency", type=int, default=8, help="of the worker (8)")
    parser.add_argument("--top", type=int, default=5, help="users with a row of their own (5)")
    parser.add_argument("--window-seconds", type=float, default=1.0, help="for Jain's index (1.0)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    return parser.parse_args(arguments)


def replay(
    side: Side, server: PrivateRedis, jobs: Sequence[Job], pool: str, concurrency: int
) -> list[Run]:
    """Submit each job at its time to a worker that is warm; return how they went.

    A job sleeps for its run time. Its submission is when it was published in
    fact, which is later than the log says when publishing does not keep up.
    """
    submitted_at = []
    with worker(side, server, pool, concurrency) as running:
        for number in range(WARM_UP_TASKS):
            side.publish("warm-up", -1)
            running.wait_for(number + 1)
        began_at = time.monotonic()
        for number, job in enumerate(jobs):
            early_seconds = began_at + job.submit_seconds - time.monotonic()
            if early_seconds > 0:
                time.sleep(early_seconds)
            submitted_at.append(time.monotonic() - began_at)
            side.publish(f"user-{job.user}", number, job.run_seconds)
        running.wait_for(WARM_UP_TASKS + len(jobs))
        records = running.records()
    return [
        Run(
            jobs[record.number].user,
            submitted_at[record.number],
            record.started_at - began_at,
            record.ended_at - began_at,
        )
        for record in records
        if record.number >= 0
    ]


def user_waits(runs: Sequence[Run], top: int) -> tuple[UserWaits, ...]:
    """Return the waits of the users with most jobs, of all others, and of users alike.

    The last row takes each user's median as one value, so that a user with a
    thousand jobs counts as much as one with a single job.
    """
    jobs_of = Counter(run.user for run in runs)
    # Ties in the number of jobs are broken the same way on both sides.
    ranked = sorted(jobs_of, key=lambda user: (-jobs_of[user], user))
    waits = {
        user: [run.started_at - run.submitted_at for run in runs if run.user == user]
        for user in ranked
    }
    rows = [_waits(f"user {user}", waits[user]) for user in ranked[:top]]
    others = [wait for user in ranked[top:] for wait in waits[user]]
    if others:
        rows.append(_waits(f"{len(ranked) - top} others", others))
    medians = [percentile(waits[user], 50) for user in ranked]
    rows.append(_waits(f"medians of {len(ranked)} users", medians))
    return tuple(rows)


def _waits(users: str, waits: Sequence[float]) -> UserWaits:
    """Return what these waits come to."""
    return UserWaits(users, len(waits), percentile(waits, 50), percentile(waits, 95), max(waits))


def _table(plain: Replayed, fair: Replayed) -> Table:
    """Return the waits of both sides, side by side."""
    table = Table(title="Seconds from submitting a job to its start")
    table.add_column("who")
    table.add_column("jobs", justify="right")
    for side in (plain, fair):
        for name in ("p50", "p95", "max"):
            table.add_column(f"{side.side} {name}", justify="right")
    for before, after in zip(plain.waits, fair.waits, strict=True):
        cells = [
            f"{seconds:.3f}"
            for one in (before, after)
            for seconds in (one.p50_seconds, one.p95_seconds, one.max_seconds)
        ]
        table.add_row(before.users, str(before.jobs), *cells)
    return table


def _document(
    options: argparse.Namespace, facts: dict[str, Any], replayed: Sequence[Replayed]
) -> dict[str, Any]:
    """Return everything as JSON takes it, which has no NaN."""
    results = [asdict(one) for one in replayed]
    for one in results:
        for name in ("by_tasks", "by_seconds"):
            if math.isnan(one["evenness"][name]):
                one["evenness"][name] = None
    asked = {name: value for name, value in vars(options).items() if name not in ("trace", "json")}
    return {"log": options.trace.name, "asked": asked, "machine": facts, "replayed": results}


if __name__ == "__main__":
    sys.exit(main())

"""Replay a workload log by count, by seconds, by user and by organisation, and compare."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import apps
from chart import draw_shares
from harness import (
    BY_SECONDS,
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
from page import markdown_table, put_into_page
from service import Run, Together, evenness, jain, longest_together, seconds_between
from virtual import Offer, run_virtually, seconds
from workload_log import Job, read_jobs, scaled

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "evenness.md"
IMAGES = ROOT / "docs" / "images"
DEFAULT_TRACE = ROOT.parent / "shared" / "traces" / "LCG.swf.gz"


def user_of(job: Job) -> Any:
    """Return the key of a job whose user is the tenant."""
    return f"user-{job.user}"


def path_of(job: Job) -> Any:
    """Return the key of a job whose organisation is the tenant."""
    return (f"organisation-{job.organisation}", f"user-{job.user}")


@dataclass(frozen=True, slots=True)
class Way:
    """One way of running the log."""

    name: str
    side: Side
    submit: Callable[[Iterable[tuple[Any, int, float]]], None]
    key_of: Callable[[Job], Any]


WAYS = (
    Way("plain Celery", PLAIN, apps.submit_jobs_plainly, user_of),
    Way("key is the user, each task costs 1", FAIR, apps.submit_jobs_fairly, user_of),
    Way('key is the user, cost="seconds"', BY_SECONDS, apps.submit_jobs_by_seconds, user_of),
    Way("key is (organisation, user), each task costs 1", FAIR, apps.submit_jobs_fairly, path_of),
    Way(
        'key is (organisation, user), cost="seconds"',
        BY_SECONDS,
        apps.submit_jobs_by_seconds,
        path_of,
    ),
)

#: Which ways are compared, and what stands for a tenant then.
BY_USER = (WAYS[0], WAYS[1], WAYS[2])
BY_ORGANISATION = (WAYS[0], WAYS[2], WAYS[3], WAYS[4])


@dataclass(frozen=True, slots=True)
class Row:
    """How evenly one way served tenants."""

    way: str
    by_jobs: float
    """Jain's index of jobs started, while all the tenants had work waiting."""
    by_seconds: float
    """Likewise of seconds run."""
    in_windows: float
    """Of seconds run, in the mean over the windows of the way's own backlog."""
    windows: int
    virtual: float
    """`by_seconds` as the rule alone makes it, in virtual time."""
    received: tuple[float, ...]
    """Seconds run of each tenant in the interval."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Ways compared over the same tenants in the same seconds."""

    tenant: str
    """Of which kind: user or organisation."""
    together: Together
    offered: tuple[tuple[int, float], ...]
    """How many jobs each of these tenants has in all, and their seconds."""
    rows: tuple[Row, ...]


def main(arguments: list[str] | None = None) -> int:
    """Replay the log every way, print and write what is asked for; return the exit code."""
    options = _options(arguments)
    if not options.trace.exists():
        print(
            f"There is no log at {options.trace}. Name one in the Standard Workload Format, say\n"
            "LCG.swf.gz of the Parallel Workloads Archive: make evenness TRACE=path/to/it",
            file=sys.stderr,
        )
        return 2
    forget_celery_variables()
    recorded = read_jobs(options.trace, options.skip, options.jobs)
    jobs = scaled(recorded, options.scale, options.longest_seconds)
    with private_redis() as server:
        facts = machine(server)
        real = _really(server, jobs, options)
    rule = {way.name: _virtually(way, jobs, options.concurrency) for way in WAYS}
    compared = [
        compare(ways, tenant, jobs, real, rule, options.window_seconds)
        for tenant, ways in (("user", BY_USER), ("organisation", BY_ORGANISATION))
    ]
    cut = sum(1 for job in recorded if job.run_seconds / options.scale > options.longest_seconds)
    tables = {
        f"by-{one.tenant}": [*_evenness_table(one), "", *_received_table(one)] for one in compared
    }
    tables["run"] = [_said(jobs, cut, facts, options)]
    for lines in tables.values():
        print("\n".join(lines), end="\n\n")
    if options.write:
        for name, lines in tables.items():
            put_into_page(PAGE, name, lines)
        for one in compared:
            path = IMAGES / f"evenness-{one.tenant}.svg"
            draw_shares(one.tenant, one.together.users, _shares(one), path)
    if options.json is not None:
        document = {"machine": facts, "compared": [asdict(one) for one in compared]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "trace", type=Path, nargs="?", default=DEFAULT_TRACE, help="a log, plain or .gz"
    )
    parser.add_argument("--jobs", type=int, default=5_000, help="how many jobs (5000)")
    parser.add_argument("--skip", type=int, default=0, help="jobs to leave out before (0)")
    parser.add_argument("--scale", type=float, default=5_000.0, help="time divided by (5000)")
    parser.add_argument(
        "--longest-seconds", type=float, default=2.0, help="cut scaled run times to this (2.0)"
    )
    parser.add_argument("--concurrency", type=int, default=16, help="threads of the worker (16)")
    parser.add_argument(
        "--window-seconds", type=float, default=10.0, help="for the index in windows (10)"
    )
    parser.add_argument("--write", action="store_true", help="write the page's tables and images")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    return parser.parse_args(arguments)


def compare(
    ways: Sequence[Way],
    tenant: str,
    jobs: Sequence[Job],
    real: dict[str, list[Run]],
    rule: dict[str, list[Run]],
    window_seconds: float,
) -> Compared:
    """Compare ways over the tenants who waited together for longest in all of them."""
    label = _by_organisation if tenant == "organisation" else list
    runs_of = {way.name: label(real[way.name]) for way in ways}
    rule_of = {way.name: label(rule[way.name]) for way in ways}
    together = longest_together(runs_of.values())
    in_rule = longest_together(rule_of.values())
    if together is None or in_rule is None:
        raise ValueError("no two tenants had work waiting at the same time; use a larger backlog")
    rows = []
    for way in ways:
        runs = runs_of[way.name]
        received = _received(runs, together)
        windows = evenness(runs, window_seconds)
        rows.append(
            Row(
                way=way.name,
                by_jobs=jain(_started(runs, together)),
                by_seconds=jain(received),
                in_windows=windows.by_seconds,
                windows=windows.windows,
                virtual=jain(_received(rule_of[way.name], in_rule)),
                received=tuple(received),
            )
        )
    name_of = (lambda job: job.organisation) if tenant == "organisation" else lambda job: job.user
    counts = Counter(name_of(job) for job in jobs)
    offered = tuple(
        (counts[name], sum(job.run_seconds for job in jobs if name_of(job) == name))
        for name in together.users
    )
    return Compared(tenant, together, offered, tuple(rows))


def _really(
    server: PrivateRedis, jobs: Sequence[Job], options: argparse.Namespace
) -> dict[str, list[Run]]:
    """Run the jobs every way through a worker of its own."""
    runs = {}
    for number, way in enumerate(WAYS, 1):
        print(f"replaying {number}/{len(WAYS)}: {way.name}", file=sys.stderr, flush=True)
        began_at = time.monotonic()
        runs[way.name] = _run(way, server, jobs, options.concurrency)
        server.client.flushall()
        print(f"  {time.monotonic() - began_at:.0f} s", file=sys.stderr, flush=True)
    return runs


def _run(way: Way, server: PrivateRedis, jobs: Sequence[Job], slots: int) -> list[Run]:
    """Submit all jobs in their order, then start a worker; time begins with its first job."""
    calls = [(way.key_of(job), number, job.run_seconds) for number, job in enumerate(jobs)]
    for first in range(0, len(calls), 1_000):
        way.submit(calls[first : first + 1_000])
    with worker(way.side, server, "threads", slots) as running:
        running.wait_for(len(jobs))
        records = running.records()
    began_at = min(record.started_at for record in records)
    return [
        Run(
            jobs[record.number].user,
            0.0,
            record.started_at - began_at,
            record.ended_at - began_at,
            jobs[record.number].organisation,
        )
        for record in records
    ]


def _virtually(way: Way, jobs: Sequence[Job], slots: int) -> list[Run]:
    """Run the jobs one way through the rule alone; first come, first served is one key."""
    offers = []
    for job in jobs:
        key = ("all",) if way.side is PLAIN else way.key_of(job)
        path = key if isinstance(key, tuple) else (key,)
        run_us = max(1, round(job.run_seconds * 1e6))
        offers.append(Offer(path, 0, run_us))
    attempts = run_virtually(offers, slots, by_seconds=way.side is BY_SECONDS)
    return [
        Run(
            jobs[one.offer].user,
            seconds(one.due_us),
            seconds(one.started_us),
            seconds(one.ended_us),
            jobs[one.offer].organisation,
        )
        for one in attempts
    ]


def _by_organisation(runs: Sequence[Run]) -> list[Run]:
    """Return runs as those of the organisations."""
    return [replace(run, user=run.organisation) for run in runs]


def _received(runs: Sequence[Run], together: Together) -> list[float]:
    """Return the seconds run of each of these tenants in the interval."""
    received = seconds_between(runs, together.since, together.until)
    return [received[user] for user in together.users]


def _started(runs: Sequence[Run], together: Together) -> list[int]:
    """Return how many jobs of each of these tenants started in the interval."""
    started = Counter(run.user for run in runs if together.since <= run.started_at < together.until)
    return [started[user] for user in together.users]


def _shares(one: Compared) -> dict[str, list[float]]:
    """Return what each tenant received, in multiples of an even share, by way."""
    return {
        row.way: [each * len(row.received) / sum(row.received) for each in row.received]
        for row in one.rows
    }


def _evenness_table(one: Compared) -> list[str]:
    """Return Jain's indices of every way."""
    rows = [
        [
            row.way,
            f"{row.by_jobs:.3f}",
            f"**{row.by_seconds:.3f}**",
            f"{row.in_windows:.3f}",
            str(row.windows),
            f"{row.virtual:.3f}",
        ]
        for row in one.rows
    ]
    head = ["", "by jobs", "by seconds", "by seconds, in windows", "windows", "rule alone"]
    return markdown_table(head, rows)


def _received_table(one: Compared) -> list[str]:
    """Return the seconds that each tenant received, every way."""
    together = one.together
    rows = [
        [f"{one.tenant} {user}", f"{jobs:,}", f"{offered:.1f}"]
        + [f"{row.received[place]:.1f}" for row in one.rows]
        for place, (user, (jobs, offered)) in enumerate(
            zip(together.users, one.offered, strict=True)
        )
    ]
    length = f"{together.until - together.since:.1f} s"
    head = [f"seconds received in {length}", "jobs in all", "their seconds"]
    return markdown_table(head + [row.way for row in one.rows], rows)


def _said(
    jobs: Sequence[Job],
    cut: int,
    facts: dict[str, Any],
    options: argparse.Namespace,
) -> str:
    """Return what was run, and on what."""
    total = sum(job.run_seconds for job in jobs)
    skipped = f" after the first {options.skip:,}" if options.skip else ""
    return (
        f"{len(jobs):,} jobs of `{options.trace.name}`{skipped}, time divided by "
        f"{options.scale:,.0f}; {cut} run times were cut to {options.longest_seconds:g} s. "
        f"{total:,.0f} s of run time on "
        f"{options.concurrency} threads of one worker. Windows of {options.window_seconds:g} s. "
        f"{told(facts)}."
    )


if __name__ == "__main__":
    sys.exit(main())

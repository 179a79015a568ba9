"""Reading a workload log in the Standard Workload Format.

Each job is a line of 18 columns; lines that begin with a semicolon are
comments (Parallel Workloads Archive, "The Standard Workload Format").
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TextIO

__all__ = ["Job", "read_jobs", "scaled"]

COLUMNS = 18


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the log, in seconds of the log or, scaled, of the replay."""

    user: str
    submit_seconds: float
    run_seconds: float
    organisation: str = "-1"
    """What the format calls the user's group; -1 if it is not known."""


def read_jobs(path: Path, skip: int, limit: int) -> list[Job]:
    """Return so many jobs of a log, in the order of their submission.

    Args:
        path: The log; with the ending ``.gz`` it is unpacked.
        skip: How many jobs at the beginning are left out.
        limit: How many jobs are returned, if there are so many.

    Raises:
        ValueError: A line is not a job, or no job is left.
    """
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        jobs = list(islice(_jobs(lines), skip, skip + limit))
    if not jobs:
        raise ValueError(f"{path} has no jobs after the first {skip}")
    return sorted(jobs, key=lambda job: job.submit_seconds)


def scaled(jobs: list[Job], scale: float, longest_seconds: float) -> list[Job]:
    """Return the jobs with time divided by the scale, counted from the first submission.

    A job that would run longer than `longest_seconds` then is cut to that.

    Example:
        >>> scaled([Job("1", 50, 100), Job("2", 70, 900)], 10, 30)[1]
        Job(user='2', submit_seconds=2.0, run_seconds=30, organisation='-1')
    """
    first = jobs[0].submit_seconds
    return [
        replace(
            job,
            submit_seconds=(job.submit_seconds - first) / scale,
            run_seconds=min(job.run_seconds / scale, longest_seconds),
        )
        for job in jobs
    ]


def _jobs(lines: TextIO) -> Iterator[Job]:
    """Yield the jobs of an open log."""
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns or columns[0].startswith(";"):
            continue
        if len(columns) != COLUMNS:
            raise ValueError(f"line {number} has {len(columns)} columns instead of {COLUMNS}")
        # An unknown run time or user is -1 in this format.
        yield Job(columns[11], float(columns[1]), max(0.0, float(columns[3])), columns[12])

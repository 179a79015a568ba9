"""What the waits come to: a table, and a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from celery_ranch.demo.workload import FLOODER, QUIET_TENANTS, TaskWait

__all__ = ["WaitSummary", "by_tenant", "conclusion", "percentile", "summary", "table"]


@dataclass(frozen=True, slots=True)
class WaitSummary:
    """The waits of some tasks, in seconds."""

    tasks: int
    p50_seconds: float
    p95_seconds: float
    max_seconds: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least so many percent of all do not exceed.

    Raises:
        ValueError: There are no values.

    Example:
        >>> percentile([4.0, 1.0, 3.0, 2.0], 50)
        2.0
    """
    if not values:
        raise ValueError("no values")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


def summary(waits: Iterable[TaskWait]) -> WaitSummary:
    """Return what some tasks' waits come to."""
    seconds = [wait.seconds for wait in waits]
    return WaitSummary(len(seconds), percentile(seconds, 50), percentile(seconds, 95), max(seconds))


def by_tenant(waits: Sequence[TaskWait]) -> dict[str, WaitSummary]:
    """Return each tenant's summary, the flooder's first."""
    return {
        tenant: summary(wait for wait in waits if wait.tenant == tenant)
        for tenant in (FLOODER, *QUIET_TENANTS)
        if any(wait.tenant == tenant for wait in waits)
    }


def table(plain: Sequence[TaskWait], fair: Sequence[TaskWait]) -> Table:
    """Return both runs' waits per tenant, side by side."""
    drawn = Table(title=f"Seconds from submitting a task to its start ({FLOODER} floods)")
    drawn.add_column("tenant", no_wrap=True)
    drawn.add_column("tasks", justify="right")
    for side, style in (("plain", "red"), ("fair", "green")):
        for name in ("p50", "p95", "max"):
            drawn.add_column(f"{side}\n{name}", justify="right", style=style)
    fair_by_tenant = by_tenant(fair)
    for tenant, before in by_tenant(plain).items():
        after = fair_by_tenant[tenant]
        drawn.add_row(
            tenant,
            str(before.tasks),
            *_cells(before),
            *_cells(after),
            end_section=tenant == FLOODER,
        )
    return drawn


def conclusion(plain: Sequence[TaskWait], fair: Sequence[TaskWait]) -> str:
    """Return in two sentences what fairness did for the quiet tenants."""
    before = summary(wait for wait in plain if wait.tenant != FLOODER)
    after = summary(wait for wait in fair if wait.tenant != FLOODER)
    return (
        f"95 of 100 of the quiet tenants' tasks started within {before.p95_seconds:.2f} s "
        f"with plain Celery, within {after.p95_seconds:.3f} s with celery-ranch. Of {FLOODER}'s "
        f"tasks up to {_flood_starts(plain)} started first with plain Celery, up to "
        f"{_flood_starts(fair)} with celery-ranch."
    )


def _flood_starts(waits: Sequence[TaskWait]) -> int:
    """Return how many of the flood started, at most, before each of 95 of 100 quiet tasks."""
    counts = [float(wait.flood_starts) for wait in waits if wait.tenant != FLOODER]
    return int(percentile(counts, 95))


def _cells(one: WaitSummary) -> tuple[str, str, str]:
    """Return a summary's seconds as a table shows them."""
    return f"{one.p50_seconds:.3f}", f"{one.p95_seconds:.3f}", f"{one.max_seconds:.3f}"

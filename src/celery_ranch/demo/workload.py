"""Who sends what, and when: one tenant's flood and five tenants' trickle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FLOODER",
    "PROCESSES",
    "QUIET_TENANTS",
    "RUN_SECONDS",
    "TRICKLE_SECONDS",
    "Submission",
    "TaskWait",
    "submissions",
]

FLOODER = "acme"
QUIET_TENANTS = ("birch", "cedar", "dune", "elm", "fjord")

#: How long each task runs.
RUN_SECONDS = 0.025

#: How long each quiet tenant lets pass between two of its tasks.
TRICKLE_SECONDS = 0.3

#: How many tasks the worker runs at once.
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Submission:
    """One task that a tenant is going to send."""

    tenant: str
    at_seconds: float
    """When, counted from the start of the flood."""


@dataclass(frozen=True, slots=True)
class TaskWait:
    """How long one task waited from its submission to its start."""

    tenant: str
    seconds: float
    flood_starts: int
    """How many of the flooder's tasks started meanwhile, itself not counted."""


def submissions(flood_tasks: int) -> tuple[Submission, ...]:
    """Return everything that is sent, in the order of time.

    The flood comes at once. The trickle goes on for as long as the worker
    needs for the flood alone, the quiet tenants evenly between each other.

    Example:
        >>> [one.tenant for one in submissions(8)][-2:]
        ['birch', 'cedar']
    """
    flood_seconds = flood_tasks * RUN_SECONDS / PROCESSES
    gap_seconds = TRICKLE_SECONDS / len(QUIET_TENANTS)
    trickle = (
        Submission(QUIET_TENANTS[number % len(QUIET_TENANTS)], number * gap_seconds)
        for number in range(int(flood_seconds / gap_seconds) + 1)
    )
    return (*(Submission(FLOODER, 0.0) for _ in range(flood_tasks)), *trickle)

"""The ideal that service is held against: capacity divided as if it were a fluid."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

__all__ = ["ideal_service", "max_min"]

STEP_US = 10_000


def max_min(
    capacity: float, wants: Mapping[str, float], shares: Mapping[str, float]
) -> dict[str, float]:
    """Return the weighted max-min division: nobody gets more than they want, what
    is left is divided by share among those who want more.

    Example:
        >>> max_min(4, {"a": 1, "b": 3, "c": 3}, {"b": 2})
        {'a': 1, 'b': 2.0, 'c': 1.0}
    """
    gets: dict[str, float] = {}
    open_wants = dict(wants)
    while open_wants:
        level = capacity / sum(shares.get(who, 1.0) for who in open_wants)
        met = {
            who: want for who, want in open_wants.items() if want <= level * shares.get(who, 1.0)
        }
        if not met:
            return gets | {who: level * shares.get(who, 1.0) for who in open_wants}
        gets |= met
        capacity -= sum(met.values())
        open_wants = {who: want for who, want in open_wants.items() if who not in met}
    return gets


def ideal_service(
    tasks: Iterable[tuple[str, int, int]],
    slots: int,
    until_us: int,
    shares: Mapping[str, float],
) -> dict[str, float]:
    """Return the seconds that each tenant would have run by an instant, ideally.

    At every instant the slots are divided max-min by share among those with
    tasks there, however small a part of a slot that is; one task runs on one
    slot at most.

    Args:
        tasks: Of each its tenant, when it could run first, and for how long.
        slots: How many there are.
        until_us: The instant.
        shares: Of tenants that have another than 1.
    """
    coming = deque(sorted(tasks, key=lambda task: task[1]))
    remaining: dict[str, deque[float]] = defaultdict(deque)
    received: dict[str, float] = defaultdict(float)
    for now_us in range(0, until_us, STEP_US):
        while coming and coming[0][1] <= now_us:
            tenant, _, run_us = coming.popleft()
            remaining[tenant].append(run_us)
        wants = {tenant: float(len(own)) for tenant, own in remaining.items() if own}
        for tenant, slots_of in max_min(slots, wants, shares).items():
            received[tenant] += _run(remaining[tenant], slots_of * STEP_US) / 1_000_000
    return dict(received)


def _run(tasks: deque[float], us: float) -> float:
    """Run a tenant's first tasks for that long in all, each for one step at most."""
    left_us = us
    for place, task_us in enumerate(tasks):
        run_us = min(task_us, float(STEP_US), left_us)
        tasks[place] = task_us - run_us
        left_us -= run_us
        if left_us < 0.5:
            break
    # The first ones end first: those of one tenant are alike here.
    while tasks and tasks[0] < 0.5:
        tasks.popleft()
    return us - left_us

"""Jain's index of service: how evenly users who all had work waiting were served."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Evenness", "Run", "Together", "evenness", "jain", "longest_together", "seconds_between"]


@dataclass(frozen=True, slots=True)
class Run:
    """One job as it went, in seconds since the replay began."""

    user: str
    submitted_at: float
    started_at: float
    ended_at: float
    organisation: str = "-1"


@dataclass(frozen=True, slots=True)
class Evenness:
    """Jain's index over the windows in which several users were backlogged."""

    by_tasks: float
    """Service counted in tasks started."""
    by_seconds: float
    """Service counted in seconds run."""
    windows: int
    """How many windows had at least two users backlogged throughout."""


def jain(service: Sequence[float]) -> float:
    """Return ``(sum x)^2 / (n * sum x^2)``: 1 is even, 1/n is all for one.

    (Jain, Chiu and Hawe 1984, DEC-TR-301.) Nobody being served is even.

    Example:
        >>> jain([3, 3, 3]), jain([5, 0])
        (1.0, 0.5)
    """
    squares = sum(one * one for one in service)
    return 1.0 if squares == 0 else sum(service) ** 2 / (len(service) * squares)


def evenness(runs: Sequence[Run], window_seconds: float) -> Evenness:
    """Return how evenly users were served while they all had work waiting.

    The replay is cut into windows of equal length. In each, the users count
    who were backlogged throughout: at every instant of it some job of theirs
    was submitted and not started. What a user got is the number of their jobs
    that started in the window, or the seconds for which their jobs ran in it.
    The index of a window with at least two such users is Jain's; the result
    is the mean over these windows, weighted by the number of such users, and
    NaN if there are none.
    """
    by_user: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_user[run.user].append(run)
    backlogs = _spans(runs)
    end = max(run.ended_at for run in runs)
    weight, in_tasks, in_seconds, windows = 0, 0.0, 0.0, 0
    for number in range(math.floor(end / window_seconds)):
        since, until = number * window_seconds, (number + 1) * window_seconds
        users = [
            user
            for user, spans in backlogs.items()
            if any(begin <= since and until <= end for begin, end in spans)
        ]
        if len(users) < 2:
            continue
        served = [by_user[user] for user in users]
        tasks = [sum(1 for run in own if since <= run.started_at < until) for own in served]
        seconds = [sum(_overlap(run, since, until) for run in own) for own in served]
        windows += 1
        weight += len(users)
        in_tasks += len(users) * jain(tasks)
        in_seconds += len(users) * jain(seconds)
    if windows == 0:
        return Evenness(math.nan, math.nan, 0)
    return Evenness(in_tasks / weight, in_seconds / weight, windows)


@dataclass(frozen=True, slots=True)
class Together:
    """Users who all had work waiting at every instant of an interval."""

    users: tuple[str, ...]
    since: float
    until: float


def longest_together(replays: Iterable[Sequence[Run]]) -> Together | None:
    """Return who was backlogged together for longest, in all replays of the same jobs.

    The interval and the users are those with the largest product of its
    length and their number less one, so that neither two users for long nor
    many for a moment are preferred. What users received has no part in the
    choice. None if no two users ever waited together in all replays.

    Example:
        >>> runs = [Run("a", 0, 5, 6), Run("b", 0, 4, 5), Run("c", 3, 9, 9)]
        >>> longest_together([runs])
        Together(users=('a', 'b'), since=0, until=4)
    """
    spans = _in_all([_spans(runs) for runs in replays])
    best: tuple[float, Together] | None = None
    for since in sorted({begin for own in spans.values() for begin, _ in own}):
        ends = sorted(
            (
                (end, user)
                for user, own in spans.items()
                for begin, end in own
                if begin <= since < end
            ),
            reverse=True,
        )
        for others in range(1, len(ends)):
            until = ends[others][0]
            weight = others * (until - since)
            if best is None or weight > best[0]:
                users = tuple(sorted(user for _, user in ends[: others + 1]))
                best = (weight, Together(users, since, until))
    return None if best is None else best[1]


def seconds_between(runs: Iterable[Run], since: float, until: float) -> dict[str, float]:
    """Return for how many seconds of an interval each user's jobs ran."""
    received: dict[str, float] = defaultdict(float)
    for run in runs:
        received[run.user] += _overlap(run, since, until)
    return received


def _spans(runs: Sequence[Run]) -> dict[str, list[tuple[float, float]]]:
    """Return each user's longest spans with some job waiting."""
    by_user: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_user[run.user].append(run)
    return {user: _backlogged(own) for user, own in by_user.items()}


def _in_all(
    replays: Sequence[dict[str, list[tuple[float, float]]]],
) -> dict[str, list[tuple[float, float]]]:
    """Return the spans that are within one of the user's spans in every replay."""
    first, *others = replays
    for other in others:
        first = {
            user: [
                (max(begin, start), min(end, stop))
                for begin, end in own
                for start, stop in other.get(user, ())
                if max(begin, start) < min(end, stop)
            ]
            for user, own in first.items()
        }
    return first


def _backlogged(runs: Sequence[Run]) -> list[tuple[float, float]]:
    """Return the longest spans during which some of these jobs waited."""
    spans: list[tuple[float, float]] = []
    for run in sorted(runs, key=lambda one: one.submitted_at):
        if spans and run.submitted_at <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], run.started_at))
        else:
            spans.append((run.submitted_at, run.started_at))
    return spans


def _overlap(run: Run, since: float, until: float) -> float:
    """Return for how many seconds of a window a job ran."""
    return max(0.0, min(run.ended_at, until) - max(run.started_at, since))

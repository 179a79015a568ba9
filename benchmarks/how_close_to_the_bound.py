"""Report which fraction of its bounds on unfairness the rule reaches, in seeded histories.

No time is measured. Histories are those that the tests hold to the bounds
(`tests/tree_histories.py`), of random trees of keys, and a few that were made
to be as unfair as can be. Of each the widest gap between any two siblings over
any interval counts, as a fraction of what the bound allows those two.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from celery_ranch.scheduling.model import OutcomeKind
from tests.tree_histories import History

AT_ONCE = (1, 4, 16)
LEVEL = 3
FLOOD, RIVAL = ("a",), ("b",)
UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Bound:
    """One form of the bound, and where its histories come from."""

    name: str
    is_measured: bool
    may_return: bool
    fraction: Callable[[History], float]
    adversary: Callable[[int], History]


@dataclass(frozen=True, slots=True)
class Reached:
    """What fractions of a bound were reached, with so many entries leased at once."""

    bound: str
    at_once: int
    median: float
    """Of the random histories."""
    largest: float
    adversary: float


def dear_then_cheap(at_once: int) -> History:
    """Serve a dear entry of one key, then the other until it has caught up, and once more."""
    history = History(random.Random(0), at_once)
    for cost in (5 * UNIT, UNIT):
        history.put(FLOOD, LEVEL, cost)
    history.lease(1)
    for _ in range(3):
        history.put(RIVAL, LEVEL, 5 * UNIT - 1)
    for _ in range(2):
        complete(history)
        history.lease(1)
    return history


def hoarded(at_once: int) -> History:
    """Complete at once what one key has leased, and nothing of what the other has."""
    history = History(random.Random(0), at_once)
    for _ in range(4 * at_once):
        history.put(FLOOD, LEVEL, UNIT)
    history.lease(at_once)
    for _ in range(4 * at_once):
        history.put(RIVAL, LEVEL, UNIT)
    while any(leased.key == FLOOD for leased, _ in history.held):
        complete(history, FLOOD, most=1)
        history.lease(1)
    return history


def underestimated(at_once: int) -> History:
    """Let a key that was quick take long with all that it can have leased at once."""
    history = History(random.Random(0), at_once, is_measured=True)
    history.runs_us_of = {FLOOD: (1,), RIVAL: (UNIT,)}
    for key in (FLOOD, RIVAL):
        history.put(key, LEVEL, None)
        history.lease(1)
        complete(history)
    for _ in range(2 * at_once):
        for key in (RIVAL, FLOOD):
            history.put(key, LEVEL, None)
    history.lease(1)
    complete(history, RIVAL)
    history.lease(at_once)
    history.runs_us_of[FLOOD] = (30 * UNIT,)
    complete(history)
    return history


def complete(history: History, *keys: object, most: int = 1_000) -> None:
    """Complete what is leased, or so much of it as is of some keys."""
    chosen = [item for item in history.held if not keys or item[0].key in keys][:most]
    for item in chosen:
        history.held.remove(item)
        history.end(*item, OutcomeKind.COMPLETED)


BOUNDS = (
    Bound("at dispatch, costs known", False, True, lambda h: h.dispatched.worst, dear_then_cheap),
    Bound("completed, costs known", False, False, lambda h: h.completed.worst, hoarded),
    Bound("completed, costs measured", True, True, lambda h: h.completed.worst, underestimated),
    Bound("charged, costs measured", True, True, lambda h: h.charged.worst, underestimated),
)


def reached(bound: Bound, at_once: int, histories: int, steps: int, seed: int) -> Reached:
    """Run histories of one kind; return what they reached."""
    found = [
        bound.fraction(
            History(
                random.Random(f"{seed}/{number}"),
                at_once,
                is_measured=bound.is_measured,
                may_return=bound.may_return,
                level_floor=50_000 * (number % 2),
            ).run(steps)
        )
        for number in range(histories)
    ]
    adversary = bound.fraction(bound.adversary(at_once))
    return Reached(bound.name, at_once, statistics.median(found), max(found), adversary)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--histories", type=int, default=10, help="of each kind")
    parser.add_argument("--steps", type=int, default=500, help="of each history")
    parser.add_argument("--json", type=Path, help="where to write the fractions")
    options = parser.parse_args(arguments)

    told = f"seed {options.seed}, {options.histories} random histories of {options.steps} steps"
    print(f"{told} of each kind\n")
    print("| bound | D | random, median | random, largest | made for it |\n|---|---|---|---|---|")
    rows = []
    for bound in BOUNDS:
        for at_once in AT_ONCE:
            row = reached(bound, at_once, options.histories, options.steps, options.seed)
            fractions = (f"{one:.3f}" for one in (row.median, row.largest, row.adversary))
            print("|", " | ".join((row.bound, str(at_once), *fractions)), "|")
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return int(any(max(row.largest, row.adversary) > 1 for row in rows))


if __name__ == "__main__":
    sys.exit(main())

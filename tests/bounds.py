"""How far apart siblings come in a history, and how far they may.

What each child of each race received is added up in the charges that the rule
counts in, cost per share, over every interval in which two siblings race.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from celery_ranch.scheduling.model import KeyPath

__all__ = ["Charged", "Child", "Completed", "Dispatched", "Ledger"]

#: A node at a level: its siblings there have the same level and parent.
Child: TypeAlias = tuple[int, KeyPath]


@dataclass(slots=True)
class _Spread:
    """The range of a pair's difference since both came to race."""

    smallest: int
    largest: int
    most: dict[Child, int]
    """What one entry of each may have charged it."""

    @property
    def width(self) -> int:
        return self.largest - self.smallest


class Ledger:
    """What each child received, and how far apart each pair came while both raced.

    Every interval is covered: of each pair the largest and the smallest
    difference since both came to race are kept, and compared.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        """The widest spread seen, as a fraction of what is allowed."""
        self.received: Counter[Child] = Counter()
        self._racing: dict[tuple[int, KeyPath], set[Child]] = defaultdict(set)
        self._spreads: dict[Child, dict[Child, _Spread]] = defaultdict(dict)

    def enter(self, child: Child) -> None:
        """Open an interval for the child and each of its siblings that races."""
        siblings = self._racing[child[0], child[1][:-1]]
        for other in siblings:
            spread = _Spread(0, 0, {one: self.charged_last(one) for one in (child, other)})
            spread.smallest = spread.largest = self.received[child] - self.received[other]
            self._spreads[child][other] = self._spreads[other][child] = spread
        siblings.add(child)

    def leave(self, child: Child) -> None:
        """Close the child's intervals."""
        self._racing[child[0], child[1][:-1]].discard(child)
        for other in self._spreads.pop(child, {}):
            del self._spreads[other][child]

    def add(self, child: Child, amount: int) -> None:
        """Count what a child received, in every interval that is open."""
        self.received[child] += amount
        for other, spread in self._spreads[child].items():
            # The sign of a difference is that of the pair's order, whichever it is.
            difference = self.received[child] - self.received[other]
            if spread.most and next(iter(spread.most)) != child:
                difference = -difference
            spread.smallest = min(spread.smallest, difference)
            spread.largest = max(spread.largest, difference)
            self.note(child, other, spread, amount)

    def note(self, child: Child, other: Child, spread: _Spread, amount: int) -> None:
        """Compare a spread with what is allowed."""
        allowed = self.allowed(child) + self.allowed(other)
        if spread.width:
            self.worst = max(self.worst, spread.width / allowed)

    def charged_last(self, child: Child) -> int:
        """Return what the child's last service charged it."""
        return 0

    def allowed(self, child: Child) -> int:
        """Return the child's part of the bound, in charges."""
        raise NotImplementedError


class Dispatched(Ledger):
    """Counted as entries are handed over, their costs known.

    Sharper than the largest entry there is: the entries that count are those
    served in the interval, and each child's last one before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last: Counter[Child] = Counter()

    def add(self, child: Child, amount: int) -> None:
        for spread in self._spreads[child].values():
            spread.most[child] = max(spread.most[child], amount)
        self.last[child] = amount
        super().add(child, amount)

    def note(self, child: Child, other: Child, spread: _Spread, amount: int) -> None:
        if spread.width:
            self.worst = max(self.worst, spread.width / sum(spread.most.values()))

    def charged_last(self, child: Child) -> int:
        return self.last[child]


@dataclass(slots=True)
class _Extremes:
    """The largest cost of a child, actual or estimated, and the largest errors."""

    cost: int = 0
    over: int = 0
    under: int = 0


class Completed(Ledger):
    """Counted as entries end, in what they did cost.

    The bound is that of completed service, with estimated costs or without.

    Args:
        at_once: How many entries are leased at once at most.
        charge_of: What a cost charges a child now.
    """

    def __init__(self, at_once: int, charge_of: Callable[[KeyPath, int], int]) -> None:
        super().__init__()
        self._at_once = at_once
        self._charge_of = charge_of
        self._extremes: dict[Child, _Extremes] = defaultdict(_Extremes)

    def outstanding(self, child: Child, cost: int) -> None:
        """Note what an entry is thought to cost that was handed over."""
        extremes = self._extremes[child]
        extremes.cost = max(extremes.cost, cost)

    def ended(self, child: Child, thought: int, cost: int) -> None:
        """Count an entry that ended, and by how much its estimate was wrong."""
        extremes = self._extremes[child]
        extremes.cost = max(extremes.cost, cost)
        extremes.over = max(extremes.over, thought - cost)
        extremes.under = max(extremes.under, cost - thought)
        self.count(child, thought, cost)

    def count(self, child: Child, thought: int, cost: int) -> None:
        """Add what a child received, now that an entry of it ended."""
        self.add(child, self._charge_of(child[1], cost))

    def allowed(self, child: Child) -> int:
        return self._of_one(child) * (self._at_once + 1) + self._of_errors(child)

    def _of_one(self, child: Child) -> int:
        return self._charge_of(child[1], self._extremes[child].cost)

    def _of_errors(self, child: Child) -> int:
        over, under = self._extremes[child].over, self._extremes[child].under
        errors = self._charge_of(child[1], over) + self._charge_of(child[1], under)
        # Two charges rounded to units are apart by one more than what they stand for.
        return self._at_once * (errors + 2 * bool(errors))


class Charged(Completed):
    """Counted as entries are handed over, in estimates, and corrected as they end.

    Sharper than counting completed service: what is under way is counted.
    """

    def outstanding(self, child: Child, cost: int) -> None:
        super().outstanding(child, cost)
        self.add(child, self._charge_of(child[1], cost))

    def count(self, child: Child, thought: int, cost: int) -> None:
        self.add(child, self._charge_of(child[1], cost) - self._charge_of(child[1], thought))

    def allowed(self, child: Child) -> int:
        return self._of_one(child) + self._of_errors(child)

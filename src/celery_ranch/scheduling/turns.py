"""How many turns come before one, if nothing changes meanwhile.

The order in which what waits is served can be told without serving it: a node
that is served again and again has the start tags S, S + charge, S + 2 charge,
and so on, and all of those of all siblings are gone through in their order. So
what goes before a node's n-th turn is counted sibling by sibling; on a path, a
node's turns before an entry's are what its parent needs before that, and so on
upwards.

The same is written in ``engines/lua/ahead.lua``; a property test compares the
two, and another compares this with serving.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import floor

from celery_ranch.scheduling.fairness import FairTree
from celery_ranch.scheduling.model import WHOLE_CREDIT, KeyPath, charge
from celery_ranch.scheduling.race import Place, Race

__all__ = ["MOST_SIBLINGS", "Ahead", "Precision", "ahead_of", "turns_before"]

#: How many siblings are looked at, in all races that matter together.
MOST_SIBLINGS = 1_000

#: Numbers are exact integers up to here in every engine.
_LAST_TAG = 2**53


class Precision(str, Enum):
    """How sure a count is, the surest first."""

    EXACT = "exact"
    """What the rule does if nothing changes and every entry costs what this one does."""
    AT_MOST = "at most"
    """As exact, but some of it may be held back at nodes below those looked at."""
    ABOUT = "about"
    """An estimate."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What goes before an entry that waits."""

    better: int
    """Entries of better levels."""
    same: int
    """Entries of its own level, those of its key included."""
    worse_levels: int
    """How many worse levels have something to be served."""
    precision: Precision

    def total(self, level_floor: int) -> int:
        """Return how many entries go first, of whatever level.

        Args:
            level_floor: What each level is sure of, in millionths of all
                turns; 0: as long as there are better ones they go first.

        Example:
            >>> ahead = Ahead(better=1_000, same=3, worse_levels=0, precision=Precision.EXACT)
            >>> ahead.total(0), ahead.total(50_000)
            (1003, 79)
        """
        if not level_floor or not (self.better or self.worse_levels):
            return self.better + self.same
        part, needed = level_floor / WHOLE_CREDIT, self.same + 1
        until_better_end = self.better / (1 - part * (1 + self.worse_levels)) if self.better else 0
        if part * until_better_end >= needed:
            turns = needed / part
        else:
            rest = needed - part * until_better_end
            turns = until_better_end + rest / (1 - part * self.worse_levels)
        return max(self.same, floor(turns + 0.5) - 1)


def turns_before(mine: Place, turns: int, own_charge: int, other: Place, its_charge: int) -> int:
    """Return how often a sibling is served before a node's turn, if it never runs out.

    Args:
        mine: Where the node stands.
        turns: How often it is served itself before the turn that is meant.
        own_charge: What each costs it.
        other: Where the sibling stands.
        its_charge: What each turn costs that one.

    Example:
        >>> mine = Place(5, True, 7, ("acme",))
        >>> turns_before(mine, 0, 1, Place(5, True, 8, ("bolt",)), 1)
        0
        >>> turns_before(mine, 0, 1, Place(3, True, 8, ("bolt",)), 1)
        2
    """
    lead = min(mine.tag + turns * own_charge, _LAST_TAG) - other.tag
    if lead < 0:
        return 0
    its_turns, rest = divmod(lead, its_charge)
    if rest:
        return its_turns + 1
    # Then both have the same tag: the one served longer ago goes first.
    if its_turns and turns and its_charge != own_charge:
        return its_turns + (its_charge > own_charge)
    if its_turns != turns:
        return its_turns + (its_turns < turns)
    return its_turns + (other[1:3] < mine[1:3])


def ahead_of(
    tree: FairTree,
    key: KeyPath,
    level: int,
    position: int,
    cost_of: Callable[[KeyPath], int],
    most: int = MOST_SIBLINGS,
) -> Ahead:
    """Return what goes before an entry that waits.

    If nothing else is stored, ends, is paused or set meanwhile, and every entry
    costs what is said, that many are leased before it. What is blocked now
    is not counted; an entry that is itself held back is told what would go
    before it if it were not.

    Args:
        tree: The races of its queue.
        key: Its key.
        level: Its level.
        position: How many of its key go before it at that level.
        cost_of: What an entry served at a node costs, in millionths.
        most: How many siblings to look at; where more matter it is estimated.
    """
    better_levels = [other for other in tree.levels() if other < level]
    way = list(tree.way(key, level))
    count = _Count(tree, level, cost_of, max(1, most // (len(way) + len(better_levels))))
    turns, precisions = position, [Precision.EXACT]
    for race, path, stand in way:
        if stand.place is None:
            precisions.append(Precision.ABOUT)
        more, precision = count.before(race, race.place_of(path, stand), turns)
        turns += more
        precisions.append(precision)
    better = 0
    for other in better_levels:
        more, precision = count.all_of(tree.race((), other), other)
        better += more
        precisions.append(precision)
    worse_levels = sum(other > level for other in tree.levels())
    least = max(precisions, key=list(Precision).index)
    return Ahead(better, turns, worse_levels, least)


@dataclass(frozen=True, slots=True)
class _Count:
    """Counts what goes first in single races."""

    tree: FairTree
    level: int
    cost_of: Callable[[KeyPath], int]
    most: int

    def before(self, race: Race, mine: Place, turns: int) -> tuple[int, Precision]:
        """Return how often others are served before a node's turn."""
        own_charge = self._charge(mine.child)
        last_tag = min(mine.tag + turns * own_charge, _LAST_TAG)

        def turns_of(other: Place) -> int:
            its_charge = self._charge(other.child)
            return turns_before(mine, turns, own_charge, other, its_charge)

        total, others = race.places(last_tag, self.most)
        wanted = {other.child: turns_of(other) for other in others if other.child != mine.child}
        return self._sum(wanted, self.level, total, len(others))

    def all_of(self, race: Race, level: int) -> tuple[int, Precision]:
        """Return how many entries wait in a race that are not held back."""
        total, others = race.places(None, self.most)
        return self._sum({other.child: _LAST_TAG for other in others}, level, total, len(others))

    def _sum(
        self, wanted: dict[KeyPath, int], level: int, total: int, looked_at: int
    ) -> tuple[int, Precision]:
        """Return how many turns siblings have that have some left, and how sure that is."""
        turns, precision = 0, Precision.EXACT
        for path, of_it in wanted.items():
            # Whoever races has one.
            turns += of_it if of_it <= 1 else min(of_it, self.tree.waiting(path, level))
            if of_it > 1 and self.tree.is_inner(path):
                precision = Precision.AT_MOST
        if looked_at < total:
            return floor(turns * total / looked_at + 0.5), Precision.ABOUT
        return turns, precision

    def _charge(self, path: KeyPath) -> int:
        return max(1, charge(self.tree.share(path), self.cost_of(path)))

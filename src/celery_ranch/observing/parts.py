"""What part keys received of what they share, against what was due to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from celery_ranch.observing.flows import Window
from celery_ranch.scheduling.figures import NodeFigures, Survey
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.service import Tally

__all__ = ["Parts", "evenness", "jain"]

#: With fewer tasks for each key than this, who got one more looks like somebody preferred.
_LEAST_TASKS_PER_KEY = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """Who shares a queue, as far as that was measured.

    At each level a node shares what its parent gets with those of its siblings that
    stand for their turn. Of siblings that were not measured their number is
    known; each is taken to have the mean share of those drawn by chance.
    """

    nodes: Mapping[KeyPath, NodeFigures]
    survey: Survey
    window: Window
    _shares: dict[tuple[int, KeyPath], float] = field(default_factory=dict)

    def received(self, key: KeyPath) -> float | None:
        """Return which part of what it and its siblings received went to a node, if known."""
        of_all = sum(tally.cost for tally in self._of(key[:-1]))
        if not self.window.is_told_of(key):
            return None
        return sum(tally.cost for tally in self._of(key)) / of_all if of_all else None

    def entitled(self, key: KeyPath) -> float | None:
        """Return which part of it was due to a node, as those race who race now."""
        node, parent = self.nodes[key], key[:-1]
        due = {
            stand.level: node.share / self._sum_of_shares(stand.level, parent)
            for stand in node.stands
            if stand.is_racing
        }
        if not due:
            return None
        given = {tally.level: tally.cost for tally in self._of(parent)}
        if not any(given.values()):
            return due[min(due)]
        return sum(due.get(level, 0) * cost for level, cost in given.items()) / sum(given.values())

    def _of(self, key: KeyPath) -> list[Tally]:
        return self.window.of_key(key) if key else [*self.window.levels.values()]

    def _sum_of_shares(self, level: int, parent: KeyPath) -> float:
        found = self._shares.get((level, parent))
        if found is None:
            known = [
                node.share
                for key, node in self.nodes.items()
                if key[:-1] == parent
                and any(stand.level == level and stand.is_racing for stand in node.stands)
            ]
            unknown = max(0, self._racing(level, parent) - len(known))
            found = sum(known) + unknown * (1.0 if parent else self._mean_share())
            self._shares[level, parent] = found
        return found

    def _racing(self, level: int, parent: KeyPath) -> int:
        if not parent:
            return sum(each.racing for each in self.survey.levels if each.level == level)
        node = self.nodes.get(parent)
        stands = () if node is None else node.stands
        return sum(stand.racing_below for stand in stands if stand.level == level)

    def _mean_share(self) -> float:
        drawn = [self.nodes[key].share for key in self.survey.sampled if key in self.nodes]
        return sum(drawn) / len(drawn) if drawn else 1.0


def evenness(
    nodes: Collection[NodeFigures], window: Window, lasting: Collection[tuple[KeyPath, int]]
) -> float | None:
    """Return Jain's index of what nodes received over their shares.

    Args:
        nodes: Those that were measured.
        window: What was received.
        lasting: The (node, level) that had work waiting throughout it. Of these, siblings
            at one level are compared; who is held back by a limit or a pause is not.
    """
    groups: dict[tuple[KeyPath, int], list[tuple[int, float]]] = {}
    for node in nodes:
        for stand in node.stands:
            tally = window.tally(stand.level, node.key)
            # Where keys are not told apart, one without a tally may have received something.
            is_known = tally.finished or (stand.level, ()) not in window.keys
            if stand.is_racing and is_known and (node.key, stand.level) in lasting:
                group = groups.setdefault((node.key[:-1], stand.level), [])
                group.append((tally.finished, tally.cost / node.share))
    parts: list[float] = []
    for group in groups.values():
        mean = sum(part for _, part in group) / len(group)
        is_telling = sum(count for count, _ in group) >= _LEAST_TASKS_PER_KEY * len(group)
        if len(group) > 1 and is_telling and mean:
            parts += [part / mean for _, part in group]
    return jain(parts) if parts else None


def jain(parts: Iterable[float]) -> float:
    """Return Jain's index of fairness (Jain, Chiu and Hawe 1984) of positive numbers.

    Example:
        >>> jain([1, 1, 1, 1]), jain([1, 0, 0, 0])
        (1.0, 0.25)
    """
    parts = [*parts]
    return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))

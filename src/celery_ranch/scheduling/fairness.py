"""The rule: whose entry runs next, among all the keys of one queue.

Keys are paths, and each part of one is a node: the children of one parent
race against each other (`scheduling.race`), at each level in a race of their
own. The next entry of a level is found from the root down, by whose turn it is
among the children of each node passed. Serving charges every node on the way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from celery_ranch.scheduling.model import TAG_LIMIT, KeyPath, charge, valid_share
from celery_ranch.scheduling.nodes import OWN, Block, Node
from celery_ranch.scheduling.race import Race, Stand

__all__ = ["FairTree"]


class FairTree:
    """The races of one queue: a tree of nodes, and at each level races of their own.

    A node is in its parent's race at a level, and only then can be chosen,
    while something below it waits there and nothing blocks it. A node with
    children is served through them; entries of its own key are then those of
    one child more, with a share of 1.

    Args:
        tag_limit: Where virtual times start again from 0 (see `Race`).
            Default 2^52.

    Example:
        >>> tree = FairTree()
        >>> for key in [("flood",), ("flood",), ("flood",), ("trickle",)]:
        ...     tree.add(key, level=5)
        >>> turns = []
        >>> for number in range(1, 5):
        ...     leaf = tree.first(5)
        ...     tree.serve(leaf, 5, number)
        ...     turns.append(leaf[0])
        >>> turns
        ['flood', 'trickle', 'flood', 'flood']
    """

    def __init__(self, tag_limit: int = TAG_LIMIT) -> None:
        self._tag_limit = tag_limit
        self._births = 0
        self._root = Node((), None, 0)
        self._nodes: dict[KeyPath, Node] = {}
        self._ended: dict[Race, None] = {}
        """Races in which something ended since epochs were looked at."""
        self._served: dict[Race, None] = {}
        """Races in which somebody was served since virtual times were looked at."""

    # -- entries that wait -----------------------------------------------------

    def know(self, key: KeyPath) -> None:
        """Remember a key, and all above it, from now on."""
        self._known(key)

    def add(self, key: KeyPath, level: int) -> None:
        """Let one entry more of the key wait."""
        leaf = self._leaf(key)
        leaf.waiting[level] = leaf.waiting.get(level, 0) + 1
        for race, _ in self._races_above(leaf, level):
            race.waiting += 1
        self._enter(leaf, level)

    def remove(self, key: KeyPath, level: int) -> None:
        """Let one entry of the key wait no longer."""
        leaf = self._leaf(key)
        self._take(leaf, level)
        for race, _ in self._races_above(leaf, level):
            race.waiting -= 1
            self._ended[race] = None
        if not leaf.waiting.get(level):
            self._leave(leaf, level)

    # -- choosing and charging ---------------------------------------------------

    def levels(self) -> list[int]:
        """Return the levels at which something can be served, the first one first."""
        return sorted(level for level, race in self._root.races.items() if not race.is_empty)

    def first(self, level: int) -> KeyPath | None:
        """Return the leaf whose turn it is at a level, None if there is none."""
        node = self._root
        while node is self._root or node.children:
            race = node.races.get(level)
            path = race.first() if race is not None else None
            if path is None:
                return None
            node = self._nodes[path]
        return node.path

    def serve(self, leaf: KeyPath, level: int, number: int, cost: int = 1_000_000) -> None:
        """Take an entry of the leaf whose turn it is into service, and charge it.

        Args:
            leaf: What `first` said.
            level: The level that it was asked for.
            number: This service's own number, larger than any before.
            cost: What running it is thought to cost, in millionths.
        """
        node: Node | None = self._nodes[leaf]
        assert node is not None
        self._take(node, level)
        while node is not None and node.parent is not None:
            race = node.parent.races[level]
            race.waiting -= 1
            race.in_service += 1
            node.in_service += 1
            self._served[race] = None
            race.serve(
                node.path,
                node.stands[level],
                charge(node.share, cost),
                number,
                may_stay=self._has_work(node, level),
            )
            node = node.parent

    def hand_out(self, leaf: KeyPath, level: int) -> None:
        """Take an entry that must not run into service, and charge nothing for it."""
        node = self._nodes[leaf]
        self._take(node, level)
        for race, above in self._races_above(node, level):
            race.waiting -= 1
            race.in_service += 1
            above.in_service += 1
        if not node.waiting.get(level):
            self._leave(node, level)

    def finish(self, leaf: KeyPath, level: int) -> None:
        """Let an entry's service end."""
        for race, node in self._races_above(self._nodes[leaf], level):
            race.in_service -= 1
            node.in_service -= 1
            self._ended[race] = None

    def correct(self, leaf: KeyPath, level: int, charged: int, measured: int) -> None:
        """Charge every node what an entry did cost instead of what it was thought to.

        Call it before the service ends.

        Args:
            leaf: What was served.
            level: At which level.
            charged: The cost it was served with, in millionths.
            measured: What it did cost, likewise; 0 if it never ran.
        """
        for race, node in self._races_above(self._nodes[leaf], level):
            amount = charge(node.share, measured) - charge(node.share, charged)
            race.correct(node.path, node.stands[level], amount)

    # -- what is set of nodes ------------------------------------------------------

    def set_share(self, path: KeyPath, share: float) -> None:
        """Give a node a share, from now on and for the leads it has.

        Raises:
            InvalidShareError: The share is not a number from 0.01 to 100.
        """
        share = valid_share(share)
        node = self._known(path)
        assert node.parent is not None
        for level, stand in node.stands.items():
            race = node.parent.races[level]
            race.rescale(node.path, stand, charge(node.share), charge(share))
        node.share = share

    def block(self, path: KeyPath, reason: Block) -> None:
        """Take a node out of its races, with all below it, until it is unblocked."""
        node = self._known(path)
        if not node.blocks:
            for level in node.stands:
                self._leave(node, level)
        node.blocks |= reason

    def unblock(self, path: KeyPath, reason: Block) -> bool:
        """Take one reason away; return whether the node races again: it was the last."""
        node = self._nodes.get(path)
        if node is None or not node.blocks & reason:
            return False
        node.blocks &= ~reason
        if node.blocks:
            return False
        for level in sorted({*node.waiting, *node.races}):
            self._enter(node, level)
        return True

    # -- epochs ----------------------------------------------------------------------

    def begin_epochs(self) -> None:
        """Forget all start tags of races in which nothing waits and nothing runs any more."""
        for race in self._ended:
            if not race.waiting and not race.in_service:
                race.begin_epoch()
        self._ended.clear()

    def shift_at_limit(self) -> None:
        """Keep the virtual times of races that were served in their range."""
        for race in self._served:
            race.shift_at_limit()
        self._served.clear()

    # -- looking ---------------------------------------------------------------------

    def __contains__(self, path: KeyPath) -> bool:
        return path in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def node(self, path: KeyPath) -> Node | None:
        """Return a node to be looked at, the root for no path at all; None if it is not known."""
        return self._nodes.get(path) if path else self._root

    def share(self, path: KeyPath) -> float:
        """Return the share a node was given, 1.0 if none was."""
        node = self._nodes.get(path)
        return 1.0 if node is None else node.share

    def blocks(self, path: KeyPath) -> Block:
        """Return why a node does not race."""
        node = self._nodes.get(path)
        return Block(0) if node is None else node.blocks

    def in_service(self, path: KeyPath) -> int:
        """Return how many entries of a node and below it are in service."""
        node = self._nodes.get(path)
        return 0 if node is None else node.in_service

    def is_racing(self, path: KeyPath, level: int) -> bool:
        """Return whether a node is in its parent's index at a level."""
        node = self._nodes.get(path)
        stand = None if node is None else node.stands.get(level)
        return stand is not None and stand.place is not None

    def is_inner(self, path: KeyPath) -> bool:
        """Return whether a node has children, which its entries are served beside."""
        node = self._nodes.get(path)
        return node is not None and bool(node.children)

    def is_raced_below(self, path: KeyPath, level: int) -> bool:
        """Return whether somebody races below a node at a level."""
        node = self._nodes.get(path)
        race = None if node is None else node.races.get(level)
        return race is not None and not race.is_empty

    def waiting(self, path: KeyPath, level: int) -> int:
        """Return how many entries wait at a node and below it, blocked ones too."""
        node = self._nodes[path]
        if not node.children:
            return node.waiting.get(level, 0)
        race = node.races.get(level)
        return 0 if race is None else race.waiting

    def last_served(self, path: KeyPath) -> int:
        """Return the number of a node's last service, 0 if it had none."""
        node = self._nodes.get(path)
        return 0 if node is None else max((s.served for s in node.stands.values()), default=0)

    def race(self, path: KeyPath, level: int) -> Race:
        """Return the race of a node's children, of the root's if the path is empty.

        Raises:
            KeyError: There never was one.
        """
        return (self._nodes[path] if path else self._root).races[level]

    def way(self, key: KeyPath, level: int) -> Iterator[tuple[Race, KeyPath, Stand]]:
        """Yield, from where a key's entries wait up, each node's race and stand there.

        Something of the key waits at that level.
        """
        node, own = self._nodes[key], (*key, OWN)
        node = self._nodes[own] if node.children else node
        while node.parent is not None:
            yield node.parent.races[level], node.path, node.stands.get(level, Stand())
            node = node.parent

    def is_forgettable(self, path: KeyPath) -> bool:
        """Return whether nothing is to be remembered of a node: no work, no lead."""
        node = self._nodes[path]
        assert node.parent is not None
        return (
            not node.children
            and not any(node.waiting.values())
            and not node.in_service
            and not node.blocks
            and all(node.parent.races[level].lead(s) <= 0 for level, s in node.stands.items())
        )

    def forget(self, path: KeyPath) -> None:
        """Drop all memory of a node that `is_forgettable`."""
        node = self._nodes.pop(path)
        assert node.parent is not None
        node.parent.children -= 1
        if not node.parent.children and node.parent is not self._root:
            # Its own entries are an anonymous child's no longer: there are none.
            node.parent.races.clear()

    def nodes_after(self, birth: int) -> Iterator[tuple[int, KeyPath]]:
        """Return the known nodes that became known after that birth number."""
        nodes = list(self._nodes.items())
        start = bisect_left(nodes, birth + 1, key=lambda item: item[1].birth)
        return ((node.birth, path) for path, node in nodes[start:])

    # -- within ------------------------------------------------------------------------

    def _known(self, path: KeyPath) -> Node:
        """Return a node, new if there was none, as all above it."""
        node = self._nodes.get(path)
        if node is not None:
            return node
        parent = self._known(path[:-1]) if len(path) > 1 else self._root
        if parent is not self._root and not parent.children and path[-1] != OWN:
            self._make_inner(parent)
        self._births += 1
        node = self._nodes[path] = Node(path, parent, self._births)
        parent.children += 1
        return node

    def _make_inner(self, node: Node) -> None:
        """Let what waits at a leaf wait at an anonymous child of it."""
        waiting = {level: count for level, count in sorted(node.waiting.items()) if count}
        if not waiting:
            return
        own = self._known((*node.path, OWN))
        own.waiting, node.waiting = waiting, {}
        for level, count in waiting.items():
            self._race(node, level).waiting = count
            self._enter(own, level)

    def _leaf(self, key: KeyPath) -> Node:
        """Return where the entries of a key wait."""
        node = self._known(key)
        return self._known((*key, OWN)) if node.children else node

    def _race(self, parent: Node, level: int) -> Race:
        race = parent.races.get(level)
        if race is None:
            race = parent.races[level] = Race(self._tag_limit)
        return race

    def _races_above(self, node: Node, level: int) -> Iterator[tuple[Race, Node]]:
        """Yield the races that a node and those above it run in, with who runs there."""
        while node.parent is not None:
            yield self._race(node.parent, level), node
            node = node.parent

    @staticmethod
    def _take(leaf: Node, level: int) -> None:
        leaf.waiting[level] -= 1

    @staticmethod
    def _has_work(node: Node, level: int) -> bool:
        """Whether something can be served through a node, were it not blocked."""
        if node.waiting.get(level):
            return True
        race = node.races.get(level)
        return race is not None and not race.is_empty

    def _enter(self, node: Node, level: int) -> None:
        """Put a node into its parent's race if it may race, and so on upwards."""
        while node.parent is not None and not node.blocks and self._has_work(node, level):
            stand = node.stands.setdefault(level, Stand())
            if stand.place is not None:
                return
            self._race(node.parent, level).enter(node.path, stand)
            node = node.parent

    def _leave(self, node: Node, level: int) -> None:
        """Take a node out of its parent's race, and so on upwards where nothing is left."""
        while node.parent is not None:
            stand = node.stands.get(level)
            if stand is None or stand.place is None:
                return
            race = self._race(node.parent, level)
            race.leave(stand)
            if not race.is_empty:
                return
            node = node.parent

"""What the tree of the rule remembers of one node: its share, its blocks, its races."""

from __future__ import annotations

from enum import IntFlag

from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.race import Race, Stand

__all__ = ["OWN", "Block", "Node", "key_of"]

#: What the entries of an inner node itself are a child under: no part of a key is empty.
OWN = ""


class Block(IntFlag):
    """Why a node does not race although it has work."""

    PAUSED = 1
    CONCURRENCY = 2
    RATE = 4
    WITHDRAWN = 128


def key_of(leaf: KeyPath) -> KeyPath:
    """Return the key whose entries a leaf of the tree stands for.

    Example:
        >>> key_of(("acme", "")), key_of(("acme", "alice"))
        (('acme',), ('acme', 'alice'))
    """
    return leaf[:-1] if leaf[-1] == OWN else leaf


class Node:
    """What the tree remembers of one path."""

    __slots__ = (
        "birth",
        "blocks",
        "children",
        "in_service",
        "parent",
        "path",
        "races",
        "share",
        "stands",
        "waiting",
    )

    def __init__(self, path: KeyPath, parent: Node | None, birth: int) -> None:
        self.path = path
        self.parent = parent
        self.birth = birth
        self.share = 1.0
        self.blocks = Block(0)
        self.children = 0
        self.in_service = 0
        """How many entries of it and below it are leased and not finished."""
        self.waiting: dict[int, int] = {}
        """How many entries wait at a leaf, by level; none is counted as such."""
        self.stands: dict[int, Stand] = {}
        """Where it stands in its parent's race, by level."""
        self.races: dict[int, Race] = {}
        """Its children's race, by level."""

"""The rule: whose entry runs next, among the keys of one queue.

This is start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair
Queueing", 1996) with least recently served as the tie-break. Each key has a
start tag S, the race has a virtual time v, the start tag served last. The key
with the smallest S goes next; being served adds a charge to its S, the smaller
the larger its share; a key that comes back starts from v at least, so waiting
outside earns no credit.

With equal shares this serves exactly the key least recently served. The same
rule is written in ``engines/lua/tree.lua``; a property test compares the two.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from celery_ranch.scheduling.model import TAG_LIMIT, KeyPath, charge, valid_share

__all__ = ["FairTree", "rescaled_lead", "start_tag"]


def start_tag(virtual_time: int, last_finish: int) -> int:
    """Return where a key joins the race when it has work again.

    A key that idled joins at the current virtual time: idling earns no
    credit. A key that was served ahead of the others joins behind them:
    leaving and coming back does not wipe out what it received.
    (Start-time fair queueing, Goyal, Vin and Cheng 1996, equation 4.)

    Args:
        virtual_time: Start tag of the entry served last, in charges.
        last_finish: The key's own last finish tag, in the same unit.

    Example:
        >>> start_tag(virtual_time=5, last_finish=3)
        5
        >>> start_tag(virtual_time=5, last_finish=6)
        6
    """
    return max(virtual_time, last_finish)


def rescaled_lead(lead: int, old_charge: int, new_charge: int) -> int:
    """Return what a key's lead over virtual time becomes with another share.

    What was served ahead stays the same service, charged anew; halves are
    rounded up.

    Example:
        >>> rescaled_lead(1_000_000, old_charge=1_000_000, new_charge=500_000)
        500000
    """
    return (2 * lead * new_charge + old_charge) // (2 * old_charge)


class _Place(NamedTuple):
    """Where a key stands in the index; the smallest goes next.

    The order is unique before it comes to the key, so that nobody's name
    ever decides.
    """

    tag: int
    was_served: bool
    number: int
    """Of its last service, or of its arrival when it was never served."""
    key: KeyPath


class _Node:
    """What the race remembers of one key."""

    __slots__ = (
        "arrival",
        "birth",
        "charge",
        "epoch",
        "has_work",
        "is_paused",
        "place",
        "served",
        "share",
        "tag",
    )

    def __init__(self, birth: int) -> None:
        self.birth = birth
        self.share = 1.0
        self.charge = charge(1.0)
        self.tag = 0
        self.epoch = 0
        self.served = 0
        self.arrival = 0
        self.has_work = False
        self.is_paused = False
        self.place: _Place | None = None


class FairTree:
    """The race between the keys of one queue; flat so far: one parent.

    A key is in the index, and only then can be chosen, while it has work and
    is not paused. Choosing costs nothing; moving a key costs a search.

    Args:
        tag_limit: Where virtual time starts again from 0, so that its
            numbers stay exact where they are floats (Lua). It must exceed
            twice what one round of charges can add. Default 2^52.

    Example:
        >>> race = FairTree()
        >>> for name in ("flood", "trickle"):
        ...     race.offer((name,))
        >>> race.set_share(("flood",), 2.0)
        >>> turns = []
        >>> for number in range(1, 7):
        ...     turns.append(race.first()[0])
        ...     race.serve(race.first(), number)
        >>> turns
        ['flood', 'trickle', 'flood', 'trickle', 'flood', 'flood']
    """

    def __init__(self, tag_limit: int = TAG_LIMIT) -> None:
        self._tag_limit = tag_limit
        self._virtual_time = 0
        self._epoch = 0
        self._is_shifted = False
        self._arrivals = 0
        self._births = 0
        self._nodes: dict[KeyPath, _Node] = {}
        self._index: list[_Place] = []
        self._old_index: list[_Place] = []

    # -- entering and leaving -----------------------------------------------

    def know(self, key: KeyPath) -> None:
        """Remember the key from now on, with a share of 1 and no work."""
        self._known(key)

    def offer(self, key: KeyPath) -> None:
        """Say that the key has work: it races unless it is paused."""
        node = self._known(key)
        node.has_work = True
        self._enter(key, node)

    def withdraw(self, key: KeyPath) -> None:
        """Say that the key has no work left; its tag and numbers stay."""
        node = self._known(key)
        node.has_work = False
        self._leave(node)

    def pause(self, key: KeyPath) -> None:
        """Take the key out of the race until it is resumed."""
        node = self._known(key)
        node.is_paused = True
        self._leave(node)

    def resume(self, key: KeyPath) -> None:
        """Let the key race again; one that was never heard of stays so."""
        node = self._nodes.get(key)
        if node is not None:
            node.is_paused = False
            self._enter(key, node)

    def forget(self, key: KeyPath) -> None:
        """Drop all memory of a key that `is_forgettable`."""
        del self._nodes[key]

    # -- choosing and charging ----------------------------------------------

    def first(self) -> KeyPath | None:
        """Return the key whose turn it is, or None when nobody races.

        It has the smallest start tag. Among equals those never served come
        first, by arrival, then the least recently served.
        """
        if not self._old_index:
            return self._index[0].key if self._index else None
        old = self._old_index[0]
        if self._index and self._index[0] < old._replace(tag=old.tag - self._tag_limit):
            return self._index[0].key
        return old.key

    def serve(self, key: KeyPath, number: int) -> None:
        """Charge the key whose turn it was for one entry.

        It may have been withdrawn already, if that entry was its last.
        Virtual time becomes the start tag served, and the key's tag its
        finish tag (Goyal, Vin and Cheng 1996, equations 4 and 5).

        Args:
            key: The key served.
            number: This service's own number, larger than any before.
        """
        node = self._nodes[key]
        tag = self._present_tag(node)
        self._leave(node)
        self._virtual_time = max(self._virtual_time, tag)
        self._write_tag(node, tag + node.charge)
        node.served = number
        self._enter(key, node)

    def set_share(self, key: KeyPath, share: float) -> None:
        """Give the key a share, from now on and for the lead it has.

        Raises:
            InvalidShareError: The share is not a number from 0.01 to 100.
        """
        share = valid_share(share)
        node = self._known(key)
        tag = self._present_tag(node)
        lead = tag - self._virtual_time
        new_charge = charge(share)
        self._leave(node)
        if lead > 0:
            tag = self._virtual_time + rescaled_lead(lead, node.charge, new_charge)
        self._write_tag(node, tag)
        node.share, node.charge = share, new_charge
        self._enter(key, node)

    # -- epochs --------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Forget all start tags, now that nothing waits and nothing is leased.

        Last-served numbers stay, so the order of turns goes on.
        """
        self._epoch += 1
        self._is_shifted = False
        self._virtual_time = 0

    def shift_at_limit(self) -> None:
        """Begin an epoch shifted by the limit, if virtual time has reached it.

        Nothing is rewritten and nobody's turn changes: tags in the index stay
        there, in the index of the old epoch, and are compared less the limit
        until it has run empty. It always has before virtual time reaches the
        limit again, because its tags lie below twice the limit.
        """
        if self._virtual_time < self._tag_limit or self._old_index:
            return
        self._epoch += 1
        self._is_shifted = True
        self._virtual_time -= self._tag_limit
        self._index, self._old_index = [], self._index

    # -- looking -------------------------------------------------------------

    def __contains__(self, key: KeyPath) -> bool:
        return key in self._nodes

    def share(self, key: KeyPath) -> float:
        """Return the share the key was given, 1.0 if none was."""
        node = self._nodes.get(key)
        return 1.0 if node is None else node.share

    def is_paused(self, key: KeyPath) -> bool:
        """Return whether the key is paused."""
        node = self._nodes.get(key)
        return node is not None and node.is_paused

    def is_racing(self, key: KeyPath) -> bool:
        """Return whether the key is in the index."""
        node = self._nodes.get(key)
        return node is not None and node.place is not None

    def is_forgettable(self, key: KeyPath) -> bool:
        """Return whether the key owes nothing, has no work and nothing set."""
        node = self._nodes[key]
        return (
            not node.has_work
            and not node.is_paused
            and node.share == 1.0
            and self._present_tag(node) <= self._virtual_time
        )

    def keys_after(self, birth: int) -> Iterator[tuple[int, KeyPath]]:
        """Return the known keys that became known after that birth number."""
        nodes = list(self._nodes.items())
        start = bisect_left(nodes, birth + 1, key=lambda item: item[1].birth)
        return ((node.birth, key) for key, node in nodes[start:])

    # -- within ----------------------------------------------------------------

    def _known(self, key: KeyPath) -> _Node:
        """Return the key's node, new if there was none."""
        node = self._nodes.get(key)
        if node is None:
            self._births += 1
            node = self._nodes[key] = _Node(self._births)
        return node

    def _present_tag(self, node: _Node) -> int:
        """Return the node's start tag as a number of the present epoch."""
        if node.epoch == self._epoch:
            return node.tag
        if self._is_shifted and node.epoch == self._epoch - 1:
            return max(0, node.tag - self._tag_limit)
        return 0

    def _write_tag(self, node: _Node, tag: int) -> None:
        node.tag, node.epoch = tag, self._epoch

    def _enter(self, key: KeyPath, node: _Node) -> None:
        """Put the node into the index if it may race and does not yet."""
        if not node.has_work or node.is_paused or node.place is not None:
            return
        if not node.served and not node.arrival:
            self._arrivals += 1
            node.arrival = self._arrivals
        self._write_tag(node, start_tag(self._virtual_time, self._present_tag(node)))
        node.place = _Place(node.tag, bool(node.served), node.served or node.arrival, key)
        insort(self._index, node.place)

    def _leave(self, node: _Node) -> None:
        """Take the node out of the index it is in, if any."""
        if node.place is None:
            return
        index = self._index if node.epoch == self._epoch else self._old_index
        del index[bisect_left(index, node.place)]
        node.place = None

"""One race: whose turn it is among the children of one parent, at one level.

This is start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair
Queueing", 1996) with least recently served as the tie-break. Each child has a
start tag S, the race has a virtual time v, the start tag served last. The
child with the smallest S goes next; being served adds a charge to its S; a
child that comes back starts from v at least, so waiting outside earns no
credit.

With equal charges this serves exactly the child least recently served. The
same rule is written in ``engines/lua/``; a property test compares the two.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import NamedTuple

from celery_ranch.scheduling.model import KeyPath

__all__ = ["Place", "Race", "Stand", "rescaled_lead", "start_tag"]


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


class Place(NamedTuple):
    """Where a child stands in the index; the smallest goes next.

    The order is unique before it comes to the child, so that nobody's name
    ever decides.
    """

    tag: int
    was_served: bool
    number: int
    """Of its last service, or of its arrival when it was never served."""
    child: KeyPath


class Stand:
    """What a race remembers of one child."""

    __slots__ = ("arrival", "epoch", "place", "served", "tag")

    def __init__(self) -> None:
        self.tag = 0
        self.epoch = 0
        self.served = 0
        self.arrival = 0
        self.place: Place | None = None
        """Where it stands in the index; None while it does not."""


class Race:
    """The race between the children of one parent at one level.

    A child is in the index, and only then can be chosen, while its parent's
    tree says so. Choosing costs nothing; moving a child costs a search.

    Args:
        tag_limit: Where virtual time starts again from 0, so that its
            numbers stay exact where they are floats (Lua). It must exceed
            twice what one round of charges can add.
    """

    def __init__(self, tag_limit: int) -> None:
        self.waiting = 0
        """How many entries wait below the parent at this level."""
        self.in_service = 0
        """How many entries below it are leased and not finished, at this level."""
        self._tag_limit = tag_limit
        self._virtual_time = 0
        self._epoch = 0
        self._is_shifted = False
        self._arrivals = 0
        self._index: list[Place] = []
        self._old_index: list[Place] = []

    # -- entering and leaving -----------------------------------------------

    def enter(self, child: KeyPath, stand: Stand) -> None:
        """Let a child in that was out, behind what was served meanwhile."""
        self._write_tag(stand, start_tag(self._virtual_time, self._present_tag(stand)))
        self._put(child, stand)

    def leave(self, stand: Stand) -> None:
        """Take a child out of the index, if it is there; its tag and numbers stay."""
        if stand.place is None:
            return
        index = self._index if stand.epoch == self._epoch else self._old_index
        del index[bisect_left(index, stand.place)]
        stand.place = None

    # -- choosing and charging ----------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether nobody can be chosen."""
        return not self._index and not self._old_index

    def first(self) -> KeyPath | None:
        """Return the child whose turn it is, None when nobody races.

        It has the smallest start tag. Among equals those never served come
        first, by arrival, then the least recently served.
        """
        if not self._old_index:
            return self._index[0].child if self._index else None
        old = self._old_index[0]
        if self._index and self._index[0] < old._replace(tag=old.tag - self._tag_limit):
            return self._index[0].child
        return old.child

    def serve(
        self, child: KeyPath, stand: Stand, charge: int, number: int, *, may_stay: bool
    ) -> None:
        """Charge the child whose turn it was; it stays in the index only if it may.

        Virtual time becomes the start tag served, and the child's tag its
        finish tag (Goyal, Vin and Cheng 1996, equations 4 and 5).

        Args:
            child: The child served.
            stand: What is remembered of it.
            charge: What that costs it, in charges.
            number: This service's own number, larger than any before.
            may_stay: Whether it still has something eligible.
        """
        tag = self._present_tag(stand)
        self.leave(stand)
        self._virtual_time = max(self._virtual_time, tag)
        self._write_tag(stand, tag + charge)
        stand.served = number
        if may_stay:
            self._put(child, stand)

    def correct(self, child: KeyPath, stand: Stand, amount: int) -> None:
        """Add to a child's tag, or take off, what it was charged too little or too much."""
        self._move(child, stand, max(0, self._present_tag(stand) + amount))

    def rescale(self, child: KeyPath, stand: Stand, old_charge: int, new_charge: int) -> None:
        """Charge a child's lead over virtual time anew, for another share.

        One that races may lie behind virtual time by what it was charged too
        much; that is anew as well. One that is out has no such claim.
        """
        tag = self._present_tag(stand)
        lead = tag - self._virtual_time
        if lead > 0 or stand.place is not None:
            lead = rescaled_lead(lead, old_charge, new_charge)
            tag = max(0, self._virtual_time + lead)
        self._move(child, stand, tag)

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

    def racing(self) -> list[KeyPath]:
        """Return who is in the index; where no epoch was shifted lately, in turn."""
        return [place.child for place in (*self._old_index, *self._index)]

    def lead(self, stand: Stand) -> int:
        """Return how far ahead of virtual time a child is; it is behind if negative."""
        return self._present_tag(stand) - self._virtual_time

    def place_of(self, child: KeyPath, stand: Stand) -> Place:
        """Return where a child stands, or would if it entered now."""
        tag = self._present_tag(stand)
        if stand.place is None:
            tag = start_tag(self._virtual_time, tag)
        number = stand.served or stand.arrival or self._arrivals + 1
        return Place(tag, bool(stand.served), number, child)

    def places(self, last_tag: int | None, most: int) -> tuple[int, list[Place]]:
        """Return how many race up to a start tag, and the places of `most` of them.

        Args:
            last_tag: The last one that counts; None: all of them do.
            most: How many places to return; if there are more, these are
                spread over all.
        """
        old_size = _size(self._old_index, None if last_tag is None else last_tag + self._tag_limit)
        total = old_size + _size(self._index, last_tag)
        ranks = range(total) if total <= most else _spread(total, most)
        return total, [
            self._index[rank - old_size]
            if rank >= old_size
            else self._brought_down(self._old_index[rank])
            for rank in ranks
        ]

    # -- within ----------------------------------------------------------------

    def _brought_down(self, place: Place) -> Place:
        """Return a place of the old epoch with its tag as one of the present epoch."""
        return place._replace(tag=max(0, place.tag - self._tag_limit))

    def _present_tag(self, stand: Stand) -> int:
        """Return a start tag as a number of the present epoch."""
        if stand.epoch == self._epoch:
            return stand.tag
        if self._is_shifted and stand.epoch == self._epoch - 1:
            return max(0, stand.tag - self._tag_limit)
        return 0

    def _write_tag(self, stand: Stand, tag: int) -> None:
        stand.tag, stand.epoch = tag, self._epoch

    def _move(self, child: KeyPath, stand: Stand, tag: int) -> None:
        """Give a child another tag; it stays in the index or out of it."""
        is_in = stand.place is not None
        self.leave(stand)
        self._write_tag(stand, tag)
        if is_in:
            self._put(child, stand)

    def _put(self, child: KeyPath, stand: Stand) -> None:
        if not stand.served and not stand.arrival:
            self._arrivals += 1
            stand.arrival = self._arrivals
        stand.place = Place(stand.tag, bool(stand.served), stand.served or stand.arrival, child)
        insort(self._index, stand.place)


def _size(index: list[Place], last_tag: int | None) -> int:
    """Return how many places of an index have a tag up to that one."""
    if last_tag is None:
        return len(index)
    return bisect_right(index, last_tag, key=lambda place: place.tag)


def _spread(total: int, count: int) -> Iterator[int]:
    """Yield about so many numbers below `total`, some hundred runs of them.

    There is one run in each stretch, in no step with anything.
    """
    size = max(1, count // 100)
    stretches = count // size
    for turn in range(stretches):
        start = turn * total // stretches
        width = (turn + 1) * total // stretches - start
        start += turn * 7_919 % (width - size + 1)
        yield from range(start, start + size)

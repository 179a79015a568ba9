"""What is taken away from one queue of the memory engine, slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from celery_ranch.engines.memory_backlog import Backlog, StoredEntry
from celery_ranch.engines.memory_nodes import Nodes, prefixes
from celery_ranch.scheduling.model import LEVELS, KeyPath
from celery_ranch.scheduling.nodes import OWN, Block
from celery_ranch.scheduling.withdrawals import Aside, CarriedOut, Move, Progress

__all__ = ["Withdrawals"]


@dataclass(slots=True)
class _Withdrawal:
    """One withdrawal, until nothing is left of it."""

    number: int
    """Of the queue's sequence: what was stored before has a smaller one."""
    node: KeyPath
    move: Move | None
    helper: str
    until_us: int
    """For how long nobody but the helper works on it."""
    token: str
    keys: list[KeyPath] | None = None
    """What is still to be swept below the node; None before it was looked for."""
    current: KeyPath | None = None
    taken: int = 0
    aside: dict[int, StoredEntry] = field(default_factory=dict)
    """What was taken, by number."""


class Withdrawals:
    """The withdrawals of one queue: from when they begin until they are over.

    Args:
        queue: The queue's name.
        lease_us: How long a helper's claim holds.
        backlog: Where entries are taken from.
        nodes: Whose nodes are blocked.
        entries: What is stored, by id.
        waiting_ids: The ids of what waits.
    """

    def __init__(
        self,
        queue: str,
        lease_us: int,
        backlog: Backlog,
        nodes: Nodes,
        entries: dict[str, StoredEntry],
        waiting_ids: set[str],
    ) -> None:
        self._queue = queue
        self._lease_us = lease_us
        self._backlog = backlog
        self._nodes = nodes
        self._entries = entries
        self._waiting_ids = waiting_ids
        self._open: dict[int, _Withdrawal] = {}
        self._unswept: dict[int, _Withdrawal] = {}
        """In the order in which they began."""

    # -- the verbs ---------------------------------------------------------------

    def withdraw(self, node: KeyPath, helper: str, move: Move | None, now_us: int) -> int | None:
        """Block a node and what waits there; return the withdrawal's number, None: nothing does."""
        if not self._backlog.below(node):
            return None
        begun = self._begin(node, helper, move, now_us)
        begun.current = node
        self._unswept[begun.number] = begun
        self._nodes.tree.block(node, Block.WITHDRAWN)
        return begun.number

    def take_one(self, entry: StoredEntry, helper: str, move: Move, now_us: int) -> int | None:
        """Move one entry that waits; return the withdrawal's number, None: it is filed already."""
        due_at_us = entry.due_at_us
        if due_at_us is None:
            self._nodes.tree.remove(entry.key, entry.level)
        self._backlog.remove(entry)
        self._nodes.tree.begin_epochs()
        if move.queue == self._queue:
            self.file(entry, move.key or entry.key, due_at_us, now_us)
            return None
        begun = self._begin((), helper, move, now_us)
        self._accept(begun, entry, due_at_us, now_us)
        return begun.number

    def carry_out(
        self, number: int, helper: str, limit: int, done: Sequence[str], now_us: int
    ) -> CarriedOut:
        """Bring a withdrawal a slice further."""
        mine = self._open.get(number)
        if mine is None or (mine.helper != helper and mine.until_us > now_us):
            return CarriedOut(Progress.ELSEWHERE)
        mine.helper, mine.until_us = helper, now_us + self._lease_us
        self._drop(mine, done)
        if self.is_sweeping(number):
            self._sweep(next(iter(self._unswept.values())), limit, now_us)
            if number in self._unswept or mine.aside:
                return CarriedOut(Progress.SWEEPING, mine.taken)
        if not mine.aside:
            del self._open[number]
            return CarriedOut(Progress.OVER, mine.taken)
        return CarriedOut(
            Progress.ASIDE,
            mine.taken,
            tuple(
                Aside(entry.entry_id, place, entry.message, entry)
                for place, entry in islice(sorted(mine.aside.items()), limit)
            ),
            mine.move,
            mine.token,
        )

    # -- what others ask ---------------------------------------------------------

    def covers(self, key: KeyPath) -> bool:
        """Return whether a node on a key's way is being withdrawn."""
        tree = self._nodes.tree
        return bool(self._unswept) and any(
            tree.blocks(path) & Block.WITHDRAWN for path in prefixes(key)
        )

    def is_sweeping(self, number: int) -> bool:
        """Return whether a slice of a withdrawal takes entries, its own or of an earlier one."""
        return any(unswept <= number for unswept in self._unswept)

    def abandoned(self, now_us: int) -> Iterator[int]:
        """Return the numbers of those that nobody works on, longest since first."""
        left = [(each.until_us, each.number) for each in self._open.values()]
        return (number for until_us, number in sorted(left) if until_us <= now_us)

    def is_aside(self, entry: StoredEntry) -> bool:
        """Return whether an entry was taken aside."""
        return any(each.aside.get(entry.sequence) is entry for each in self._open.values())

    def ids_aside(self) -> Iterator[str]:
        """Return the id of each entry that was taken aside."""
        return (entry.entry_id for each in self._open.values() for entry in each.aside.values())

    def blocked(self) -> set[KeyPath]:
        """Return the nodes that are blocked until they are swept."""
        return {each.node for each in self._unswept.values()}

    # -- within ------------------------------------------------------------------

    def _begin(self, node: KeyPath, helper: str, move: Move | None, now_us: int) -> _Withdrawal:
        number, until_us = self._backlog.next_sequence(), now_us + self._lease_us
        begun = _Withdrawal(number, node, move, helper, until_us, f"{helper}-{number}")
        self._open[number] = begun
        return begun

    def _drop(self, withdrawal: _Withdrawal, done: Sequence[str]) -> None:
        gone = set(done)
        for place, entry in list(withdrawal.aside.items()):
            if entry.entry_id in gone:
                del withdrawal.aside[place], self._entries[entry.entry_id]

    def _sweep(self, withdrawal: _Withdrawal, limit: int, now_us: int) -> None:
        """Take up to `limit` entries; when none is left the node may race again."""
        while withdrawal.current is not None:
            limit -= self._sweep_key(withdrawal, withdrawal.current, limit, now_us)
            if not limit:
                break
            withdrawal.current = self._next_key(withdrawal)
        self._nodes.tree.begin_epochs()
        if withdrawal.current is None:
            del self._unswept[withdrawal.number]
            if withdrawal.node not in self.blocked():
                self._nodes.tree.unblock(withdrawal.node, Block.WITHDRAWN)

    def _next_key(self, withdrawal: _Withdrawal) -> KeyPath | None:
        if withdrawal.keys is None:
            node = withdrawal.node
            below = (path for _, path in self._nodes.tree.nodes_after(0) if path[-1] != OWN)
            withdrawal.keys = sorted(
                (path for path in below if path[: len(node)] == node and path != node),
                # Last first, in the order of their bytes.
                key=lambda path: [part.encode() for part in path],
                reverse=True,
            )
        return withdrawal.keys.pop() if withdrawal.keys else None

    def _sweep_key(self, withdrawal: _Withdrawal, key: KeyPath, limit: int, now_us: int) -> int:
        """Take up to `limit` entries of one key; return how many."""
        delayed = self._backlog.delayed_before(key, withdrawal.number)[:limit]
        due_at_us = [entry.due_at_us for entry in delayed]
        for entry in delayed:
            self._backlog.remove(entry)
        for entry, due in zip(delayed, due_at_us, strict=True):
            self._accept(withdrawal, entry, due, now_us)
        taken = len(delayed)
        for level in LEVELS:
            entries = self._backlog.take_ready(key, level, withdrawal.number, limit - taken)
            for _ in entries:
                self._nodes.tree.remove(key, level)
            for entry in entries:
                self._accept(withdrawal, entry, None, now_us)
            taken += len(entries)
        return taken

    def _accept(
        self, withdrawal: _Withdrawal, entry: StoredEntry, due_at_us: int | None, now_us: int
    ) -> None:
        """Put an entry aside, or under its new key if it stays in the queue."""
        withdrawal.taken += 1
        move = withdrawal.move
        if move is None or move.queue != self._queue:
            entry.due_at_us = due_at_us
            self._waiting_ids.remove(entry.entry_id)
            withdrawal.aside[entry.sequence] = entry
        else:
            self.file(entry, move.key or entry.key, due_at_us, now_us)

    def file(self, entry: StoredEntry, key: KeyPath, due_at_us: int | None, now_us: int) -> None:
        """Let an entry wait under another key, at the place of its number."""
        entry.key = key
        if self.covers(key):
            entry.sequence = self._backlog.next_sequence()
        self._nodes.tree.know(key)
        self._nodes.refresh(key, now_us)
        self._backlog.file(entry, due_at_us)
        if due_at_us is None:
            self._nodes.tree.add(key, entry.level)

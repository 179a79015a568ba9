"""The nodes of one queue of the memory engine: their races, limits and estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from celery_ranch.scheduling.costs import Estimates
from celery_ranch.scheduling.explanation import Blocker, BlockerKind
from celery_ranch.scheduling.fairness import FairTree
from celery_ranch.scheduling.limits import NO_LIMITS, UNLIMITED, Limits
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.nodes import Block, key_of
from celery_ranch.scheduling.policies import Policies, ShareTarget, Target, Weighed

__all__ = ["Nodes", "prefixes"]


def prefixes(key: KeyPath) -> Iterator[KeyPath]:
    """Yield the path of each node on a key's way, outermost first.

    Example:
        >>> list(prefixes(("acme", "alice")))
        [('acme',), ('acme', 'alice')]
    """
    return (key[:size] for size in range(1, len(key) + 1))


class Nodes:
    """The tree of a queue, kept to what is set of its nodes.

    A node at a limit is blocked: out of its parent's index until an entry of
    it ends, or until its rate lets another start. What was set by a tag or
    by default holds for a node from the next time that something of it is
    stored, leased or ended; what was set of itself, at once.

    Args:
        tag_limit: Where virtual times start again from 0.
        next_sequence: Gives numbers to what waits for its time.
    """

    def __init__(self, tag_limit: int, next_sequence: Callable[[], int]) -> None:
        self.tree = FairTree(tag_limit)
        self.policies = Policies()
        self.estimates = Estimates()
        self._next_sequence = next_sequence
        self._limits: dict[KeyPath, Limits] = {}
        self._arrival_us: dict[KeyPath, int] = {}
        """Theoretical arrival times of nodes with a rate (see `scheduling.limits`)."""
        self._versions: dict[KeyPath, int] = {}
        self._timers: list[tuple[int, int, KeyPath]] = []
        """A heap; those that `_timer` does not name are over."""
        self._timer: dict[KeyPath, tuple[int, int]] = {}
        self._is_unblocked = False

    # -- what is set -----------------------------------------------------------

    def set_share(self, target: ShareTarget, share: float | None, now_us: int) -> None:
        """Set a share, None to take it back."""
        self.policies.set_share(target, share)
        self._hold_at_once(target, now_us)

    def set_limits(self, target: Target, limits: Limits, now_us: int) -> None:
        """Set all limits of a target."""
        self.policies.set_limits(target, limits)
        self._hold_at_once(target, now_us)

    def pause(self, path: KeyPath) -> None:
        """Take a node out of circulation."""
        self.tree.block(path, Block.PAUSED)

    def resume(self, path: KeyPath) -> None:
        """Let a paused node be served again."""
        self.tree.unblock(path, Block.PAUSED)

    def share(self, path: KeyPath) -> float:
        """Return the share of a node, or what it will be once the node is known."""
        if path in self.tree:
            return self.tree.share(path)
        share = self.policies.holding(path).share
        return 1.0 if share is None else share

    def limits(self, path: KeyPath) -> Limits:
        """Return the limits that hold for a node now."""
        return self._limits.get(path, NO_LIMITS)

    def blockers(self, key: KeyPath, now_us: int) -> Iterator[Blocker]:
        """Yield what holds back the nodes of a key, outermost first."""
        for path in prefixes(key):
            blocks = self.tree.blocks(path)
            if blocks & Block.PAUSED:
                yield Blocker(BlockerKind.PAUSED, path)
            if blocks & Block.WITHDRAWN:
                yield Blocker(BlockerKind.WITHDRAWN, path)
            if blocks & Block.CONCURRENCY:
                running, limit = self.tree.in_service(path), self.limits(path).concurrency
                yield Blocker(BlockerKind.CONCURRENCY, path, running=running, limit=limit)
            # Once its time has come the next lease lets it race.
            if blocks & Block.RATE and self._timer[path][0] > now_us:
                yield Blocker(BlockerKind.RATE, path, until_us=self._timer[path][0])

    def arrival_us(self, path: KeyPath) -> int:
        """Return the theoretical arrival time of a node with a rate, 0 of one without."""
        return self._arrival_us.get(path, 0)

    def refresh(self, key: KeyPath, now_us: int) -> None:
        """Let what was set by tags and by default hold for the nodes of a key."""
        if not self.policies.was_anything_set:
            return
        for path in prefixes(key):
            if self._versions.get(path) != self.policies.version:
                self._apply(path, now_us)

    # -- what happens ------------------------------------------------------------

    def started(self, leaf: KeyPath, now_us: int) -> None:
        """Count an entry that was served against the limits of its nodes."""
        if not self.policies.was_anything_set:
            return
        self.refresh(key_of(leaf), now_us)
        for path in prefixes(key_of(leaf)):
            rate = self.limits(path).rate
            if rate is not None and rate.interval_us != UNLIMITED:
                arrival_us = self._arrival_us.get(path, 0)
                self._arrival_us[path] = rate.after_start_us(arrival_us, now_us)
        self.changed(leaf, now_us)

    def changed(self, leaf: KeyPath, now_us: int) -> None:
        """Block and unblock a leaf's nodes, now that something was handed out or ended."""
        if not self.policies.was_anything_set:
            return
        self.refresh(key_of(leaf), now_us)
        for path in prefixes(key_of(leaf)):
            self._judge(path, now_us)

    def take_unblocked(self) -> bool:
        """Return whether a node came to be below its limits since this was asked last."""
        is_unblocked, self._is_unblocked = self._is_unblocked, False
        return is_unblocked

    # -- what comes due ------------------------------------------------------------

    def next_timer(self) -> tuple[int, int] | None:
        """Return (time, sequence) at which a node's rate lets another start first."""
        while self._timers:
            due_at_us, sequence, path = self._timers[0]
            if self._timer.get(path) == (due_at_us, sequence):
                return due_at_us, sequence
            heappop(self._timers)
        return None

    def fire(self) -> None:
        """Let the node race again whose timer is first."""
        _, _, path = heappop(self._timers)
        del self._timer[path]
        self.tree.unblock(path, Block.RATE)

    # -- forgetting ------------------------------------------------------------------

    def is_forgettable(self, path: KeyPath, now_us: int) -> bool:
        """Return whether nothing is to be remembered of a node, its rate's starts included."""
        has_started = self._arrival_us.get(path, 0) > now_us
        is_named = self.policies.names(path)
        return not has_started and not is_named and self.tree.is_forgettable(path)

    def forget(self, path: KeyPath) -> None:
        """Drop all memory of a node that `is_forgettable`."""
        self.tree.forget(path)
        self.estimates.forget(path)
        self.policies.forget(path)
        for known in (self._limits, self._arrival_us, self._versions):
            known.pop(path, None)

    # -- within ----------------------------------------------------------------------

    def _hold_at_once(self, target: ShareTarget, now_us: int) -> None:
        path = target.path if isinstance(target, Weighed) else target
        if isinstance(path, tuple):
            self.tree.know(path)
            self._apply(path, now_us)

    def _apply(self, path: KeyPath, now_us: int) -> None:
        """Let what is set hold for one node."""
        self._versions[path] = self.policies.version
        policy = self.policies.holding(path)
        share = 1.0 if policy.share is None else policy.share
        if share != self.tree.share(path):
            self.tree.set_share(path, share)
        if policy.limits != self.limits(path):
            self._limits[path] = policy.limits
            rate = policy.limits.rate
            if rate is not None and path in self._arrival_us:
                arrival_us = self._arrival_us[path]
                self._arrival_us[path] = rate.after_change_us(arrival_us, now_us)
            self._judge(path, now_us)

    def _judge(self, path: KeyPath, now_us: int) -> None:
        """Block a node that is at a limit, and only then."""
        limits = self.limits(path)
        in_service = self.tree.in_service(path)
        if limits.concurrency and in_service >= limits.concurrency:
            self.tree.block(path, Block.CONCURRENCY)
        else:
            self._unblock(path, Block.CONCURRENCY)
        if limits.rate is None or limits.rate.interval_us == UNLIMITED:
            self._arrival_us.pop(path, None)
            self._wait_until(path, 0, now_us)
        else:
            arrival_us = self._arrival_us.get(path, 0)
            self._wait_until(path, limits.rate.next_start_us(arrival_us), now_us)

    def _wait_until(self, path: KeyPath, start_us: int, now_us: int) -> None:
        """Block a node until that time, if it has not come."""
        if start_us <= now_us:
            self._timer.pop(path, None)
            self._unblock(path, Block.RATE)
        elif self._timer.get(path, (0, 0))[0] != start_us:
            self._timer[path] = (start_us, self._next_sequence())
            heappush(self._timers, (*self._timer[path], path))
            self.tree.block(path, Block.RATE)

    def _unblock(self, path: KeyPath, reason: Block) -> None:
        self._is_unblocked |= self.tree.unblock(path, reason)

"""Why an entry of the memory engine waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from celery_ranch.engines.memory_backlog import Backlog, StoredEntry
from celery_ranch.engines.memory_dead import DeadLetters
from celery_ranch.engines.memory_leases import Leases, LeaseState
from celery_ranch.engines.memory_nodes import Nodes
from celery_ranch.engines.memory_withdrawals import Withdrawals
from celery_ranch.scheduling.explanation import EntryState, Explanation
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.nodes import key_of
from celery_ranch.scheduling.turns import ahead_of

__all__ = ["Explainer"]

_STATES = {
    LeaseState.LEASED: EntryState.LEASED,
    LeaseState.STARTED: EntryState.STARTED,
    LeaseState.ACKNOWLEDGED: EntryState.ACKNOWLEDGED,
    LeaseState.FINISHED: EntryState.FINISHED,
}


@dataclass(frozen=True, slots=True)
class Explainer:
    """One queue's state, to be asked of its entries."""

    queue: str
    level_floor: int
    entries: Mapping[str, StoredEntry]
    backlog: Backlog
    nodes: Nodes
    leases: Leases
    dead: DeadLetters
    withdrawals: Withdrawals
    handed_over: int
    last_leased_at_us: Mapping[KeyPath, int]

    def explain(self, entry_id: str, most: int, now_us: int) -> Explanation:
        """Return where an entry is and why, as `Engine.explain`."""
        workers = self.leases.valid_workers(now_us)
        told = Explanation(
            entry_id, self.queue, EntryState.UNKNOWN, now_us, self.handed_over, workers
        )
        entry = self.entries.get(entry_id)
        if entry is None:
            return self._with_lease(told, is_acknowledged=True)
        told = replace(
            told,
            key=entry.key,
            level=entry.level,
            cost=entry.cost,
            deliveries=entry.deliveries,
            since_us=entry.since_us,
            expires_at_us=entry.expires_at_us,
        )
        if why := self.dead.why(entry_id):
            reason, died_at_us = why
            return replace(told, state=EntryState.DEAD, reason=reason, died_at_us=died_at_us)
        if self.withdrawals.is_aside(entry):
            return replace(told, state=EntryState.WITHDRAWN)
        if entry.due_at_us is None and not self.backlog.has_ready(entry):
            return self._with_lease(told, is_acknowledged=False)
        told = replace(told, blockers=tuple(self.nodes.blockers(entry.key, now_us)))
        if entry.due_at_us is not None:
            return replace(told, state=EntryState.DELAYED, due_at_us=entry.due_at_us)
        return self._with_turn(replace(told, state=EntryState.WAITING), entry, most)

    def _with_turn(self, told: Explanation, entry: StoredEntry, most: int) -> Explanation:
        def cost_of(path: KeyPath) -> int:
            return self.nodes.estimates.of(key_of(path)) if entry.cost is None else entry.cost

        position = self.backlog.position(entry)
        ahead = ahead_of(self.nodes.tree, entry.key, entry.level, position, cost_of, most)
        return told.with_turn(position, ahead, self.level_floor)

    def _with_lease(self, told: Explanation, *, is_acknowledged: bool) -> Explanation:
        """Return this of an entry that a worker may have."""
        found = self.leases.holder(told.entry_id, is_acknowledged=is_acknowledged)
        if found is None:
            return told
        worker, held = found
        # When a node was served is known of the last time.
        is_latest = self.nodes.tree.last_served(held.leaf) == held.number
        return replace(
            told,
            state=_STATES[held.state],
            key=key_of(held.leaf),
            level=held.entry.level,
            worker=worker,
            leased_at_us=self.last_leased_at_us.get(held.leaf) if is_latest else None,
        )

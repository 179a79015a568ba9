"""One queue of the memory engine: its nodes, its backlog, its leases, its dead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from celery_ranch.engines.memory_backlog import StoredEntry, absolute_us
from celery_ranch.engines.memory_leases import Held, LeaseState, TakenBack
from celery_ranch.engines.memory_look import QueueLook
from celery_ranch.engines.memory_nodes import prefixes
from celery_ranch.scheduling.model import (
    MAX_COST,
    Entry,
    KeyPath,
    Lease,
    Outcome,
    OutcomeKind,
    requeue_delay_us,
)
from celery_ranch.scheduling.nodes import key_of
from celery_ranch.scheduling.withdrawals import Aside, DeadCursor, DeadSwept, Move, Moved

__all__ = ["MemoryQueue"]

TOO_MANY_DELIVERIES = "too many deliveries"


class MemoryQueue(QueueLook):
    """A queue in plain dicts; not safe for threads, its engine locks.

    Args:
        name: The queue's name.
        settings: What its engine was told.
        tag_limit: Where its virtual time starts again from 0.
    """

    # -- storing ---------------------------------------------------------------

    def has(self, entry_id: str) -> bool:
        """Return whether an entry is known by that id."""
        return entry_id in self._entries

    def most_waiting(self, path: KeyPath) -> int | None:
        """Return how many entries may wait at a node and below; None: any number."""
        policies = self.nodes.policies
        return policies.holding(path).limits.backlog if policies.was_anything_set else None

    def waiting_below(self, path: KeyPath) -> int:
        """Return how many entries wait at a node and below, delayed ones included."""
        return self._backlog.below(path)

    def store(self, entry: Entry, now_us: int) -> None:
        """Take an entry whose id is free."""
        stored = StoredEntry(
            entry_id=entry.entry_id,
            key=entry.key,
            message=entry.message,
            expires_at_us=absolute_us(entry.expires_at_us, entry.expires_in_us, now_us),
            level=entry.level,
            cost=entry.cost,
            since_us=now_us,
        )
        self.stored += 1
        self._entries[stored.entry_id] = stored
        self._put(stored, absolute_us(entry.due_at_us, entry.due_in_us, now_us), now_us)

    def cancel(self, entry_id: str) -> bytes | None:
        """Drop a waiting or delayed entry; return its message, None if none."""
        if entry_id not in self._waiting_ids:
            return None
        entry = self._entries.pop(entry_id)
        self._waiting_ids.remove(entry_id)
        if entry.due_at_us is None:
            self._tree.remove(entry.key, entry.level)
        self._backlog.remove(entry)
        self.begin_epochs()
        return entry.message

    def move(self, entry_id: str, helper: str, move: Move, now_us: int) -> int | Moved:
        """Move one entry that waits; return the number of what is to be carried out."""
        if entry_id not in self._waiting_ids:
            return Moved.ELSEWHERE
        entry = self._entries[entry_id]
        if self.withdrawals.covers(entry.key):
            return Moved.ELSEWHERE
        if move.queue == self.name and move.key in (None, entry.key):
            return Moved.SAME
        number = self.withdrawals.take_one(entry, helper, move, now_us)
        return Moved.FILED if number is None else number

    def arrive(
        self, token: str, entries: Sequence[Aside], key: KeyPath | None, now_us: int
    ) -> tuple[str, ...]:
        """Store what comes from another queue, each once; return ids that are in use."""
        last = self._arrived.get(token, 0)
        new = [(entry, entry.record) for entry in entries if entry.number > last]
        taken = tuple(entry.entry_id for entry, _ in new if entry.entry_id in self._entries)
        for entry, record in () if taken else new:
            assert isinstance(record, StoredEntry)
            stored = replace(record, entry_id=entry.entry_id, key=key or record.key, is_fresh=True)
            due_at_us, stored.due_at_us = stored.due_at_us, None
            self.stored += 1
            self._entries[stored.entry_id] = stored
            self._put(stored, due_at_us, now_us)
            self._arrived[token] = entry.number
        return taken

    # -- leasing ---------------------------------------------------------------

    def first_level(self) -> int | None:
        """Return the first level with something leasable, None if there is none."""
        return min(self._tree.levels(), default=None)

    def activate(self, limit: int, now_us: int) -> int:
        """Let at most `limit` entries and nodes be eligible whose time has come; say how many."""
        for activated in range(limit):
            timer = self._next_timer()
            if timer is None or timer[0] > now_us:
                return activated
            if timer == self.nodes.next_timer():
                self.nodes.fire()
            else:
                entry = self._backlog.activate(self.withdrawals.covers)
                self.nodes.refresh(entry.key, now_us)
                self._tree.add(entry.key, entry.level)
        return limit

    def is_next_expired(self, now_us: int) -> bool:
        """Return whether the entry whose turn it is may not run any more."""
        return self._next()[1].is_expired(now_us)

    def hand_over(self, worker: str, now_us: int) -> Lease:
        """Lease the entry whose turn it is; an expired one is not charged."""
        leaf, entry = self._next()
        is_expired = entry.is_expired(now_us)
        self._waiting_ids.remove(entry.entry_id)
        self._backlog.remove(entry)
        self._number += 1
        charged = None
        if is_expired:
            self._tree.hand_out(leaf, entry.level)
            self.nodes.changed(leaf, now_us)
        else:
            self._levels.dispatched(entry.level, self._tree.levels())
            charged = self.nodes.estimates.of(entry.key) if entry.cost is None else None
            cost = entry.cost if charged is None else charged
            assert cost is not None
            self._tree.serve(leaf, entry.level, self._number, cost)
            self.nodes.started(leaf, now_us)
            for path in (*prefixes(entry.key), leaf):
                self._last_leased_at_us[path] = now_us
        self.leases.add(worker, Held(entry, self._number, leaf, charged))
        self._leased += 1
        return Lease(
            entry_id=entry.entry_id,
            key=entry.key,
            queue=self.name,
            number=self._number,
            deliveries=entry.deliveries,
            message=entry.message,
            is_expired=is_expired,
            is_suspect=entry.is_suspect,
            level=entry.level,
            cost=entry.cost,
            waited_us=max(0, now_us - entry.since_us),
        )

    def end_lease_call(self) -> None:
        """Keep virtual times in their range."""
        self._tree.shift_at_limit()
        self.nodes.take_unblocked()

    # -- settling --------------------------------------------------------------

    def settle(self, worker: str, outcome: Outcome, now_us: int) -> bool:
        """Record what became of a lease; return False if it had passed on."""
        held = self.leases.find(worker, outcome.number, outcome.entry_id)
        if held is None:
            return False
        kind = outcome.kind
        if kind is OutcomeKind.STARTED:
            if held.state is LeaseState.LEASED:
                held.state = LeaseState.STARTED
        elif kind is OutcomeKind.ACKNOWLEDGED:
            self._acknowledge(worker, held, now_us)
        elif kind is OutcomeKind.FINISHED:
            self._finish(worker, held, outcome.run_us, now_us)
        else:
            was_acknowledged = held.state is LeaseState.ACKNOWLEDGED
            self._drop_lease(worker, held, outcome.run_us, now_us)
            if not was_acknowledged:
                self._dispose(held.entry, outcome, now_us)
        return True

    def begin_epochs(self) -> None:
        """Forget the start tags of races in which nothing is due and no slot is taken."""
        self._tree.begin_epochs()

    def _acknowledge(self, worker: str, held: Held, now_us: int) -> None:
        if held.state is LeaseState.ACKNOWLEDGED:
            return
        del self._entries[held.entry.entry_id]
        if held.state is LeaseState.FINISHED:
            self._drop_lease(worker, held, None, now_us)
        else:
            held.state = LeaseState.ACKNOWLEDGED

    def _finish(self, worker: str, held: Held, run_us: int | None, now_us: int) -> None:
        if held.state is LeaseState.ACKNOWLEDGED:
            self._drop_lease(worker, held, run_us, now_us)
        elif held.state is not LeaseState.FINISHED:
            self._free(held, run_us, now_us)
            held.state = LeaseState.FINISHED

    def _free(self, held: Held, run_us: int | None, now_us: int) -> None:
        """Give a lease's slot back; what it was charged is corrected to what was measured.

        What started and was not measured keeps its charge.
        """
        self._leased -= 1
        entry = held.entry
        if run_us is None and held.state is LeaseState.LEASED:
            run_us = 0
        if held.charged is not None and run_us is not None:
            run_us = min(run_us, MAX_COST)
            self._tree.correct(held.leaf, entry.level, held.charged, run_us)
            if run_us:
                self.nodes.estimates.learn(entry.key, run_us)
        self._tree.finish(held.leaf, entry.level)
        self.nodes.changed(held.leaf, now_us)

    def _dispose(self, entry: StoredEntry, outcome: Outcome, now_us: int) -> None:
        """Put an entry whose lease just ended where its outcome says."""
        if outcome.kind is OutcomeKind.COMPLETED:
            del self._entries[entry.entry_id]
        elif outcome.kind is OutcomeKind.DEAD:
            self._bury(entry, outcome.reason, now_us)
        elif outcome.kind is OutcomeKind.RELEASED:
            self._put(entry, now_us + outcome.due_in_us, now_us)
        elif self._count_delivery(entry, now_us):
            self._put(entry, now_us + requeue_delay_us(entry.deliveries), now_us)

    def _drop_lease(self, worker: str, held: Held, run_us: int | None, now_us: int) -> None:
        self.leases.drop(worker, held)
        if held.state is not LeaseState.FINISHED:
            self._free(held, run_us, now_us)

    # -- workers ---------------------------------------------------------------

    def held(self, worker: str) -> Iterator[tuple[str, int]]:
        """Return (entry id, lease number) of each of the worker's leases."""
        return ((held.entry.entry_id, held.number) for held in self.leases.of(worker))

    def reap(self, limit: int, now_us: int) -> list[TakenBack]:
        """Take back at most `limit` entries of dead workers, in their order."""
        done: list[TakenBack] = []
        for worker in self.leases.dead_workers(now_us):
            for held in self.leases.of(worker)[: limit - len(done)]:
                self._drop_lease(worker, held, None, now_us)
                done.append(self._take_back(held, now_us))
            self.leases.forget_if_empty(worker)
        if done:
            self.begin_epochs()
        return done

    def is_reapable(self, now_us: int) -> bool:
        """Return whether a dead worker still has leases."""
        return any(map(self.leases.of, self.leases.dead_workers(now_us)))

    def forget_idle_keys(self, limit: int, now_us: int) -> None:
        """Look at `limit` nodes, on from the last ones, and forget the idle."""
        looked_at = list(islice(self._tree.nodes_after(self._swept_birth), limit))
        self._swept_birth = looked_at[-1][0] if len(looked_at) == limit and looked_at else 0
        for _, path in looked_at:
            last_us = self._last_leased_at_us.get(path)
            is_idle = last_us is None or now_us - last_us >= self._settings.idle_key_us
            has_work = bool(self._backlog.below(path))
            if is_idle and not has_work and self.nodes.is_forgettable(path, now_us):
                self.nodes.forget(path)
                self._last_leased_at_us.pop(path, None)

    def _take_back(self, held: Held, now_us: int) -> TakenBack:
        """Put the entry of a dead worker's lease back, unless it is done with."""
        if held.state is LeaseState.ACKNOWLEDGED:
            return TakenBack.FREED
        held.entry.is_suspect = True
        if held.state is LeaseState.LEASED:
            self._put(held.entry, None, now_us)
            return TakenBack.RELEASED
        if self._count_delivery(held.entry, now_us):
            held.entry.since_us = now_us
            self._put(held.entry, None, now_us)
            return TakenBack.REQUEUED
        return TakenBack.DEAD

    # -- dead letters ------------------------------------------------------------

    def retry_dead(self, entry_id: str, now_us: int) -> bool:
        """Put a dead letter back as if just stored; return False if none is."""
        entry = self.dead.take(entry_id)
        if entry is None:
            return False
        entry.deliveries = 0
        entry.is_suspect = False
        entry.is_fresh, entry.since_us = True, now_us
        self._put(entry, None, now_us)
        return True

    def delete_dead(self, entry_id: str) -> bool:
        """Drop a dead letter for good; return False if there is none."""
        if self.dead.take(entry_id) is None:
            return False
        del self._entries[entry_id]
        return True

    def sweep_dead(
        self,
        key: KeyPath | None,
        limit: int,
        cursor: DeadCursor,
        now_us: int,
        *,
        is_retried: bool,
    ) -> DeadSwept:
        """Put back, or drop, dead letters of a node or all, some at a time."""
        till = self.dead.deaths if cursor.till < 0 else cursor.till
        found = self.dead.between(cursor.after, till, limit)
        meant = [
            entry.entry_id for _, entry in found if key is None or entry.key[: len(key)] == key
        ]
        for entry_id in meant:
            if is_retried:
                self.retry_dead(entry_id, now_us)
            else:
                self.delete_dead(entry_id)
        is_last = len(found) < limit
        return DeadSwept(len(meant), None if is_last else DeadCursor(found[-1][0], till))

    def _count_delivery(self, entry: StoredEntry, now_us: int) -> bool:
        """Count one delivery more; bury the entry and say no if that is too many."""
        entry.deliveries += 1
        if entry.deliveries <= self._settings.max_deliveries:
            return True
        self._bury(entry, TOO_MANY_DELIVERIES, now_us)
        return False

    def _bury(self, entry: StoredEntry, reason: str, now_us: int) -> None:
        for dropped_id in self.dead.add(entry, reason, now_us):
            del self._entries[dropped_id]

    # -- within --------------------------------------------------------------------

    def _next(self) -> tuple[KeyPath, StoredEntry]:
        """Return the leaf whose turn it is, and its first entry."""
        levels = self._tree.levels()
        level = self._levels.next(levels) if levels else 0
        leaf = self._tree.first(level)
        if leaf is None:
            raise LookupError(f"nothing in {self.name} is leasable")
        return leaf, self._backlog.first(key_of(leaf), level)

    def _put(self, entry: StoredEntry, due_at_us: int | None, now_us: int) -> None:
        """Let an entry wait, and its key race for it once it is due."""
        if not entry.is_fresh and self.withdrawals.covers(entry.key):
            entry.sequence = self._backlog.next_sequence()
        self._waiting_ids.add(entry.entry_id)
        if due_at_us is not None and due_at_us > now_us:
            entry.since_us = due_at_us
        self._tree.know(entry.key)
        self.nodes.refresh(entry.key, now_us)
        if self._backlog.add(entry, due_at_us, now_us):
            self._tree.add(entry.key, entry.level)

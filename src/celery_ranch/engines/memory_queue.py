"""One queue of the memory engine: its race, its backlog, its leases, its dead."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import islice

from celery_ranch.engines.memory_backlog import Backlog, StoredEntry
from celery_ranch.engines.memory_check import Look
from celery_ranch.engines.memory_dead import DeadLetters
from celery_ranch.engines.memory_leases import Held, LeaseState
from celery_ranch.scheduling.fairness import FairTree
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.model import (
    EngineSettings,
    Entry,
    KeyPath,
    KeySnapshot,
    Lease,
    Outcome,
    OutcomeKind,
    QueueSnapshot,
    requeue_delay_us,
)

__all__ = ["MemoryQueue", "TakenBack"]

TOO_MANY_DELIVERIES = "too many deliveries"


class TakenBack(Enum):
    """What reaping did with one lease of a dead worker."""

    RELEASED = "released"
    REQUEUED = "requeued"
    FREED = "freed"
    DEAD = "dead"


class MemoryQueue:
    """A queue in plain dicts; not safe for threads, its engine locks.

    Args:
        name: The queue's name.
        settings: What its engine was told.
        tag_limit: Where its virtual time starts again from 0.
    """

    def __init__(self, name: str, settings: EngineSettings, tag_limit: int) -> None:
        self.name = name
        self.turn = 0
        """When it was last leased from, among the queues; 0 means never."""
        self.ever_held_an_entry = False
        self._settings = settings
        self._race = FairTree(tag_limit)
        self._backlog = Backlog()
        self._number = 0
        self._leased = 0
        self._entries: dict[str, StoredEntry] = {}
        self._waiting_ids: set[str] = set()
        self._held: dict[str, dict[int, Held]] = {}
        self._until_us: dict[str, int] = {}
        self.dead = DeadLetters(name, settings.dead_letter_limit)
        self._last_leased_at_us: dict[KeyPath, int] = {}
        self._swept_birth = 0

    # -- storing ---------------------------------------------------------------

    def has(self, entry_id: str) -> bool:
        """Return whether an entry is known by that id."""
        return entry_id in self._entries

    def store(self, entry: Entry, now_us: int) -> None:
        """Take an entry whose id is free."""
        stored = StoredEntry(
            entry_id=entry.entry_id,
            key=entry.key,
            message=entry.message,
            expires_at_us=_absolute_us(entry.expires_at_us, entry.expires_in_us, now_us),
        )
        self.ever_held_an_entry = True
        self._entries[stored.entry_id] = stored
        self._put(stored, _absolute_us(entry.due_at_us, entry.due_in_us, now_us), now_us)

    def cancel(self, entry_id: str) -> bytes | None:
        """Drop a waiting or delayed entry; return its message, None if none."""
        if entry_id not in self._waiting_ids:
            return None
        entry = self._entries.pop(entry_id)
        self._take(entry)
        self.begin_epoch_if_idle()
        return entry.message

    # -- leasing ---------------------------------------------------------------

    def is_leasable(self) -> bool:
        """Return whether some key's turn has come."""
        return self._race.first() is not None

    def next_due_at_us(self) -> int | None:
        """Return when the next delayed entry comes due, None if there is none."""
        return self._backlog.next_due_at_us()

    def activate(self, limit: int, now_us: int) -> int:
        """Make at most `limit` delayed entries eligible; return how many were due."""
        for activated in range(limit):
            entry = self._backlog.activate(now_us)
            if entry is None:
                return activated
            self._race.offer(entry.key)
        return limit

    def is_next_expired(self, now_us: int) -> bool:
        """Return whether the entry whose turn it is may not run any more."""
        return self._next().is_expired(now_us)

    def hand_over(self, worker: str, now_us: int) -> Lease:
        """Lease the entry whose turn it is; an expired one is not charged."""
        entry = self._next()
        is_expired = entry.is_expired(now_us)
        self._take(entry)
        self._number += 1
        if not is_expired:
            self._race.serve(entry.key, self._number)
            self._last_leased_at_us[entry.key] = now_us
        self._held.setdefault(worker, {})[self._number] = Held(entry, self._number)
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
        )

    def end_lease_call(self) -> None:
        """Keep virtual time in its range."""
        self._race.shift_at_limit()

    # -- settling --------------------------------------------------------------

    def settle(self, worker: str, outcome: Outcome, now_us: int) -> bool:
        """Record what became of a lease; return False if it had passed on."""
        held = self._held.get(worker, {}).get(outcome.number)
        if held is None or held.entry.entry_id != outcome.entry_id:
            return False
        kind = outcome.kind
        if kind is OutcomeKind.STARTED:
            if held.state is LeaseState.LEASED:
                held.state = LeaseState.STARTED
        elif kind is OutcomeKind.ACKNOWLEDGED:
            self._acknowledge(worker, held)
        elif kind is OutcomeKind.FINISHED:
            self._finish(worker, held)
        elif held.state is LeaseState.ACKNOWLEDGED:
            self._drop_lease(worker, held)
        else:
            self._drop_lease(worker, held)
            self._dispose(held.entry, outcome, now_us)
        return True

    def begin_epoch_if_idle(self) -> None:
        """Forget all start tags if nothing waits as due and no slot is taken."""
        if not self._backlog.waiting and not self._leased:
            self._race.begin_epoch()

    def _acknowledge(self, worker: str, held: Held) -> None:
        if held.state is LeaseState.ACKNOWLEDGED:
            return
        del self._entries[held.entry.entry_id]
        if held.state is LeaseState.FINISHED:
            self._drop_lease(worker, held)
        else:
            held.state = LeaseState.ACKNOWLEDGED

    def _finish(self, worker: str, held: Held) -> None:
        if held.state is LeaseState.ACKNOWLEDGED:
            self._drop_lease(worker, held)
        elif held.state is not LeaseState.FINISHED:
            held.state = LeaseState.FINISHED
            self._leased -= 1

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

    def _drop_lease(self, worker: str, held: Held) -> None:
        leases = self._held[worker]
        del leases[held.number]
        if not leases:
            del self._held[worker]
        if held.state is not LeaseState.FINISHED:
            self._leased -= 1

    # -- workers ---------------------------------------------------------------

    def register(self, worker: str, now_us: int) -> None:
        """Start a worker's validity, unless it is known already."""
        self._until_us.setdefault(worker, now_us + self._settings.lease_us)

    def beat(self, worker: str, now_us: int) -> bool:
        """Renew a worker's validity; return False if it is not known here."""
        if worker not in self._until_us:
            return False
        self._until_us[worker] = now_us + self._settings.lease_us
        return True

    def held(self, worker: str) -> Iterator[tuple[str, int]]:
        """Return (entry id, lease number) of each of the worker's leases."""
        for held in self._held.get(worker, {}).values():
            yield held.entry.entry_id, held.number

    def reap(self, limit: int, now_us: int) -> list[TakenBack]:
        """Take back at most `limit` entries of dead workers, in their order."""
        done: list[TakenBack] = []
        for worker in self._dead_workers(now_us):
            for held in islice(list(self._held.get(worker, {}).values()), limit - len(done)):
                self._drop_lease(worker, held)
                done.append(self._take_back(held, now_us))
            if worker not in self._held:
                del self._until_us[worker]
        if done:
            self.begin_epoch_if_idle()
        return done

    def is_reapable(self, now_us: int) -> bool:
        """Return whether a dead worker still has leases."""
        return any(worker in self._held for worker in self._dead_workers(now_us))

    def forget_idle_keys(self, limit: int, now_us: int) -> None:
        """Look at `limit` keys, on from the last ones, and forget the idle."""
        looked_at = list(islice(self._race.keys_after(self._swept_birth), limit))
        self._swept_birth = looked_at[-1][0] if len(looked_at) == limit and looked_at else 0
        for _, key in looked_at:
            last_us = self._last_leased_at_us.get(key)
            is_idle = last_us is None or now_us - last_us >= self._settings.idle_key_us
            if is_idle and not self._backlog.has_any_of(key) and self._race.is_forgettable(key):
                self._race.forget(key)
                self._last_leased_at_us.pop(key, None)

    def _dead_workers(self, now_us: int) -> list[str]:
        dead = [(until, worker) for worker, until in self._until_us.items() if until <= now_us]
        return [worker for _, worker in sorted(dead)]

    def _take_back(self, held: Held, now_us: int) -> TakenBack:
        """Put the entry of a dead worker's lease back, unless it is done with."""
        if held.state is LeaseState.ACKNOWLEDGED:
            return TakenBack.FREED
        held.entry.is_suspect = True
        if held.state is LeaseState.LEASED:
            self._put(held.entry, None, now_us)
            return TakenBack.RELEASED
        if self._count_delivery(held.entry, now_us):
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
        entry.is_fresh = True
        self._put(entry, None, now_us)
        return True

    def delete_dead(self, entry_id: str) -> bool:
        """Drop a dead letter for good; return False if there is none."""
        if self.dead.take(entry_id) is None:
            return False
        del self._entries[entry_id]
        return True

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

    # -- keys --------------------------------------------------------------------

    def set_share(self, key: KeyPath, share: float) -> None:
        """Give a key a share, at once."""
        self._race.set_share(key, share)

    def pause(self, key: KeyPath) -> None:
        """Take a key out of circulation."""
        self._race.pause(key)

    def resume(self, key: KeyPath) -> None:
        """Let a paused key be served again."""
        self._race.resume(key)

    def snapshot(self, now_us: int) -> QueueSnapshot:
        """Return the queue's counts."""
        due_at_us = self.next_due_at_us()
        return QueueSnapshot(
            queue=self.name,
            waiting=self._backlog.waiting,
            delayed=self._backlog.delayed,
            leased=self._leased,
            dead=len(self.dead),
            workers=sum(until > now_us for until in self._until_us.values()),
            next_due_in_us=None if due_at_us is None else max(0, due_at_us - now_us),
        )

    def keys(self, cursor: int, count: int) -> tuple[int, tuple[KeySnapshot, ...]]:
        """Return `count` keys known after the cursor, and the next cursor."""
        page = list(islice(self._race.keys_after(cursor), max(1, count) + 1))
        is_last = len(page) <= max(1, count)
        page = page[: max(1, count)]
        next_cursor = 0 if is_last else page[-1][0]
        return next_cursor, tuple(self._key_snapshot(key) for _, key in page)

    def pending(self, key: KeyPath, offset: int, limit: int) -> tuple[tuple[str, bytes], ...]:
        """Return (entry id, message) of a slice of the key's backlog."""
        entries = islice(self._backlog.entries_of(key), offset, offset + limit)
        return tuple((entry.entry_id, entry.message) for entry in entries)

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong, as `Engine.check`."""
        leases = [held for leases in self._held.values() for held in leases.values()]
        look = Look(self.name, self._entries, self._backlog, self._race, leases, self.dead)
        yield from look.violations(self._leased)

    def _key_snapshot(self, key: KeyPath) -> KeySnapshot:
        return KeySnapshot(
            key=key,
            waiting=self._backlog.waiting_of(key),
            delayed=self._backlog.delayed_of(key),
            share=self._race.share(key),
            is_paused=self._race.is_paused(key),
            last_leased_at_us=self._last_leased_at_us.get(key),
        )

    # -- within --------------------------------------------------------------------

    def _next(self) -> StoredEntry:
        """Return the entry whose turn it is."""
        key = self._race.first()
        if key is None:
            raise LookupError(f"nothing in {self.name} is leasable")
        return self._backlog.first(key)

    def _put(self, entry: StoredEntry, due_at_us: int | None, now_us: int) -> None:
        """Let an entry wait, and its key race for it once it is due."""
        self._waiting_ids.add(entry.entry_id)
        if self._backlog.add(entry, due_at_us, now_us):
            self._race.offer(entry.key)
        else:
            self._race.know(entry.key)

    def _take(self, entry: StoredEntry) -> None:
        """Let an entry wait no more; its key leaves the race with its last."""
        self._waiting_ids.remove(entry.entry_id)
        self._backlog.remove(entry)
        if not self._backlog.waiting_of(entry.key):
            self._race.withdraw(entry.key)


def _absolute_us(at_us: int | None, in_us: int | None, now_us: int) -> int | None:
    """Return a time given as such or from now, None if neither was given."""
    return at_us if in_us is None else now_us + in_us

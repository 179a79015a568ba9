"""The leases of one queue of the memory engine, and the workers that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from celery_ranch.engines.memory_backlog import StoredEntry
from celery_ranch.scheduling.model import KeyPath

__all__ = ["Held", "LeaseState", "Leases", "TakenBack"]


class LeaseState(Enum):
    """How far a lease has come."""

    LEASED = "leased"
    STARTED = "started"
    ACKNOWLEDGED = "acknowledged"
    """The entry is gone, the slot is taken."""
    FINISHED = "finished"
    """The slot is free, the entry is not acknowledged."""


class TakenBack(Enum):
    """What reaping did with one lease of a dead worker."""

    RELEASED = "released"
    REQUEUED = "requeued"
    FREED = "freed"
    DEAD = "dead"


@dataclass(slots=True)
class Held:
    """One lease of one worker."""

    entry: StoredEntry
    number: int
    leaf: KeyPath
    """The leaf of the tree that was served."""
    charged: int | None
    """With how much, in millionths, to be corrected; None if the cost was known."""
    state: LeaseState = LeaseState.LEASED


class Leases:
    """Who holds what, and until when that worker's leases are valid.

    Args:
        lease_us: How long a worker's leases outlive its last beat.
    """

    def __init__(self, lease_us: int) -> None:
        self._lease_us = lease_us
        self._held: dict[str, dict[int, Held]] = {}
        self._until_us: dict[str, int] = {}

    def add(self, worker: str, held: Held) -> None:
        """Enter a lease."""
        self._held.setdefault(worker, {})[held.number] = held

    def find(self, worker: str, number: int, entry_id: str) -> Held | None:
        """Return a worker's lease, None if it has no such one."""
        held = self._held.get(worker, {}).get(number)
        return held if held is not None and held.entry.entry_id == entry_id else None

    def drop(self, worker: str, held: Held) -> None:
        """Forget a lease."""
        leases = self._held[worker]
        del leases[held.number]
        if not leases:
            del self._held[worker]

    def of(self, worker: str) -> list[Held]:
        """Return a worker's leases, in the order of their numbers."""
        return list(self._held.get(worker, {}).values())

    def holder(self, entry_id: str, *, is_acknowledged: bool) -> tuple[str, Held] | None:
        """Return who holds an entry, and its lease; of several the latest."""
        found = [
            (held.number, worker, held)
            for worker, leases in self._held.items()
            for held in leases.values()
            if held.entry.entry_id == entry_id
            and (held.state is LeaseState.ACKNOWLEDGED) is is_acknowledged
        ]
        return max(found, key=lambda each: each[0])[1:] if found else None

    def __iter__(self) -> Iterator[Held]:
        return (held for leases in self._held.values() for held in leases.values())

    def register(self, worker: str, now_us: int) -> None:
        """Start a worker's validity, unless it is known already."""
        self._until_us.setdefault(worker, now_us + self._lease_us)

    def beat(self, worker: str, now_us: int) -> bool:
        """Renew a worker's validity; return False if it is not known here."""
        if worker not in self._until_us:
            return False
        self._until_us[worker] = now_us + self._lease_us
        return True

    def workers(self) -> tuple[str, ...]:
        """Return who is registered."""
        return tuple(self._until_us)

    def valid_until_us(self, worker: str) -> int | None:
        """Return until when a worker's leases are valid, None if it is not known."""
        return self._until_us.get(worker)

    def valid_workers(self, now_us: int) -> int:
        """Return how many workers' leases are valid."""
        return sum(until_us > now_us for until_us in self._until_us.values())

    def dead_workers(self, now_us: int) -> list[str]:
        """Return the workers that stopped beating, the first to stop first."""
        dead = [(until, worker) for worker, until in self._until_us.items() if until <= now_us]
        return [worker for _, worker in sorted(dead)]

    def forget_if_empty(self, worker: str) -> None:
        """Forget a dead or leaving worker that holds nothing."""
        if worker not in self._held:
            self._until_us.pop(worker, None)

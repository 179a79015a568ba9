"""The leases of one queue of the memory engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from celery_ranch.engines.memory_backlog import StoredEntry

__all__ = ["Held", "LeaseState"]


class LeaseState(Enum):
    """How far a lease has come."""

    LEASED = "leased"
    STARTED = "started"
    ACKNOWLEDGED = "acknowledged"
    """The entry is gone, the slot is taken."""
    FINISHED = "finished"
    """The slot is free, the entry is not acknowledged."""


@dataclass(slots=True)
class Held:
    """One lease of one worker."""

    entry: StoredEntry
    number: int
    state: LeaseState = LeaseState.LEASED

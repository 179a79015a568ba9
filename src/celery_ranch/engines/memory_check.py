"""What is wrong with one queue of the memory engine, all seen at one instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from celery_ranch.engines.memory_backlog import Backlog, StoredEntry
from celery_ranch.engines.memory_dead import DeadLetters
from celery_ranch.engines.memory_leases import Held, LeaseState
from celery_ranch.scheduling.fairness import FairTree
from celery_ranch.scheduling.invariant import Violation, ViolationKind
from celery_ranch.scheduling.model import LEVELS
from celery_ranch.scheduling.nodes import key_of

__all__ = ["Look"]


@dataclass(frozen=True, slots=True)
class Look:
    """One queue's state, to be compared with itself."""

    queue: str
    entries: Mapping[str, StoredEntry]
    backlog: Backlog
    tree: FairTree
    leases: Sequence[Held]
    dead: DeadLetters
    aside: Sequence[str]
    """The ids of what is being withdrawn."""

    def violations(self, leased: int) -> Iterator[Violation]:
        """Yield what is wrong; `leased` is the queue's count of slots taken."""
        yield from self._of_places()
        yield from self._of_keys()
        taken = sum(held.state is not LeaseState.FINISHED for held in self.leases)
        waiting = sum(map(self.backlog.waiting_of, self.backlog.backlogged()))
        delayed = sum(map(self.backlog.delayed_of, self.backlog.backlogged()))
        counts = {
            "leased": (leased, taken),
            "waiting": (self.backlog.waiting, waiting),
            "delayed": (self.backlog.delayed, delayed),
        }
        for name, (counted, actual) in counts.items():
            if counted != actual:
                detail = f"{counted} counted, {actual} found"
                yield Violation(self.queue, ViolationKind.WRONG_COUNT, name, detail)

    def _of_places(self) -> Iterator[Violation]:
        standing = [
            (entry.entry_id, "delayed" if entry.due_at_us is not None else "waiting")
            for key in self.backlog.backlogged()
            for entry in self.backlog.entries_of(key)
        ]
        standing += [(entry_id, "dead") for entry_id in self.dead.ids()]
        standing += [(entry_id, "withdrawn") for entry_id in self.aside]
        standing += [
            (held.entry.entry_id, "leased")
            for held in self.leases
            if held.state is not LeaseState.ACKNOWLEDGED
        ]
        places: dict[str, list[str]] = {}
        for entry_id, place in standing:
            places.setdefault(entry_id, []).append(place)
        for entry_id, found in places.items():
            if entry_id not in self.entries:
                yield Violation(self.queue, ViolationKind.NO_ENTRY, entry_id, ", ".join(found))
            elif len(found) > 1:
                detail = ", ".join(found)
                yield Violation(self.queue, ViolationKind.SEVERAL_PLACES, entry_id, detail)
        for entry_id in self.entries.keys() - places.keys():
            yield Violation(self.queue, ViolationKind.NOWHERE, entry_id)

    def _of_keys(self) -> Iterator[Violation]:
        for _, path in self.tree.nodes_after(0):
            key = key_of(path)
            is_leaf = not self.tree.is_inner(path)
            for level in LEVELS:
                waits = bool(is_leaf and self.backlog.waiting_of(key, level))
                has_work = waits or self.tree.is_raced_below(path, level)
                is_racing = self.tree.is_racing(path, level)
                if has_work and not self.tree.blocks(path) and not is_racing:
                    yield Violation(self.queue, ViolationKind.NOT_IN_INDEX, "/".join(key))
                elif is_racing and (not has_work or self.tree.blocks(path)):
                    yield Violation(self.queue, ViolationKind.STRAY_INDEX, "/".join(key))
        for key in self.backlog.backlogged():
            if self.backlog.has_any_of(key) and key not in self.tree:
                yield Violation(self.queue, ViolationKind.UNKNOWN_KEY, "/".join(key))

"""What one queue of the memory engine is made of, and what it shows of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import islice
from random import choices

from celery_ranch.engines.memory_backlog import Backlog, StoredEntry
from celery_ranch.engines.memory_check import Look
from celery_ranch.engines.memory_dead import DeadLetters
from celery_ranch.engines.memory_explain import Explainer
from celery_ranch.engines.memory_leases import Leases
from celery_ranch.engines.memory_nodes import Nodes
from celery_ranch.engines.memory_withdrawals import Withdrawals
from celery_ranch.scheduling.explanation import Explanation
from celery_ranch.scheduling.figures import LevelFigures, NodeFigures, StandFigures, Survey
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.levels import LevelOrder
from celery_ranch.scheduling.model import (
    LEVELS,
    EngineSettings,
    KeyPath,
    KeySnapshot,
    QueueSnapshot,
)
from celery_ranch.scheduling.nodes import OWN, Block, Node

__all__ = ["QueueLook"]

#: Of a slice of all nodes, so many are looked at in one survey.
_NODES_SURVEYED = 100
_SAMPLE = 15


class QueueLook:
    """A queue that can be looked at; `MemoryQueue` is the one that does something.

    Args:
        name: The queue's name.
        settings: What its engine was told.
        tag_limit: Where its virtual time starts again from 0.
    """

    def __init__(self, name: str, settings: EngineSettings, tag_limit: int) -> None:
        self.name = name
        self.turn = 0
        """When it was last leased from, among the queues; 0 means never."""
        self.stored = 0
        """How many entries were ever stored."""
        self._settings = settings
        self._backlog = Backlog()
        self.nodes = Nodes(tag_limit, self._backlog.next_sequence)
        self._tree = self.nodes.tree
        self._levels = LevelOrder(settings.level_floor)
        self._number = 0
        self._leased = 0
        self._entries: dict[str, StoredEntry] = {}
        self._waiting_ids: set[str] = set()
        self.withdrawals = Withdrawals(
            name, settings.lease_us, self._backlog, self.nodes, self._entries, self._waiting_ids
        )
        self.leases = Leases(settings.lease_us)
        self.dead = DeadLetters(name, settings.dead_letter_limit)
        self._arrived: dict[str, int] = {}
        """How far each withdrawal from another queue has come, by its token."""
        self._last_leased_at_us: dict[KeyPath, int] = {}
        self._swept_birth = 0

    def next_due_at_us(self) -> int | None:
        """Return when something may come to be leasable by itself, None if nothing will."""
        timer = self._next_timer()
        return None if timer is None else timer[0]

    def snapshot(self, now_us: int) -> QueueSnapshot:
        """Return the queue's counts."""
        due_at_us = self.next_due_at_us()
        return QueueSnapshot(
            queue=self.name,
            waiting=self._backlog.waiting,
            delayed=self._backlog.delayed,
            leased=self._leased,
            dead=len(self.dead),
            workers=self.leases.valid_workers(now_us),
            next_due_in_us=None if due_at_us is None else max(0, due_at_us - now_us),
        )

    def keys(self, cursor: int, count: int) -> tuple[int, tuple[KeySnapshot, ...]]:
        """Return `count` keys known after the cursor, and the next cursor."""
        page = list(islice(self._tree.nodes_after(cursor), max(1, count) + 1))
        is_last = len(page) <= max(1, count)
        page = page[: max(1, count)]
        next_cursor = 0 if is_last else page[-1][0]
        return next_cursor, tuple(self.key_snapshot(p) for _, p in page if p[-1] != OWN)

    def pending(self, key: KeyPath, offset: int, limit: int) -> tuple[tuple[str, bytes], ...]:
        """Return (entry id, message) of a slice of the key's backlog."""
        entries = islice(self._backlog.entries_of(key), offset, offset + limit)
        return tuple((entry.entry_id, entry.message) for entry in entries)

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong, as `Engine.check`."""
        leases = tuple(self.leases)
        aside = tuple(self.withdrawals.ids_aside())
        look = Look(self.name, self._entries, self._backlog, self._tree, leases, self.dead, aside)
        yield from look.violations(self._leased)

    def explain(self, entry_id: str, most: int, now_us: int) -> Explanation:
        """Return where an entry is and why, as `Engine.explain`."""
        explainer = Explainer(
            queue=self.name,
            level_floor=self._settings.level_floor,
            entries=self._entries,
            backlog=self._backlog,
            nodes=self.nodes,
            leases=self.leases,
            dead=self.dead,
            withdrawals=self.withdrawals,
            handed_over=self._number,
            last_leased_at_us=self._last_leased_at_us,
        )
        return explainer.explain(entry_id, most, now_us)

    def key_snapshot(self, key: KeyPath) -> KeySnapshot:
        """Return a key as it stands."""
        return KeySnapshot(
            key=key,
            waiting=self._backlog.waiting_of(key),
            delayed=self._backlog.delayed_of(key),
            share=self.nodes.share(key),
            is_paused=bool(self._tree.blocks(key) & Block.PAUSED),
            last_leased_at_us=self._last_leased_at_us.get(key),
            in_service=self._tree.in_service(key),
            tags=tuple(sorted(self.nodes.policies.tags(key))),
        )

    def measure(self, keys: Sequence[KeyPath]) -> tuple[NodeFigures, ...]:
        """Return how those of the nodes stand that are known."""
        return tuple(self._figures(key) for key in keys if key in self._tree)

    def survey(self, cursor: int, now_us: int) -> Survey:
        """Return what there is at each level, and keys from the cursor on and by turn."""
        page = list(islice(self._tree.nodes_after(cursor), _NODES_SURVEYED))
        keys = [key for _, key in page if key[-1] != OWN]
        found = [key for key in keys if self._tree.blocks(key)][:_SAMPLE]
        found += nlargest(_SAMPLE, keys, key=self._backlog.waiting_of)
        levels, sampled = [], list[KeyPath]()
        root = self._tree.node(())
        assert root is not None
        for level, race in sorted(root.races.items()):
            racing = race.racing()
            found += [*racing[:_SAMPLE], *racing[-_SAMPLE:]]
            sampled += choices(racing, k=_SAMPLE) if racing else ()
            levels.append(LevelFigures(level, race.waiting, race.in_service, len(racing)))
        return Survey(
            now_us=now_us,
            stored=self.stored,
            known=len(self._tree),
            levels=tuple(levels),
            keys=tuple(found),
            sampled=tuple(sampled),
            cursor=page[-1][0] if len(page) == _NODES_SURVEYED else 0,
        )

    # -- within --------------------------------------------------------------------

    def _next_timer(self) -> tuple[int, int] | None:
        """Return (time, sequence) of what comes due first, an entry or a node."""
        timers = (self._backlog.next_timer(), self.nodes.next_timer())
        return min((timer for timer in timers if timer is not None), default=None)

    def _figures(self, key: KeyPath) -> NodeFigures:
        node = self._tree.node(key)
        assert node is not None
        stands = tuple(self._stands(node))
        lines = [level for level in LEVELS if self._backlog.waiting_of(key, level)]
        since = [self._backlog.first(key, level).since_us for level in lines]
        return NodeFigures(
            key=key,
            share=node.share,
            blocks=node.blocks,
            in_service=node.in_service,
            delayed=self._backlog.below(key) - sum(stand.waiting for stand in stands),
            children=node.children,
            last_leased_at_us=self._last_leased_at_us.get(key),
            waiting_since_us=min(since, default=None),
            stands=stands,
            limits=self.nodes.limits(key),
            arrival_us=self.nodes.arrival_us(key),
        )

    def _stands(self, node: Node) -> Iterator[StandFigures]:
        """Yield where a node stands at each level where it has, or had, something to do."""
        assert node.parent is not None
        for level in LEVELS:
            below, stand = node.races.get(level), node.stands.get(level)
            waiting = self._backlog.waiting_of(node.path, level)
            if node.children:
                waiting = 0 if below is None else below.waiting
            if stand is not None or waiting:
                yield StandFigures(
                    level=level,
                    waiting=waiting,
                    lead=0 if stand is None else node.parent.races[level].lead(stand),
                    is_racing=stand is not None and stand.place is not None,
                    racing_below=len(below.racing()) if below is not None and node.children else 0,
                )

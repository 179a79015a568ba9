"""Every metric: its name, kind, unit, labels, meaning, and where in a look it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, TypeAlias

from celery_ranch.observing.metrics.readings import (
    Reader,
    Sample,
    leads,
    of_all,
    of_all_keys,
    of_keys,
    of_levels,
    of_limits,
    of_queues,
    of_totals,
    of_workers,
)

__all__ = ["METRICS", "UP", "Kind", "Metric"]

Kind: TypeAlias = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """As it is queried; of a histogram without its suffixes."""
    kind: Kind
    """gauge, counter or histogram."""
    labels: tuple[str, ...]
    unit: str
    meaning: str
    read: Reader


def _group(
    prefix: str,
    labels: tuple[str, ...],
    of: Callable[[Any], Reader],
    rows: Iterable[tuple[str, str, str, Any]],
    kind: Kind = "gauge",
) -> Iterator[Metric]:
    """Yield metrics from rows of name, unit, meaning and what reads it."""
    for name, unit, meaning, read in rows:
        yield Metric(f"celery_ranch_{prefix}{name}", kind, labels, unit, meaning, of(read))


#: Whether there is anything else.
UP = Metric(
    "celery_ranch_up",
    "gauge",
    (),
    "0 or 1",
    "Whether the store could be looked at; if not, there is no other metric.",
    of_all(lambda _: 1),
)

#: In the order in which they are shown.
METRICS: tuple[Metric, ...] = (
    UP,
    Metric(
        "celery_ranch_build_info",
        "gauge",
        ("version",),
        "1",
        "The version of celery-ranch that looks.",
        lambda _: iter([Sample((metadata.version("celery-ranch"),), 1)]),
    ),
    *_group(
        "",
        (),
        of_all,
        [
            (
                "look_seconds",
                "seconds",
                "How long looking at the store took.",
                lambda view: view.look_seconds,
            ),
            (
                "hidden_queues",
                "queues",
                "Queues that are not shown, because there are very many.",
                lambda view: view.status.more_queues,
            ),
            (
                "hidden_workers",
                "workers",
                "Workers that are not shown, because there are very many.",
                lambda view: view.status.more_workers,
            ),
        ],
    ),
    *_group(
        "queue_",
        ("queue",),
        of_queues,
        [
            (
                "waiting_entries",
                "entries",
                "Entries that are due, those of paused keys included.",
                lambda queue: queue.waiting,
            ),
            (
                "delayed_entries",
                "entries",
                "Entries that are not due yet.",
                lambda queue: queue.delayed,
            ),
            (
                "leased_entries",
                "entries",
                "Entries that workers have and did not finish.",
                lambda queue: queue.leased,
            ),
            ("dead_letters", "entries", "Dead letters that are kept.", lambda queue: queue.dead),
            (
                "workers",
                "workers",
                "Workers that serve the queue and beat in time.",
                lambda queue: queue.workers,
            ),
            (
                "oldest_wait_seconds",
                "seconds",
                "For how long the entry that waits longest could have run, of the keys that were"
                " looked at: those that have a label, and more.",
                lambda queue: queue.oldest_wait,
            ),
            (
                "evenness_ratio",
                "0 to 1",
                "Jain's index of what keys received, each over what it was entitled to, in the"
                " last minute; 1: each got what was due to it.",
                lambda queue: queue.evenness,
            ),
            (
                "unshown_keys",
                "keys",
                "Outermost keys with something waiting that were not looked at; estimated where"
                " they are very many.",
                lambda queue: queue.other.keys,
            ),
        ],
    ),
    *_group(
        "queue_",
        ("queue",),
        of_queues,
        [
            (
                "stored_entries_total",
                "entries",
                "Entries that were stored, ever.",
                lambda queue: queue.totals.stored,
            ),
        ],
        kind="counter",
    ),
    *_group(
        "level_",
        ("queue", "level"),
        of_levels,
        [
            (
                "waiting_entries",
                "entries",
                "Entries of the level that are due.",
                lambda level: level.waiting,
            ),
            (
                "leased_entries",
                "entries",
                "Entries of the level that workers have and did not finish.",
                lambda level: level.leased,
            ),
            (
                "racing_keys",
                "keys",
                "Outermost keys that stand for their turn at the level.",
                lambda level: level.keys,
            ),
        ],
    ),
    *_group(
        "level_",
        ("queue", "level"),
        of_totals,
        [
            (
                "finished_tasks_total",
                "tasks",
                "Tasks that ended, those that failed included, ever.",
                lambda level: level.finished,
            ),
            ("failed_tasks_total", "tasks", "Tasks that failed, ever.", lambda level: level.failed),
        ],
        kind="counter",
    ),
    *_group(
        "level_",
        ("queue", "level"),
        of_totals,
        [
            (
                "wait_seconds",
                "seconds",
                "How long entries waited, from when they could have run until they started.",
                lambda level: level.wait,
            ),
            ("run_seconds", "seconds", "How long tasks ran.", lambda level: level.run),
        ],
        kind="histogram",
    ),
    *_group(
        "key_",
        ("queue", "key"),
        of_all_keys,
        [
            (
                "waiting_entries",
                "entries",
                "Entries of the key, and of all below it, that are due.",
                "waiting",
            ),
            ("delayed_entries", "entries", "Entries of the key that are not due yet.", "delayed"),
            (
                "leased_entries",
                "entries",
                "Entries of the key that workers have and did not finish.",
                "leased",
            ),
            (
                "received_ratio",
                "0 to 1",
                "Which part of what all keys received in the last minute the key did.",
                "received",
            ),
        ],
    ),
    *_group(
        "key_",
        ("queue", "key"),
        of_keys,
        [
            ("entitled_ratio", "0 to 1", "Which part was due to it.", lambda key: key.entitled),
            ("share", "", "The key's share.", lambda key: key.share),
            (
                "oldest_wait_seconds",
                "seconds",
                "For how long the first of its entries could have run.",
                lambda key: key.oldest_wait,
            ),
            (
                "unserved_seconds",
                "seconds",
                "How long ago something of it was leased last; no series if never, or if that"
                " is forgotten.",
                lambda key: key.last_leased,
            ),
            ("is_paused", "0 or 1", "Whether the key is paused.", lambda key: key.is_paused),
        ],
    ),
    Metric(
        "celery_ranch_key_lead",
        "gauge",
        ("queue", "key", "level"),
        "tasks or seconds, as cost is counted",
        "How far the key is ahead of its siblings' virtual time at a level; the smallest goes"
        " next.",
        leads,
    ),
    *_group(
        "key_limit_",
        ("queue", "key", "limit"),
        of_limits,
        [
            (
                "most",
                "entries",
                "How many may be leased (limit concurrency), start at once (rate) or wait"
                " (backlog).",
                lambda limit: limit.most,
            ),
            (
                "used",
                "entries",
                "How many are, did and are not regained yet, or do.",
                lambda limit: limit.used,
            ),
            (
                "is_reached",
                "0 or 1",
                "Whether the limit holds the key back; of a backlog, whether there is no room.",
                lambda limit: limit.is_reached,
            ),
        ],
    ),
    *_group(
        "worker_",
        ("worker",),
        of_workers,
        [
            (
                "is_alive",
                "0 or 1",
                "Whether the worker beat in time; the leases of one that did not are taken back.",
                lambda worker: worker.is_alive,
            ),
            (
                "beat_age_seconds",
                "seconds",
                "How long ago it beat.",
                lambda worker: worker.beat_age,
            ),
            (
                "leased_entries",
                "entries",
                "Entries that it has, by the store's word.",
                lambda worker: worker.leased,
            ),
            (
                "capacity_tasks",
                "tasks",
                "How many tasks its pool runs at once.",
                lambda worker: worker.capacity,
            ),
            (
                "taken_slots",
                "tasks",
                "How many of these are taken.",
                lambda worker: worker.slots_taken,
            ),
            (
                "lookahead_entries",
                "entries",
                "How many entries it likes to have at hand beyond its capacity.",
                lambda worker: worker.lookahead,
            ),
            (
                "stocked_entries",
                "entries",
                "How many of those it has.",
                lambda worker: worker.stocked,
            ),
            (
                "task_run_seconds",
                "seconds",
                "Its running estimate of what a task takes.",
                lambda worker: worker.run_seconds,
            ),
        ],
    ),
)

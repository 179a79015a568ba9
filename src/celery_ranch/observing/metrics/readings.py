"""How figures are read from a look, as the series of a metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from celery_ranch.observing.metrics.labels import OTHER
from celery_ranch.observing.notation import visible
from celery_ranch.observing.status import (
    KeyStatus,
    LevelStatus,
    LevelTotals,
    LimitStatus,
    QueueStatus,
    Status,
    Times,
    WorkerStatus,
)
from celery_ranch.scheduling.model import KeyPath

__all__ = [
    "Reader",
    "Sample",
    "Value",
    "View",
    "leads",
    "of_all",
    "of_all_keys",
    "of_keys",
    "of_levels",
    "of_limits",
    "of_queues",
    "of_totals",
    "of_workers",
]


@dataclass(frozen=True, slots=True)
class View:
    """What is rendered: a look, and which keys are told apart."""

    status: Status
    look_seconds: float
    """How long the look took."""
    labels: Mapping[str, Mapping[KeyPath, str]]
    """By queue, the labels of the outermost keys that have one."""


Value: TypeAlias = "float | Times | None"


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of a metric at one moment."""

    labels: tuple[str, ...]
    value: Value
    """None: it is not known, and there is no series."""


Reader: TypeAlias = "Callable[[View], Iterator[Sample]]"


def of_all(read: Callable[[View], Value]) -> Reader:
    """Return what reads a figure of what there is once."""

    def samples(view: View) -> Iterator[Sample]:
        yield Sample((), read(view))

    return samples


def of_queues(read: Callable[[QueueStatus], Value]) -> Reader:
    """Return what reads a figure of each queue."""

    def samples(view: View) -> Iterator[Sample]:
        for queue in view.status.queues:
            yield Sample((visible(queue.queue),), read(queue))

    return samples


def of_levels(read: Callable[[LevelStatus], Value]) -> Reader:
    """Return what reads a figure of each level of a queue that has something now."""

    def samples(view: View) -> Iterator[Sample]:
        for queue in view.status.queues:
            for level in queue.levels:
                yield Sample((visible(queue.queue), str(level.level)), read(level))

    return samples


def of_totals(read: Callable[[LevelTotals], Value]) -> Reader:
    """Return what reads a figure of each level of a queue that ever had something."""

    def samples(view: View) -> Iterator[Sample]:
        for queue in view.status.queues:
            for level in queue.totals.levels:
                yield Sample((visible(queue.queue), str(level.level)), read(level))

    return samples


def of_keys(read: Callable[[KeyStatus], Value]) -> Reader:
    """Return what reads a figure of each key that has a label."""

    def samples(view: View) -> Iterator[Sample]:
        for queue, label, key in _labelled(view):
            yield Sample((visible(queue.queue), label), read(key))

    return samples


def of_all_keys(name: str) -> Reader:
    """Return what reads a figure of keys that adds up, with a line for all others."""

    def samples(view: View) -> Iterator[Sample]:
        for queue in view.status.queues:
            labels = view.labels[queue.queue]
            rest = getattr(queue.other, name)
            for key in queue.keys:
                value = getattr(key, name)
                if key.key in labels:
                    yield Sample((visible(queue.queue), labels[key.key]), value)
                elif len(key.key) == 1 and value is not None:
                    rest = value + (rest or 0)
            yield Sample((visible(queue.queue), OTHER), rest)

    return samples


def of_limits(read: Callable[[LimitStatus], Value]) -> Reader:
    """Return what reads a figure of each limit of a key that has a label."""

    def samples(view: View) -> Iterator[Sample]:
        for queue, label, key in _labelled(view):
            for limit in key.limits:
                yield Sample((visible(queue.queue), label, limit.kind), read(limit))

    return samples


def leads(view: View) -> Iterator[Sample]:
    """Yield how far ahead each key is that has a label, by level."""
    for queue, label, key in _labelled(view):
        for level in key.levels:
            yield Sample((visible(queue.queue), label, str(level.level)), level.lead)


def of_workers(read: Callable[[WorkerStatus], Value]) -> Reader:
    """Return what reads a figure of each worker."""

    def samples(view: View) -> Iterator[Sample]:
        for worker in view.status.workers:
            yield Sample((visible(worker.worker),), read(worker))

    return samples


def _labelled(view: View) -> Iterator[tuple[QueueStatus, str, KeyStatus]]:
    for queue in view.status.queues:
        labels = view.labels[queue.queue]
        for key in queue.keys:
            if key.key in labels:
                yield queue, labels[key.key], key

"""A status as tables: queues, the first keys of each, levels, workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery_ranch.cli.notation import visible, written_key
from celery_ranch.cli.showing import (
    NOTHING,
    WIDE,
    Words,
    ago,
    count,
    number,
    part,
    per_second,
    seconds,
    table,
)
from celery_ranch.observing.status import (
    KeyStatus,
    LimitStatus,
    OtherKeys,
    QueueStatus,
    Spread,
    Status,
    WorkerStatus,
)

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["fitted", "key_lines", "tables"]


def fitted(status: Status, width: int, height: int) -> Iterator[Table]:
    """Yield the tables of a status with as many keys as a screen has room for.

    Args:
        status: What there is.
        width: How many columns the screen has.
        height: How many lines.
    """
    workers = max(1, height // 5)
    lines = 3 + len(status.queues) + bool(status.workers) * (3 + min(workers, len(status.workers)))
    lines += sum(3 + len(queue.levels) for queue in status.queues if len(queue.levels) > 1)
    with_keys = sum(bool(queue.keys) for queue in status.queues)
    rows = (height - lines) // max(1, with_keys) - 3
    yield from tables(status, width, max(1, rows), workers)


def tables(
    status: Status, width: int, rows: int | None = None, workers: int | None = None
) -> Iterator[Table]:
    """Yield the tables of a status.

    Args:
        status: What there is.
        width: How many columns the screen has.
        rows: How many keys of each queue to show at most; None: all it has.
        workers: How many workers, likewise.
    """
    is_wide = width >= WIDE
    yield _queues(status, is_wide)
    for queue in status.queues:
        if len(queue.levels) > 1:
            yield _levels(queue, is_wide)
        if queue.keys:
            yield _keys(queue, is_wide, rows)
    if status.workers:
        yield _workers(status, is_wide, workers)


def _queues(status: Status, is_wide: bool) -> Table:
    names: list[str | Words] = [
        Words("Queue"),
        "Waiting",
        "Delayed",
        "Running",
        "Dead",
        "Workers",
        "In",
        "Out",
        "Wait p95",
    ]
    if is_wide:
        names += ["p50", "p99", "Run p95", "Failed", "Oldest", "Next due", "Evenness"]
    rows = [_queue(each, is_wide) for each in status.queues]
    if status.more_queues:
        rows.append((f"and {status.more_queues:,} more",))
    return table("", names, rows)


def _queue(queue: QueueStatus, is_wide: bool) -> tuple[str, ...]:
    flow = queue.flow
    shown = (
        queue.queue,
        count(queue.waiting),
        count(queue.delayed),
        count(queue.leased),
        count(queue.dead),
        count(queue.workers),
        per_second(flow.enqueued_per_second),
        per_second(flow.finished_per_second),
        seconds(flow.wait.p95),
    )
    if not is_wide:
        return shown
    return (
        *shown,
        seconds(flow.wait.p50),
        seconds(flow.wait.p99),
        seconds(flow.run.p95),
        per_second(flow.failed_per_second),
        seconds(queue.oldest_wait),
        seconds(queue.next_due),
        number(queue.evenness),
    )


def _levels(queue: QueueStatus, is_wide: bool) -> Table:
    names: list[str | Words] = [
        Words("Priority"),
        "Waiting",
        "Running",
        "Keys",
        "Out",
        "Wait p50",
        "p95",
        "p99",
    ]
    return table(
        f"{visible(queue.queue)}: by priority",
        names,
        (
            (
                str(each.level),
                count(each.waiting),
                count(each.leased),
                count(each.keys),
                per_second(each.flow.finished_per_second),
                *_spread(each.flow.wait),
            )
            for each in queue.levels
        ),
    )


def _spread(spread: Spread) -> tuple[str, ...]:
    return seconds(spread.p50), seconds(spread.p95), seconds(spread.p99)


def _keys(queue: QueueStatus, is_wide: bool, rows: int | None) -> Table:
    names: list[str | Words] = [Words("Key", is_cut=True), "Waiting", "Delayed", "Running"]
    names += ["Oldest", "Got of due"]
    if is_wide:
        names += ["Share", "Lead", "Out", "Wait p95", "Run p95"]
    shown = queue.keys[:rows]
    cells = [_key(each, is_wide) for each in shown]
    hidden = len(queue.keys) - len(shown)
    if hidden:
        cells.append((f"{hidden + queue.other.keys:,} more",))
    elif queue.other.keys:
        cells.append(_other(queue.other))
    return table(f"{visible(queue.queue)}: by key", [*names, Words("State")], cells)


def _key(key: KeyStatus, is_wide: bool) -> tuple[str, ...]:
    shown: tuple[str, ...] = (
        written_key(key.key),
        count(key.waiting),
        count(key.delayed),
        count(key.leased),
        seconds(key.oldest_wait),
        _got(key) or NOTHING,
    )
    if is_wide:
        shown += (
            number(key.share),
            " ".join(f"{number(at.lead)}@{at.level}" for at in key.levels if at.is_racing),
            per_second(key.flow.finished_per_second),
            seconds(key.flow.wait.p95),
            seconds(key.flow.run.p95),
        )
    return (*shown, _state(key))


def key_lines(key: KeyStatus, tags: Sequence[str], data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what there is to say of one key, a line for each thing that is known."""
    flow = key.flow
    facts = {
        "key": written_key(key.key),
        "waiting": count(key.waiting),
        "oldest": seconds(key.oldest_wait) if key.oldest_wait is not None else "",
        "delayed": count(key.delayed),
        "running": f"{count(key.leased)}, last one taken {ago(key.last_leased)}",
        "share": number(key.share),
        "got of due": _got(key),
        "state": _state(key),
        "keys below": count(key.children) if key.children else "",
        "in, out": ", ".join(map(per_second, (flow.enqueued_per_second, flow.finished_per_second))),
        "waits": _told(flow.wait),
        "runs": _told(flow.run),
    }
    for level in key.levels:
        lead = f", lead {number(level.lead)}" if level.is_racing else ""
        facts[f"priority {level.level}"] = f"{count(level.waiting)} waiting{lead}"
    facts["tags"] = " ".join(tags)
    facts |= {name: repr(value) for name, value in data.items()}
    for name, told in facts.items():
        if told:
            yield f"{name + ':':<12} {told}"


def _got(key: KeyStatus) -> str:
    """Return which part of what its siblings and it received it got, and was due to it."""
    if key.received is None:
        return ""
    due = "" if key.entitled is None else f" of {part(key.entitled)}"
    return f"{part(key.received)}{due}"


def _told(spread: Spread) -> str:
    if not spread.count:
        return ""
    p50, p95, p99 = _spread(spread)
    return f"half within {p50}, 95 % within {p95}, 99 % within {p99}"


def _state(key: KeyStatus) -> str:
    """Return what holds a key back, or may soon."""
    told = ["paused"] if key.is_paused else []
    told += [_limit(each) for each in key.limits]
    return ", ".join(told)


def _limit(limit: LimitStatus) -> str:
    mark = "!" if limit.is_reached else ""
    if limit.per_second is not None:
        return f"rate {per_second(limit.per_second)}{mark}"
    return f"{limit.kind} {number(limit.used)}/{number(limit.most)}{mark}"


def _other(other: OtherKeys) -> tuple[str, ...]:
    return (
        f"{other.keys:,} more",
        count(other.waiting),
        count(other.delayed),
        count(other.leased),
        "",
        part(other.received),
    )


def _workers(status: Status, is_wide: bool, most: int | None) -> Table:
    names: list[str | Words] = [
        Words("Worker"),
        "Taken",
        "Slots",
        "Stock",
        "Ahead",
        "Leases",
        "Beat",
    ]
    if is_wide:
        names += ["Run", "Pid", Words("Host"), Words("Version"), Words("Queues")]
    rows = [_worker(each, is_wide) for each in status.workers[:most]]
    more = len(status.workers) - len(rows) + status.more_workers
    if more:
        rows.append((f"and {more:,} more",))
    return table("", names, rows)


def _worker(worker: WorkerStatus, is_wide: bool) -> tuple[str, ...]:
    shown = (
        worker.worker,
        count(worker.slots_taken),
        count(worker.capacity),
        count(worker.stocked),
        count(worker.lookahead),
        count(worker.leased),
        seconds(worker.beat_age) + ("" if worker.is_alive else " (lost)"),
    )
    if not is_wide:
        return shown
    pid = "" if worker.pid is None else str(worker.pid)
    queues = ", ".join(worker.queues)
    return (*shown, seconds(worker.run_seconds), pid, worker.host, worker.version, queues)

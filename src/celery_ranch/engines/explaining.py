"""The engine in Redis asked why an entry waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from celery_ranch.engines import wire
from celery_ranch.scheduling.explanation import Blocker, BlockerKind, EntryState, Explanation
from celery_ranch.scheduling.turns import Ahead, Precision

__all__ = ["explanation"]


@dataclass(frozen=True, slots=True)
class _Look:
    """What one script found."""

    told: Explanation
    number: int = 0
    """Of the lease found."""
    next: int = 0
    """From which worker on to look for a lease; 0: all were looked at."""


def explanation(
    ask: Callable[[int], Any], entry_id: str, queue: str, level_floor: int
) -> Explanation:
    """Return where an entry is and why.

    Args:
        ask: Runs the script, looking for leases from that worker on.
        entry_id: The entry's id.
        queue: Its queue's name.
        level_floor: What each level is sure of, in millionths of all turns.
    """
    first, best = 0, None
    while True:
        look = _read(ask(first), entry_id, queue, level_floor)
        # The id of an acknowledged entry may be another's, held by another worker.
        is_last = look.told.state not in (EntryState.UNKNOWN, EntryState.ACKNOWLEDGED)
        if best is None or is_last or look.number > best.number:
            best = look
        if is_last or not look.next:
            return best.told
        first = look.next


def _read(reply: Any, entry_id: str, queue: str, level_floor: int) -> _Look:
    word, now_us, handed_over, workers, known, *rest = reply
    told = Explanation(entry_id, queue, EntryState.UNKNOWN, now_us, handed_over, workers)
    if known:
        told = _with_entry(told, known)
    if word == b"waiting":
        position, better, same, worse, precision, *blockers = rest
        told = replace(told, state=EntryState.WAITING, blockers=_blockers(blockers))
        ahead = Ahead(better, same, worse, list(Precision)[precision])
        return _Look(told.with_turn(position, ahead, level_floor))
    if word == b"delayed":
        due_at_us, *blockers = rest
        told = replace(told, state=EntryState.DELAYED, due_at_us=due_at_us)
        return _Look(replace(told, blockers=_blockers(blockers)))
    if word == b"dead":
        died_at_us, reason = wire.read_why(rest[0])
        told = replace(told, state=EntryState.DEAD, reason=reason, died_at_us=died_at_us)
        return _Look(told)
    if word == b"withdrawn":
        return _Look(replace(told, state=EntryState.WITHDRAWN))
    if word == b"held":
        return _read_held(told, *rest)
    return _Look(told, next=rest[0])


def _read_held(
    told: Explanation,
    next: int,
    state: bytes,
    worker: bytes,
    number: int,
    key: bytes,
    level: int,
    leased_at_us: int,
) -> _Look:
    told = replace(
        told,
        state=EntryState(str(state, "ascii")),
        worker=str(worker, "utf-8", "backslashreplace"),
        key=wire.read_key(key),
        level=level,
        leased_at_us=leased_at_us or None,
    )
    return _Look(told, number, next)


def _with_entry(told: Explanation, known: bytes) -> Explanation:
    deliveries, _, level, key, _, cost, since_us = wire.split_entry(known)
    expires = known.split(b" ", 2)[1]
    return replace(
        told,
        key=key,
        level=level,
        cost=cost,
        deliveries=deliveries,
        since_us=since_us,
        expires_at_us=None if expires == b"-" else int(expires),
    )


def _blockers(reply: list[Any]) -> tuple[Blocker, ...]:
    found = []
    for at in range(0, len(reply), 5):
        node, why, running, limit, until_us = reply[at : at + 5]
        kind, key = BlockerKind(str(why, "ascii")), wire.read_key(node)
        if kind is BlockerKind.CONCURRENCY:
            found.append(Blocker(kind, key, running=running, limit=limit))
        else:
            found.append(Blocker(kind, key, until_us=until_us or None))
    return tuple(found)

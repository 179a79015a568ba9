"""What is taken away, moved and brought back, as script arguments and replies."""

from __future__ import annotations

from typing import Any

from celery_ranch.engines.scripts import Argument
from celery_ranch.engines.wire import key_text, read_id, read_key, read_word, split_entry
from celery_ranch.scheduling.model import Withdrawal
from celery_ranch.scheduling.withdrawals import (
    Aside,
    CarriedOut,
    DeadCursor,
    DeadSwept,
    Move,
    Moved,
    Progress,
)

__all__ = ["arrival_arguments", "move_arguments"]


def move_arguments(queue: str, move: Move | None) -> dict[str, Argument]:
    """Return the arguments that say what is to become of what is taken out of a queue."""
    if move is None:
        return {"kind": "cancel", "to_queue": "", "to_key": ""}
    kind = "file" if move.queue == queue else "move"
    to_key = "" if move.key is None else key_text(move.key)
    return {"kind": kind, "to_queue": move.queue, "to_key": to_key}


def read_withdrawal(reply: Any, queue: str) -> Withdrawal | None:
    return Withdrawal(queue, reply[1]) if reply[0] == b"withdrawn" else None


def read_carried_out(reply: Any) -> CarriedOut:
    progress = Progress(read_word(reply))
    if progress is not Progress.ASIDE:
        return CarriedOut(progress, *reply[1:])
    taken, kind, queue, key, token = reply[1:6]
    move = None
    if kind != b"cancel":
        move = Move(str(queue, "utf-8"), read_key(key) if key else None)
    entries = []
    for at in range(6, len(reply), 3):
        entry_id, number, value = reply[at : at + 3]
        message = split_entry(value)[4]
        entries.append(Aside(read_id(entry_id), int(float(number)), message, value))
    return CarriedOut(progress, taken, tuple(entries), move, str(token, "utf-8"))


def read_moved(reply: Any, queue: str) -> Withdrawal | Moved:
    word = read_word(reply)
    if word == "withdrawn":
        return Withdrawal(queue, reply[1])
    return Moved.FILED if word == "moved" else Moved(word)


def arrival_arguments(entry: Aside) -> tuple[Argument, ...]:
    """Return the three arguments that store an entry which was aside elsewhere."""
    assert isinstance(entry.record, bytes)
    return entry.entry_id, entry.number, entry.record


def read_arrived(reply: Any) -> tuple[str, ...]:
    return tuple(read_id(entry_id) for entry_id in reply[1:])


def read_dead_swept(reply: Any) -> DeadSwept:
    count, after, till = reply[1:]
    return DeadSwept(count, None if after < 0 else DeadCursor(after, till))

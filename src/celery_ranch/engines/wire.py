"""Entries and outcomes as script arguments, script replies as what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redis.exceptions import NoScriptError

from celery_ranch.engines.connections import store_error
from celery_ranch.engines.scripts import Argument
from celery_ranch.errors import RanchError
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import (
    CHARGE_UNIT,
    DEFAULT_LEVEL,
    DeadLetter,
    Enqueued,
    Entry,
    KeyDetails,
    KeyPath,
    KeySnapshot,
    Lease,
    Leased,
    Outcome,
    QueueSnapshot,
    Reaped,
    Withdrawal,
    key_path,
)
from celery_ranch.scheduling.policies import ShareTarget, Tag, Weighed

__all__ = ["Request", "ScriptMissing"]

T = TypeVar("T")

#: Times beyond this (about 142 years from 1970, or from now) are taken as this.
_LATEST_US = 2**52

#: Where an entry stands that a dead worker held (places.lua).
_SUSPECT = b"+"

#: What joins the parts of a key, and what stands for it and for itself within one.
_JOIN = "\x1f"
_ESCAPE = "\x1e"
_ESCAPED = re.compile(f"{_ESCAPE}([01])")
_MEANT = {"0": _ESCAPE, "1": _JOIN}

_UNSET = -1


class ScriptMissing(RanchError):
    """The server does not know the script (it restarted); load it and repeat."""

    def __init__(self, verb: str) -> None:
        super().__init__(verb)
        self.verb = verb

    def __str__(self) -> str:
        return f"the store has no script {self.verb!r} loaded"


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One command, and what its reply means; whoever sends it may do so anyhow."""

    verb: str
    args: tuple[Argument, ...]
    """The whole command, for redis-py's packer."""
    read: Callable[[Any], T]
    """What a reply that is no error means."""

    def parse(self, reply: Any) -> T:
        """Return what a raw RESP2 reply means; an exception counts as a reply.

        Raises:
            ScriptMissing: The script must be loaded first.
            StoreError, StoreUnavailableError: The reply is another error.
        """
        if isinstance(reply, NoScriptError):
            raise ScriptMissing(self.verb) from reply
        if isinstance(reply, Exception):
            raise store_error(reply) from reply
        return self.read(reply)


def key_text(key: KeyPath) -> str:
    r"""Return a key as the store writes it: its parts, joined by what no part has.

    Raises:
        InvalidKeyError: It is no key.

    Example:
        >>> key_text(("acme",)), key_text(("acme", "al\x1fice"))
        ('acme', 'acme\x1fal\x1e1ice')
    """
    parts = key_path(key)
    if not any(_JOIN in part or _ESCAPE in part for part in parts):
        return _JOIN.join(parts)
    escaped = (part.replace(_ESCAPE, f"{_ESCAPE}0").replace(_JOIN, f"{_ESCAPE}1") for part in parts)
    return _JOIN.join(escaped)


def _key(written: str) -> KeyPath:
    """Return the key that was written so."""
    parts = tuple(written.split(_JOIN))
    if _ESCAPE not in written:
        return parts
    return tuple(_ESCAPED.sub(lambda found: _MEANT[found[1]], part) for part in parts)


def key_in(name: bytes) -> KeyPath:
    """Return the key that a node's name stands for."""
    return _key(_shown(name))


def target_text(target: ShareTarget) -> str:
    """Return whatever a share or limits are set of as the store writes it."""
    if isinstance(target, tuple):
        return "k" + key_text(target)
    if isinstance(target, Weighed):
        return "w" + key_text(target.path)
    return f"t{target.name}" if isinstance(target, Tag) else f"d{target.parts}"


def limit_arguments(limits: Limits) -> dict[str, Argument]:
    """Return the arguments that set limits; -1 says that one is not set."""
    rate = limits.rate
    return {
        "concurrency": _UNSET if limits.concurrency is None else limits.concurrency,
        "interval": _UNSET if rate is None else min(rate.interval_us, _LATEST_US),
        "burst": _UNSET if rate is None else rate.burst,
        "backlog": _UNSET if limits.backlog is None else limits.backlog,
    }


def entry_arguments(place: int, entry: Entry) -> tuple[Argument, ...]:
    """Return the four arguments that store an entry."""
    key = key_text(entry.key).encode()
    number = 32 * place + 16 * entry.is_exempt + entry.level
    due = _moment(entry.due_at_us, entry.due_in_us)
    expires = _moment(entry.expires_at_us, entry.expires_in_us)
    cost = b"-" if entry.cost == CHARGE_UNIT else b"m" if entry.cost is None else b"%d" % entry.cost
    return (
        number if due == "-" == expires else f"{number} {due} {expires}",
        entry.entry_id,
        key,
        b"%d %b %d %b%b" % (entry.level, cost, len(key), key, entry.message),
    )


def _moment(at_us: int | None, in_us: int | None) -> str:
    if at_us is not None:
        return f"@{max(-_LATEST_US, min(at_us, _LATEST_US))}"
    if in_us is not None:
        return f"+{max(-_LATEST_US, min(in_us, _LATEST_US))}"
    return "-"


def outcome_arguments(place: int, outcome: Outcome) -> tuple[Argument, ...]:
    """Return the seven arguments that report a lease."""
    return (
        place,
        outcome.kind.value,
        outcome.entry_id,
        outcome.number,
        min(outcome.due_in_us, _LATEST_US),
        "-" if outcome.run_us is None else max(0, min(outcome.run_us, _LATEST_US)),
        outcome.reason,
    )


def read_word(reply: Any) -> str:
    """Return the word a reply begins with."""
    return str(reply[0], "ascii")


def read_enqueued(reply: Any, count: int) -> Enqueued:
    if reply == b"stored":
        return Enqueued(count)
    if reply[0] == b"taken":
        return Enqueued(stored=0, taken=_texts(reply[1:]))
    if reply[0] == b"repeated":
        return Enqueued(stored=0, is_repeated=True)
    return Enqueued(stored=0, full=_key(str(reply[1], "utf-8")), limit=reply[2])


def read_leased(reply: Any, queues: Sequence[str]) -> Leased:
    leases, now_us = [], reply[3]
    for at in range(4, len(reply), 4):
        place, entry_id, number, value = reply[at : at + 4]
        deliveries, standing, level, key, message, cost, since_us = split_entry(value)
        # By name it would take half as long again, and there is one for every task.
        leases.append(
            Lease(
                read_id(entry_id),
                key,
                queues[place - 1],
                abs(number),
                deliveries,
                message,
                number < 0,
                standing == _SUSPECT,
                level,
                cost,
                max(0, now_us - since_us),
            )
        )
    return Leased(tuple(leases), bool(reply[1]), None if reply[2] < 0 else reply[2])


def split_entry(value: bytes | None) -> tuple[int, bytes, int, KeyPath, bytes, int | None, int]:
    """Return an entry's deliveries, place, level, key, message, cost, and since when it waits.

    One that cannot be read is taken for a message that nobody can read
    either, of a key that is empty: so it is seen, and stands in nobody's way.
    """
    try:
        deliveries, _, place, since, level, cost, size, rest = (value or b"").split(b" ", 7)
        end = int(size)
        key = str(rest[:end], "utf-8")
        # Most have one part, with nothing in it that stands for something.
        path = _key(key) if _JOIN in key or _ESCAPE in key else (key,)
        millionths = CHARGE_UNIT if cost == b"-" else None if cost == b"m" else int(cost)
        return int(deliveries), place, int(level), path, rest[end:], millionths, int(since)
    except ValueError:
        return 0, b"-", DEFAULT_LEVEL, ("",), b"", CHARGE_UNIT, _LATEST_US


def read_id(written: bytes) -> str:
    """Return an entry's id, whatever bytes it is of."""
    return str(written, "utf-8", "surrogateescape")


def read_key(written: bytes) -> KeyPath:
    """Return the key that was written so."""
    return _key(_shown(written))


def _shown(written: bytes) -> str:
    """Return what was stored for people to read, whatever it has become."""
    return str(written, "utf-8", "backslashreplace")


def read_stale(reply: Any, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    return tuple(outcomes[place - 1] for place in reply[1:])


def read_held(reply: Any) -> frozenset[tuple[str, str, int]]:
    rows = (reply[at : at + 3] for at in range(1, len(reply), 3))
    return frozenset(
        (str(queue, "utf-8"), read_id(entry_id), int(number)) for queue, entry_id, number in rows
    )


def read_reaped(reply: Any) -> Reaped:
    released, requeued, freed, dead, more = reply[1:6]
    abandoned = tuple(
        Withdrawal(str(reply[at], "utf-8"), int(reply[at + 1])) for at in range(6, len(reply), 2)
    )
    return Reaped(released, requeued, freed, dead, bool(more), abandoned)


def read_cancelled(reply: Any) -> bytes | None:
    return split_entry(reply[1])[4] if reply[0] == b"cancelled" else None


def tagged_range(tag: str) -> tuple[bytes, bytes]:
    """Return the first and the last of a tag's nodes there may be, for ZRANGE BYLEX."""
    start = tag.encode()
    if not tag.endswith("="):
        start += _JOIN.encode()
    return b"[" + start, b"(" + start[:-1] + bytes([start[-1] + 1])


def read_tagged(member: bytes) -> KeyPath:
    return _key(_shown(member).partition(_JOIN)[2])


def read_dead_letters(reply: Any, queue: str) -> tuple[DeadLetter, ...]:
    letters = []
    for at in range(1, len(reply), 3):
        entry_id, value, why = reply[at : at + 3]
        deliveries, _, _, key, message, _, _ = split_entry(value)
        died_at_us, reason = read_why(why)
        letters.append(
            DeadLetter(
                entry_id=read_id(entry_id),
                key=key,
                queue=queue,
                message=message,
                deliveries=deliveries,
                reason=reason,
                died_at_us=died_at_us,
            )
        )
    return tuple(letters)


def read_why(why: bytes | None) -> tuple[int, str]:
    """Return when an entry died and why, 0 and nothing where nobody said."""
    died_at_us, _, reason = (why or b"").partition(b" ")
    return int(died_at_us) if died_at_us.isdigit() else 0, _shown(reason)


def read_snapshot(reply: Any, queue: str) -> QueueSnapshot:
    waiting, delayed, leased, dead, workers, next_due = reply[1:]
    return QueueSnapshot(
        queue=queue,
        waiting=waiting,
        delayed=delayed,
        leased=leased,
        dead=dead,
        workers=workers,
        next_due_in_us=None if next_due < 0 else next_due,
    )


def read_keys(reply: Any) -> tuple[int, tuple[KeySnapshot, ...]]:
    keys = (_read_key(reply[at : at + 8]) for at in range(2, len(reply), 8))
    return int(reply[1]), tuple(keys)


def read_details(reply: Any) -> KeyDetails:
    data = [_shown(text) for text in reply[10]]
    return KeyDetails(
        snapshot=_read_key(reply[1:9]),
        share_by_hand=float(reply[9]),
        data=dict(zip(data[::2], data[1::2], strict=True)),
    )


def _read_key(shown: Any) -> KeySnapshot:
    key, waiting, delayed, share, is_paused, leased_at, in_service, tags = shown
    return KeySnapshot(
        key=read_key(key),
        waiting=waiting,
        delayed=delayed,
        share=float(share),
        is_paused=bool(is_paused),
        last_leased_at_us=leased_at or None,
        in_service=in_service,
        tags=tuple(sorted(map(_shown, tags))),
    )


def read_pending(reply: Any) -> tuple[tuple[str, bytes], ...]:
    pairs = ((reply[at], reply[at + 1]) for at in range(1, len(reply), 2))
    return tuple((read_id(entry_id), split_entry(value)[4]) for entry_id, value in pairs)


def _texts(items: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(str(item, "utf-8") for item in items)

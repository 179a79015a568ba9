"""The walk through a queue in Redis that finds what is wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from celery_ranch.scheduling.invariant import Violation, ViolationKind
from celery_ranch.scheduling.model import LEVELS

__all__ = ["VERBS", "violations"]

#: The scripts of the walk, each one instant.
VERBS = ("check_counts", "check_entries", "check_keys", "check_races", "check_places")

#: Up to how many nodes are looked at in one instant to add up what waits.
_MOST_KEYS = 1_000

#: How a script names a key or a race that it left for a walk of its own.
_LONG = "long"

_PLACES = ("timers", "dead", "reasons", "tags", "tagged", "data")

#: What joins the parts of a key in the store (wire.py).
_JOIN = "\x1f"


#: Kind, name and detail of a thing found wrong.
_Found: TypeAlias = "tuple[str, bytes, str]"


def violations(ask: Callable[..., Any], queue: str, count: int) -> Iterator[Violation]:
    """Yield what is wrong in a queue, found in slices of about `count`.

    Args:
        ask: Runs the named script with the arguments given by name.
        queue: The queue's name, for what is said.
        count: How much one script looks at.
    """
    _, found = _read(ask("check_counts", limit=_MOST_KEYS))
    yield from _violations(queue, found)
    for found in _slices(ask, "check_entries", limit=count):
        yield from _violations(queue, found)
    for found in _slices(ask, "check_keys", limit=count):
        yield from _violations(queue, found)
        for _, key, _ in _long(found):
            places = [("delayed", 0), *(("ready", level) for level in LEVELS)]
            for place, level in places:
                yield from _in_place(ask, queue, count, place, key, level)
    for found in _slices(ask, "check_races", limit=count):
        yield from _violations(queue, found)
        for _, parent, at_level in _long(found):
            for place in ("index", "old_index"):
                yield from _in_place(ask, queue, count, place, parent, int(at_level))
    for place in _PLACES:
        yield from _in_place(ask, queue, count, place)
    for found in _slices(ask, "check_places", place="withdrawals", key=b"", level=0, limit=count):
        for _, number, _ in _long(found):
            yield from _in_place(ask, queue, count, "aside", number)


def _in_place(
    ask: Callable[..., Any], queue: str, count: int, place: str, key: bytes = b"", level: int = 0
) -> Iterator[Violation]:
    for found in _slices(ask, "check_places", place=place, key=key, level=level, limit=count):
        yield from _violations(queue, found)


def _long(found: list[_Found]) -> list[_Found]:
    return [wrong for wrong in found if wrong[0] == _LONG]


def _slices(ask: Callable[..., Any], verb: str, **named: Any) -> Iterator[list[Any]]:
    cursor = "0"
    while True:
        cursor, found = _read(ask(verb, cursor=cursor, **named))
        yield found
        if cursor == "0":
            return


def _read(reply: list[bytes]) -> tuple[str, list[_Found]]:
    """Return the cursor and, of each thing found, its kind, name and detail."""
    found = [
        (str(reply[at], "ascii"), reply[at + 1], str(reply[at + 2], "utf-8", "replace"))
        for at in range(2, len(reply), 3)
    ]
    return str(reply[1], "ascii"), found


def _violations(queue: str, found: list[_Found]) -> Iterator[Violation]:
    for kind, name, detail in found:
        if kind != _LONG:
            yield Violation(
                queue, ViolationKind(kind), _shown(str(name, "utf-8", "replace")), _shown(detail)
            )


def _shown(text: str) -> str:
    return text.replace(_JOIN, "/")

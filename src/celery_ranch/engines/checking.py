"""The walk through a queue in Redis that finds what is wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from celery_ranch.scheduling.invariant import Violation, ViolationKind

__all__ = ["VERBS", "violations"]

#: The scripts of the walk, each one instant.
VERBS = ("check_counts", "check_entries", "check_keys", "check_places")

#: Up to how many keys are looked at in one instant to add up what waits.
_MOST_KEYS = 1_000

#: How a script names a key whose backlog it left for a walk of its own.
_LONG = "long"

_PLACES = ("index", "old_index", "timers", "dead", "reasons")


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
        yield from _violations(queue, [wrong for wrong in found if wrong[0] != _LONG])
        for key in [name for kind, name, _ in found if kind == _LONG]:
            for place in ("ready", "delayed"):
                for slice_of_key in _slices(ask, "check_places", place=place, key=key, limit=count):
                    yield from _violations(queue, slice_of_key)
    for place in _PLACES:
        for found in _slices(ask, "check_places", place=place, key="", limit=count):
            yield from _violations(queue, found)


def _slices(ask: Callable[..., Any], verb: str, **named: Any) -> Iterator[list[Any]]:
    cursor = "0"
    while True:
        cursor, found = _read(ask(verb, cursor=cursor, **named))
        yield found
        if cursor == "0":
            return


def _read(reply: list[bytes]) -> tuple[str, list[tuple[str, bytes, str]]]:
    """Return the cursor and, of each thing found, its kind, name and detail."""
    found = [
        (str(reply[at], "ascii"), reply[at + 1], str(reply[at + 2], "utf-8", "replace"))
        for at in range(2, len(reply), 3)
    ]
    return str(reply[1], "ascii"), found


def _violations(queue: str, found: list[tuple[str, bytes, str]]) -> Iterator[Violation]:
    for kind, name, detail in found:
        yield Violation(queue, ViolationKind(kind), str(name, "utf-8", "replace"), detail)

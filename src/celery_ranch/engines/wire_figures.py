"""What workers count, and what is shown to watchers, as script arguments and replies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from celery_ranch.engines.scripts import Argument
from celery_ranch.engines.wire import key_in, key_text
from celery_ranch.scheduling.figures import (
    LevelFigures,
    NodeFigures,
    StandFigures,
    Survey,
    WorkerFigures,
)
from celery_ranch.scheduling.limits import NO_LIMITS, Limits, Rate
from celery_ranch.scheduling.model import KeyPath
from celery_ranch.scheduling.nodes import Block
from celery_ranch.scheduling.service import Service, Tally, WorkerFacts

__all__ = ["facts_text", "tally_arguments"]

#: What the letters in a field of counts stand for (report.lua).
_SUMS = {"f": "finished", "e": "failed", "c": "cost", "W": "wait_us", "R": "run_us"}
_BINS = {"w": "waits", "r": "runs"}
_FIELD = re.compile(rb"(\d+)([fecWRwr])(\d*)(/(.*))?", re.DOTALL)


def facts_text(facts: WorkerFacts) -> str:
    """Return what a worker says of itself as it is stored."""
    return json.dumps(asdict(facts))


def tally_arguments(place: int, tallies: Iterable[Tally]) -> Iterator[Argument]:
    """Yield three arguments for each count of a queue's tallies."""
    for tally in tallies:
        key = "" if tally.key is None else "/" + (key_text(tally.key) if tally.key else "")
        for letter, name in _SUMS.items():
            if amount := getattr(tally, name):
                yield from (place, f"{tally.level}{letter}{key}", amount)
        for letter, name in _BINS.items():
            for at, amount in getattr(tally, name).items():
                yield from (place, f"{tally.level}{letter}{at}{key}", amount)


def read_service(reply: Any) -> Service:
    fields: Mapping[bytes, bytes] = reply
    if not isinstance(reply, dict):
        fields = dict(zip(reply[::2], reply[1::2], strict=True))
    tallies: dict[tuple[int, KeyPath | None], Tally] = {}
    for field, amount in fields.items():
        if found := _FIELD.fullmatch(field):
            level, letter, at = int(found[1]), found[2].decode(), found[3]
            key = None if found[4] is None else key_in(found[5]) if found[5] else ()
            tally = tallies.setdefault((level, key), Tally(level, key))
            if letter in _SUMS:
                setattr(tally, _SUMS[letter], int(amount))
            elif at:
                getattr(tally, _BINS[letter])[int(at)] = int(amount)
    stored, at_us = (fields.get(name) for name in (b"s", b"t"))
    return Service(
        None if stored is None else int(stored),
        None if at_us is None else int(at_us),
        tuple(tallies.values()),
    )


def read_survey(reply: Any) -> Survey:
    now_us, stored, known, cursor, levels, keys, sampled = reply[1:]
    return Survey(
        now_us=now_us,
        stored=stored,
        known=known,
        levels=tuple(LevelFigures(*levels[at : at + 4]) for at in range(0, len(levels), 4)),
        keys=tuple(map(key_in, keys)),
        sampled=tuple(map(key_in, sampled)),
        cursor=int(cursor),
    )


def read_measured(reply: Any) -> tuple[NodeFigures, ...]:
    return tuple(_node(*reply[at : at + 10]) for at in range(1, len(reply), 10))


def _node(
    name: bytes,
    share: bytes,
    blocks: int,
    leased_at: int,
    in_service: int,
    delayed: int,
    children: int,
    since: int,
    stands: list[int],
    limits: list[int],
) -> NodeFigures:
    places = (stands[at : at + 5] for at in range(0, len(stands), 5))
    return NodeFigures(
        key=key_in(name),
        share=float(share),
        blocks=Block(blocks),
        in_service=in_service,
        delayed=delayed,
        children=children,
        last_leased_at_us=leased_at or None,
        waiting_since_us=None if since < 0 else since,
        stands=tuple(
            StandFigures(level, waiting, lead, bool(is_racing), below)
            for level, waiting, lead, is_racing, below in sorted(places)
        ),
        limits=_limits(*limits[:4]) if limits else NO_LIMITS,
        arrival_us=limits[4] if limits else 0,
    )


def _limits(concurrency: int, interval: int, burst: int, backlog: int) -> Limits:
    return Limits(
        concurrency=None if concurrency < 0 else concurrency,
        rate=None if interval < 0 else Rate(interval, burst),
        backlog=None if backlog < 0 else backlog,
    )


def read_workers(reply: Any) -> tuple[tuple[WorkerFigures, ...], int]:
    workers = []
    for at in range(2, len(reply), 5):
        name, until, held, reported, facts = reply[at : at + 5]
        workers.append(
            WorkerFigures(
                worker=str(name, "utf-8", "surrogateescape"),
                until_us=None if until < 0 else until,
                held=held,
                reported_at_us=None if reported < 0 else reported,
                facts=_facts(facts),
            )
        )
    return tuple(workers), reply[1]


def _facts(written: bytes) -> WorkerFacts | None:
    """Return what a worker said, None if that is gone or of another version."""
    try:
        facts = json.loads(written)
        return WorkerFacts(**{**facts, "queues": tuple(facts["queues"])})
    except (ValueError, TypeError, KeyError):
        return None

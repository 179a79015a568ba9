"""The page about Redis keys lists every key that the store ever has, of its type, and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import redis

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import EngineSettings, Entry, Outcome, OutcomeKind, Publish
from celery_ranch.scheduling.service import ServiceReport, Tally, WorkerFacts
from celery_ranch.scheduling.withdrawals import Move

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis-keys.md"
ROW = re.compile(r"^\| `celery_ranch:([^`]+)` \| (\w+) \|", re.MULTILINE)

#: What stands on the page for a name that is not always the same.
ANY = dict.fromkeys(("KEY", "WORKER", "NAME", "RACE", "TOKEN"), ".+")
ANY |= dict.fromkeys(("LEVEL", "SECONDS", "START", "NUMBER"), r"\d+")

A, B = ("a", "x"), ("b",)


def listed() -> dict[str, str]:
    """Return the types on the page, by an expression that the names of such keys match."""
    kinds = {}
    for name, kind in ROW.findall(PAGE.read_text(encoding="utf-8")):
        parts = [
            ANY.get(part, re.escape(part)) for part in name.replace("{QUEUE}", "{q}").split(":")
        ]
        kinds[":".join(parts)] = kind
    return kinds


def everything_that_is_stored(engine: RedisEngine, client: redis.Redis, prefix: str) -> set[str]:
    """Do everything once that leaves a key of its own; return name and type of all that were."""
    seen: set[str] = set()

    def look() -> None:
        for name in client.scan_iter(f"{prefix}*"):
            seen.add(f"{client.type(name).decode()} {name.decode()[len(prefix) :]}")

    entries = [Entry(f"{key[0]}{n}", key, "q", b"message") for key in (A, B) for n in range(3)]
    entries += [Entry("later", B, "q", b"message", due_in_us=60_000_000)]
    engine.enqueue(entries, publish=Publish("publisher", 1))
    look()
    engine.set_limits("q", B, limits_of(concurrency=1, rate="1/d", burst=None, backlog=None))
    engine.add_tag("q", B, "plan=pro")
    engine.set_data("q", B, "name", '"value"')
    leases = engine.lease("worker", ["q"], 2).leases
    look()
    first = leases[0]
    engine.settle("worker", [Outcome(OutcomeKind.DEAD, "q", first.entry_id, first.number)])
    engine.reap(10)
    facts = WorkerFacts(("q",), "host", 1, "1.0", 4, 0, 0, 0, None)
    engine.report("worker", ServiceReport(facts, {"q": (Tally(5, finished=1),)}))
    look()
    begun = engine.withdraw("q", A, "helper", move=Move("r"))
    assert begun is not None
    look()
    engine.carry_out(begun, "helper", 100)
    reply = engine.carry_out(begun, "helper", 1)
    engine.arrive("q", reply.token, [replace(reply.entries[0], entry_id="back")])
    look()
    return seen


def test_every_key_is_on_the_page_with_its_type_and_no_other_is(
    redis_url: str, redis_prefix: str
) -> None:
    engine = RedisEngine(redis_url, redis_prefix, EngineSettings())
    with redis.Redis.from_url(redis_url) as client:
        stored = everything_that_is_stored(engine, client, redis_prefix)
    engine.close()

    rows = [re.compile(f"{kind} {name}") for name, kind in listed().items()]
    unknown = {each for each in stored if not any(row.fullmatch(each) for row in rows)}
    never = {row.pattern for row in rows if not any(map(row.fullmatch, stored))}
    assert (unknown, never) == (set(), set())

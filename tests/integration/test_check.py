"""What `check` finds in a real Redis: each thing that somebody broke, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import redis
from celery import Celery

from celery_ranch import Ranch, StoreError, configure
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import EngineSettings, Lease, OutcomeKind
from tests.conformance.histories import QUEUE, entries, entry, outcome
from tests.redis_invariants import COUNTERS, LEVEL, TREE, Race, check_queue

HOUR_US = 3_600_000_000
ALL_COUNTERS = (*COUNTERS, "level", *Race._fields, "credit")


@pytest.fixture
def engine(redis_url: str, redis_prefix: str) -> Iterator[RedisEngine]:
    engine = RedisEngine(redis_url, redis_prefix, EngineSettings(lease_us=HOUR_US))
    yield engine
    engine.close()


class Store:
    """A queue with an entry in every place, and the means to break it."""

    def __init__(self, client: Any, engine: RedisEngine) -> None:
        self.client = client
        self.engine = engine
        self.queues = f"{engine.prefix}queues"
        self.leases = self._fill()

    def _fill(self) -> dict[str, Lease]:
        engine = self.engine
        engine.enqueue([entry(one, "work") for one in ("leased", "started", "done", "over", "d")])
        leases = {one.entry_id: one for one in engine.lease("w", [QUEUE], 5).leases}
        reports = {
            "started": OutcomeKind.STARTED,
            "done": OutcomeKind.ACKNOWLEDGED,
            "over": OutcomeKind.FINISHED,
            "d": OutcomeKind.DEAD,
        }
        stale = engine.settle("w", [outcome(leases[one], kind) for one, kind in reports.items()])
        assert stale == ()
        engine.enqueue([*entries("acme", 40), *entries("bolt", 2, due_in_us=HOUR_US)])
        engine.enqueue([entry("c", "cold"), entry("bolt-late", "bolt", due_in_us=2 * HOUR_US)])
        engine.pause(QUEUE, ("cold",))
        return leases

    def name(self, kind: str) -> str:
        return f"{self.engine.prefix}{{{QUEUE}}}:{kind}"

    @property
    def index(self) -> str:
        return self.name(f"index:5:{int(self.counters['epoch'])}")

    @property
    def counters(self) -> dict[str, float]:
        """The queue's, and those of the race between the keys that were stored."""
        packed = self.client.get(self.name("tree"))
        facts = (*TREE.unpack_from(packed), *LEVEL.unpack_from(packed, TREE.size))
        return dict(zip(ALL_COUNTERS, facts, strict=True))

    def count(self, counter: str, by: int) -> None:
        counters = self.counters
        counters[counter] += by
        facts = [int(count) for count in counters.values()]
        at = len(COUNTERS)
        packed = TREE.pack(*facts[:at]) + LEVEL.pack(*facts[at:])
        self.client.set(self.name("tree"), packed)

    def delayed_member(self, entry_id: str) -> bytes:
        members = self.client.zrange(self.name("delayed:bolt"), 0, -1)
        (member,) = [one for one in members if one[18:] == entry_id.encode()]
        return bytes(member)

    def move(self, entry_id: str, member: bytes) -> None:
        """Let a delayed entry stand there under another member than its record says."""
        old = self.delayed_member(entry_id)
        delayed = self.name("delayed:bolt")
        due = self.client.zscore(delayed, old)
        self.client.zrem(delayed, old)
        self.client.zadd(delayed, {member: due})

    def found(self) -> set[tuple[str, str]]:
        return {(one.kind.value, one.name) for one in self.engine.check(QUEUE, 5)}


@pytest.fixture
def store(engine: RedisEngine, redis_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(redis_url) as client:
        yield Store(client, engine)


class Break(NamedTuple):
    by: Callable[[Store], object]
    found: set[tuple[str, str]]


def counted(*names: str) -> set[tuple[str, str]]:
    return {("wrong count", name) for name in names}


BREAKS = {
    "a waiting entry lost its place": Break(
        lambda s: s.client.zrem(s.name("ready:5:acme"), "acme-1"),
        {("nowhere", "acme-1"), *counted("waiting")},
    ),
    "a delayed entry lost its place": Break(
        lambda s: s.client.zrem(s.name("delayed:bolt"), s.delayed_member("bolt-1")),
        {("nowhere", "bolt-1"), *counted("delayed")},
    ),
    "a lease was lost": Break(
        lambda s: s.client.hdel(s.name("held:w"), s.leases["leased"].number),
        {("nowhere", "leased"), *counted("leased", "entries")},
    ),
    "a worker was forgotten with its leases": Break(
        lambda s: s.client.zrem(s.name("workers"), "w"),
        {("nowhere", one) for one in ("leased", "started", "over")} | counted("leased", "entries"),
    ),
    "a dead letter lost its place": Break(
        lambda s: s.client.zrem(s.name("dead"), "d"),
        {("nowhere", "d"), ("stray reason", "d"), *counted("entries", "reasons")},
    ),
    "the record of a waiting entry is gone": Break(
        lambda s: s.client.hdel(s.name("entries"), "acme-39"),
        {("no entry", "acme-39"), *counted("entries")},
    ),
    "the record of a delayed entry is gone": Break(
        lambda s: s.client.hdel(s.name("entries"), "bolt-0"),
        {("no entry", "bolt-0"), *counted("entries")},
    ),
    "the record of a leased entry is gone": Break(
        lambda s: s.client.hdel(s.name("entries"), "started"),
        {("no entry", "started"), *counted("entries")},
    ),
    "the record of a dead letter is gone": Break(
        lambda s: s.client.hdel(s.name("entries"), "d"),
        {("no entry", "d"), *counted("entries")},
    ),
    "the record of an entry is not ours": Break(
        lambda s: s.client.hset(s.name("entries"), "acme-2", "garbage"),
        {("unreadable", "acme-2")},
    ),
    "the record of a key is not ours": Break(
        lambda s: s.client.hset(s.name("nodes"), "acme", "garbage"),
        {("unreadable", "acme")},
    ),
    "a delayed entry waits as well": Break(
        lambda s: s.client.zadd(s.name("ready:5:bolt"), {"bolt-0": 99}),
        {("several places", "bolt-0"), ("not in index", "bolt"), *counted("waiting")},
    ),
    "a leased entry is dead as well": Break(
        lambda s: (
            s.client.zadd(s.name("dead"), {"leased": 99}),
            s.client.hset(s.name("reasons"), "leased", "1 why not"),
        ),
        {("several places", "leased"), *counted("entries")},
    ),
    "an entry is leased to two workers": Break(
        lambda s: (
            s.client.zadd(s.name("workers"), {"v": 10**16}),
            s.client.hset(
                s.name("held:v"),
                "77",
                s.client.hget(s.name("held:w"), s.leases["leased"].number),
            ),
        ),
        {("several places", "leased"), *counted("leased", "entries")},
    ),
    "an entry waits among those of another key": Break(
        lambda s: s.client.zadd(s.name("ready:5:acme"), {"c": 99}),
        {("wrong place", "c"), *counted("waiting")},
    ),
    "a delayed entry stands under another number": Break(
        lambda s: s.move("bolt-late", b"%016dn5bolt-late" % 7_000),
        {("wrong place", "bolt-late"), ("nowhere", "bolt-late")},
    ),
    "the record of a key is gone": Break(
        lambda s: s.client.hdel(s.name("nodes"), "acme"),
        {("unknown key", "acme"), ("stray index", "acme"), *counted("waiting")},
    ),
    "a key lost its turn": Break(
        lambda s: s.client.delete(s.index),
        {("not in index", "acme")},
    ),
    "a key's turn is another than its record says": Break(
        lambda s: s.client.zincrby(s.index, 1, s.client.zrange(s.index, 0, 0)[0]),
        {("not in index", "acme")},
    ),
    "a key has a turn and nothing to be served": Break(
        lambda s: s.client.zadd(s.index, {b"1%016dwork" % 5: 0}),
        {("stray index", "work")},
    ),
    "a paused key has a turn": Break(
        lambda s: s.client.zadd(s.index, {b"0%016dcold" % 3: 0}),
        {("stray index", "cold")},
    ),
    "a timer is gone": Break(
        lambda s: s.client.delete(s.name("timers")),
        {("no timer", "bolt")},
    ),
    "a timer rings at another time": Break(
        lambda s: s.client.zincrby(s.name("timers"), 9, s.client.zrange(s.name("timers"), 0, 0)[0]),
        {("no timer", "bolt"), ("stray timer", "bolt")},
    ),
    "a timer rings for nothing": Break(
        lambda s: s.client.zadd(s.name("timers"), {b"%016dacme" % 1: 5}),
        {("stray timer", "acme")},
    ),
    "a dead letter lost its reason": Break(
        lambda s: s.client.hdel(s.name("reasons"), "d"),
        {("no reason", "d"), *counted("reasons")},
    ),
    "there is a reason and nobody is dead": Break(
        lambda s: s.client.hset(s.name("reasons"), "acme-1", "1 why not"),
        {("stray reason", "acme-1"), *counted("reasons")},
    ),
    "too few are counted as waiting": Break(
        lambda s: s.count("waiting", -1), counted("waiting", "entries")
    ),
    "too many are counted as delayed": Break(
        lambda s: s.count("delayed", 1), counted("delayed", "entries")
    ),
    "too many slots are counted as taken": Break(
        lambda s: s.count("in_service", 1), counted("leased")
    ),
    "there are two wake-up tokens": Break(
        lambda s: s.client.rpush(s.name("wake"), "1", "1"), {("too many tokens", "")}
    ),
    "the queue is not listed": Break(
        lambda s: s.client.zrem(s.queues, QUEUE), {("unlisted queue", "")}
    ),
}


def test_a_store_with_an_entry_in_every_place_is_in_order(store: Store) -> None:
    counts = store.engine.snapshot(QUEUE)
    assert (counts.waiting, counts.delayed, counts.leased, counts.dead) == (41, 3, 3, 1)
    assert store.found() == set()
    check_queue(store.client, store.engine.prefix, QUEUE)


@pytest.mark.parametrize("name", BREAKS)
def test_it_is_found_and_named_that(name: str, store: Store) -> None:
    BREAKS[name].by(store)
    assert store.found() == BREAKS[name].found


def test_an_index_of_an_epoch_that_is_over_is_found(store: Store) -> None:
    left_behind = store.name(f"index:5:{int(store.counters['epoch']) - 1}")
    store.client.zadd(left_behind, {b"1%016dwork" % 5: 0})
    assert ("stray index", left_behind) in store.found()


def test_a_slice_longer_than_what_one_instant_may_hold_is_walked_to_its_end(store: Store) -> None:
    store.engine.enqueue(entries("long", 900))
    store.client.hdel(store.name("entries"), "long-899", "long-0", "long-450")
    lost = {name for kind, name in store.found() if kind == "no entry"}
    assert lost == {"long-0", "long-450", "long-899"}


def use(engine: Engine, worker: str, seed: int) -> None:
    """Do hundreds of things to a queue, as publishers, workers and a person would."""
    chance = random.Random(seed)
    known = list(OutcomeKind)
    for turn in range(600):
        key = f"key {chance.randrange(20)}"
        delay = chance.choice([None, None, 1, 50_000])
        engine.enqueue([entry(f"{worker}-{turn}-{n}", key, due_in_us=delay) for n in range(4)])
        leases = engine.lease(worker, [QUEUE], chance.randrange(8)).leases
        engine.settle(worker, [outcome(one, chance.choice(known)) for one in leases])
        engine.settle(worker, [outcome(one, OutcomeKind.COMPLETED) for one in leases[::2]])
        verb = chance.choice([engine.pause, engine.resume, engine.resume])
        verb(QUEUE, (key,))
        for entry_id, _ in engine.pending(QUEUE, (key,), limit=1):
            engine.cancel(QUEUE, entry_id)
        for letter in engine.dead_letters(QUEUE, limit=1):
            engine.retry_dead(QUEUE, letter.entry_id)
        engine.reap(50)


def test_a_store_in_use_gives_no_false_alarm(redis_url: str, redis_prefix: str) -> None:
    def open_one() -> RedisEngine:
        # Tags are shifted and letters dropped while it is looked at, too.
        settings = EngineSettings(dead_letter_limit=20, max_deliveries=2, idle_key_us=1)
        return RedisEngine(redis_url, redis_prefix, settings, tag_limit=2**30)

    engines = [open_one() for _ in range(4)]
    walks = 0
    with ThreadPoolExecutor(3) as pool:
        users = [pool.submit(use, engines[n], f"w{n}", n) for n in range(3)]
        while walks < 3 or not all(user.done() for user in users):
            assert [*engines[3].check(QUEUE, 10)] == []
            walks += 1
        for user in users:
            user.result()
    with redis.Redis.from_url(redis_url) as client:
        check_queue(client, redis_prefix, QUEUE)
    for engine in engines:
        engine.close()


@pytest.fixture
def ranch(redis_url: str, redis_prefix: str) -> Iterator[Ranch]:
    app = Celery("checked", broker=redis_url, set_as_current=False)
    app.conf.celery_ranch = {"redis_prefix": redis_prefix}
    configure(app)
    yield Ranch(app)
    Ranch(app).engine.close()
    app.close()


def test_an_application_checks_all_its_queues(ranch: Ranch, redis_url: str) -> None:
    ranch.engine.enqueue([entry("a", queue="first"), entry("b", queue="second")])
    assert ranch.check() == ()
    prefix = ranch.settings.redis_prefix
    with redis.Redis.from_url(redis_url) as client:
        client.delete(f"{prefix}{{first}}:wake", f"{prefix}{{second}}:ready:5:acme")
    found = ranch.check()
    assert {one.queue for one in found} == {"second"}
    assert ranch.check("first") == ()
    assert ranch.check("second", limit=1) == found[:1]
    assert "queue 'second': entry 'b' does not wait, is not leased and is not dead" in map(
        str, found
    )


def test_a_purge_takes_what_stands_in_a_line_whatever_its_record_says(
    ranch: Ranch, redis_url: str
) -> None:
    ranch.engine.enqueue([entry("a"), entry("b"), entry("c"), entry("d", "bolt")])
    with redis.Redis.from_url(redis_url) as client:
        ready = f"{ranch.settings.redis_prefix}{{{QUEUE}}}:ready:5"
        client.zrem(f"{ready}:acme", "c")
        client.zadd(f"{ready}:bolt", {"c": 1})  # its record says acme, who has it not
    assert ranch.purge(QUEUE) == 4
    assert ranch.engine.pending(QUEUE, ("bolt",)) == ()
    assert ranch.check(QUEUE) == ()


def test_what_is_not_a_store_at_all_is_an_error(ranch: Ranch, redis_url: str) -> None:
    ranch.engine.enqueue([entry("a")])
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{ranch.settings.redis_prefix}{{{QUEUE}}}:entries", "not a hash")
    with pytest.raises(StoreError):
        ranch.check()

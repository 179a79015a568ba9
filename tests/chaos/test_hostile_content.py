"""Stores, keys, ids and messages that nobody would write who meant well."""

from contextlib import suppress
from typing import NamedTuple

import pytest
from kombu.exceptions import OperationalError

from celery_ranch import StoreError
from celery_ranch.scheduling.model import Outcome, OutcomeKind
from tests.servers import eventually
from tests.workers import FairApp

# -- a store that somebody else wrote to ---------------------------------------


class Queue:
    """A queue with an entry in every place, and its Redis keys."""

    #: What waits, is delayed for a moment, and was held by a worker that is gone.
    ENTRIES = frozenset({"waits", "waits too", "comes due", "held", "ran"})

    def __init__(self, app, name):
        self.app = app
        self.name = f"{app.name}-{name}"
        engine = app.engine
        for value in ("held", "ran", "died"):
            self.send(value, key="gone")
        _, ran, died = engine.lease("gone", [self.name], 3).leases
        reports = [(OutcomeKind.STARTED, ran), (OutcomeKind.DEAD, died)]
        engine.settle(
            "gone",
            [Outcome(kind, self.name, of.entry_id, of.number, "why not") for kind, of in reports],
        )
        self.waiting = self.send("waits", key="acme").id
        self.send("waits too", key="bolt")
        self.send("comes due", key="cold", countdown=0.1)

    def send(self, value, key, **options):
        value = f"{self.name} {value}"
        return self.app.send("note", value, lru_key=key, queue=self.name, **options)

    def key(self, kind):
        return f"{self.app.name}:{{{self.name}}}:{kind}"

    @property
    def index(self):
        (index,) = self.app.records.keys(self.key("index:*"))
        return index

    @property
    def ran(self):
        """What ran of it, without the queue's name."""
        notes = self.app.recorded("noted")
        mine = f"{self.name} "
        return {note.removeprefix(mine) for note in notes if note.startswith(mine)}


class Damage(NamedTuple):
    """Something written to a queue's keys, and which entries cannot run after it."""

    by: object
    lost: frozenset = frozenset()
    #: Why what cannot run is a dead letter, if it is one.
    reason: str | None = None


def record_of(value):
    return lambda redis, queue: redis.hset(queue.key("entries"), queue.waiting, value)


def member_of(kind, member, score=0):
    return lambda redis, queue: redis.zadd(queue.key(kind), {member: score})


def overwritten(kind):
    return lambda redis, queue: redis.set(queue.key(kind), JUNK)


def overwritten_and_needed(kind):
    """Overwrite what the next dead letter goes to."""

    def damage(redis, queue):
        overwritten(kind)(redis, queue)
        record_of(JUNK)(redis, queue)

    return damage


WAITS = frozenset({"waits"})
ALL = Queue.ENTRIES
JUNK = b"\xff\x00 junk"

DAMAGES = {
    "garbage for an entry": Damage(record_of(JUNK), WAITS, "unreadable record"),
    "nothing for an entry": Damage(record_of(b""), WAITS, "unreadable record"),
    "an entry cut off": Damage(record_of(b"0 - - 0 5 - 4 ac"), WAITS, "unreadable record"),
    "an entry without message": Damage(
        record_of(b"0 - - 0 5 - 4 acme"), WAITS, "unreadable message"
    ),
    "an entry of half a message": Damage(
        record_of(b'0 - - 0 5 - 4 acme{"t": "hostile_app.note", "i"'), WAITS, "unreadable message"
    ),
    "an entry of an empty key": Damage(
        record_of(b'0 - - 0 5 - 0 {"t": 5}\n[]'), WAITS, "unreadable message"
    ),
    "garbage in a backlog": Damage(member_of("ready:5:acme", JUNK), reason="unreadable record"),
    "garbage among what is delayed": Damage(
        member_of("delayed:cold", JUNK), reason="unreadable record"
    ),
    "garbage for a timer": Damage(member_of("timers", JUNK)),
    "garbage in the index": Damage(lambda redis, queue: redis.zadd(queue.index, {JUNK: 0})),
    "garbage for a worker": Damage(member_of("workers", JUNK)),
    "garbage for a lease": Damage(
        lambda redis, queue: redis.hset(queue.key("held:gone"), "7", JUNK)
    ),
    "garbage for a dead letter": Damage(member_of("dead", JUNK, 99)),
    "garbage for a reason": Damage(
        lambda redis, queue: redis.hset(queue.key("reasons"), "gone", JUNK)
    ),
    "garbage for a key": Damage(lambda redis, queue: redis.hset(queue.key("nodes"), "acme", JUNK)),
    "garbage for the counters": Damage(overwritten("tree"), ALL),
    "garbage for tokens": Damage(lambda redis, queue: redis.rpush(queue.key("wake"), JUNK, JUNK)),
    "another type for a backlog": Damage(overwritten("ready:5:acme"), WAITS),
    "another type for what is delayed": Damage(
        overwritten("delayed:cold"), frozenset({"comes due"})
    ),
    "another type for a worker's leases": Damage(
        overwritten("held:gone"), frozenset({"held", "ran"})
    ),
    "another type for the dead letters": Damage(
        overwritten_and_needed("dead"), WAITS, "unreadable record"
    ),
    "another type for reasons": Damage(
        overwritten_and_needed("reasons"), WAITS, "unreadable record"
    ),
    "garbage among the withdrawals": Damage(member_of("withdrawals", JUNK)),
    "a withdrawal without a record": Damage(member_of("withdrawals", "7")),
    "a withdrawal of half a record": Damage(
        lambda redis, queue: (
            member_of("withdrawals", "8")(redis, queue),
            member_of("unswept", "8", 8)(redis, queue),
            redis.hset(queue.key("withdrawal:8"), "node", "acme"),
        )
    ),
    "another type for a withdrawal": Damage(
        lambda redis, queue: (
            member_of("withdrawals", "9")(redis, queue),
            overwritten("withdrawal:9")(redis, queue),
        )
    ),
    "another type for withdrawals": Damage(overwritten("withdrawals")),
    "another type for what is being withdrawn": Damage(overwritten("withdrawing")),
    "another type for tokens": Damage(overwritten("wake")),
}

#: What every verb needs of a queue: with one of another type it is left alone.
NEEDED = ("tree", "nodes", "entries", "timers", "workers", "index:")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, redis_url):
    """An application whose queues were damaged before its worker came."""
    app = FairApp(
        tmp_path_factory.mktemp("damaged"),
        redis_url,
        module="hostile_app",
        # So that what the worker that is gone held is soon taken back.
        ranch={"lease_seconds": 1.0},
    )
    app.queues = {name: Queue(app, name.replace(" ", "-")) for name in (*DAMAGES, *NEEDED)}
    with app.open_store() as redis:
        for name, damage in DAMAGES.items():
            damage.by(redis, app.queues[name])
        for name in NEEDED:
            (key,) = redis.keys(app.queues[name].key(f"{name}*"))
            redis.rename(key, saved(key))
            redis.rpush(key, JUNK)
        names = [queue.name for queue in app.queues.values()]
        with app.worker("-Q", ",".join([app.name, *names])) as app.only_worker:
            yield app
        redis.delete(*redis.keys(f"{app.name}:*"))
    app.close()


def saved(key):
    return b"saved " + key


def await_rounds(app, count=3):
    """Wait until the worker ran some tasks of a queue that is whole, one after the other."""
    for number in range(count):
        app.send("note", f"whole {number}", lru_key="others").get(timeout=30)


@pytest.mark.parametrize("name", DAMAGES)
def test_the_rest_of_a_damaged_queue_runs(damaged, name):
    queue, damage = damaged.queues[name], DAMAGES[name]
    expected = Queue.ENTRIES - damage.lost
    eventually(lambda: queue.ran >= expected, 30, f"{sorted(expected)} of {name} ran")
    await_rounds(damaged, 1)
    assert queue.ran == expected
    reasons = [letter.reason for letter in damaged.ranch.dead_letters(queue.name)]
    if damage.reason is not None:
        assert any(reason.startswith(damage.reason) for reason in reasons), reasons


@pytest.mark.parametrize("name", [*DAMAGES, *NEEDED])
def test_a_damaged_queue_can_be_looked_at_or_the_store_s_error_says_why_not(damaged, name):
    ranch, queue = damaged.ranch, damaged.queues[name].name
    looks = [
        lambda: list(ranch.keys(queue)),
        lambda: ranch.pending("acme", queue),
        lambda: ranch.dead_letters(queue),
        lambda: ranch.check(queue),
        lambda: damaged.engine.snapshot(queue),
    ]
    for look in looks:
        with suppress(StoreError):
            look()


@pytest.mark.parametrize("name", NEEDED)
def test_a_queue_without_what_every_verb_needs_takes_nothing_until_it_is_mended(damaged, name):
    queue = damaged.queues[name]
    await_rounds(damaged)
    assert queue.ran == set()
    with pytest.raises(OperationalError, match=f"{queue.name} is damaged"):
        queue.send("refused", key="acme")
    engine, acme = damaged.engine, (queue.name, ("acme",))
    for change in (
        lambda: engine.set_share(*acme, 2.0),
        lambda: engine.pause(*acme),
        lambda: engine.resume(*acme),
        lambda: engine.cancel(queue.name, queue.waiting),
        lambda: engine.retry_dead(queue.name, queue.waiting),
    ):
        with pytest.raises(StoreError, match=f"{queue.name} is damaged"):
            change()

    with damaged.open_store() as redis:
        (key,) = redis.keys(saved(queue.key(f"{name}*").encode()))
        redis.rename(key, key.removeprefix(saved(b"")))
    eventually(lambda: queue.ran >= Queue.ENTRIES, 30, f"everything ran when {name} was back")
    assert queue.ran == Queue.ENTRIES
    assert damaged.ranch.check(queue.name) == ()


def test_a_worker_of_damaged_queues_says_little_of_them(damaged):
    await_rounds(damaged, 5)
    lines = damaged.only_worker.log.splitlines()
    of_tasks = [line for line in lines if "hostile_app.note" in line]
    assert len(lines) - len(of_tasks) < 20 + 3 * len(damaged.queues)
    assert not [line for line in lines if "Traceback" in line]

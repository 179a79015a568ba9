"""Whatever is stored is read, or refused with the error that is documented for it."""

import random

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from celery_ranch.config import SerializerType
from celery_ranch.engines import wire
from celery_ranch.engines.connections import packed_command
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.envelope import Envelope, pack, request_facts, unpack
from celery_ranch.errors import StoreError
from celery_ranch.scheduling.model import EngineSettings, Entry, Lease, Outcome, OutcomeKind
from celery_ranch.scheduling.withdrawals import Move
from celery_ranch.worker.leases import Holding, LeaseBook
from celery_ranch.worker.messages import UnfitMessageError, build_message

BODY = '[[1, "two"], {"three": {}}, {"callbacks": null, "chord": null}]'
FIRST_PROTOCOL = '{"task": "add", "id": "1", "args": [], "kwargs": {}}'
HEADERS = {"task": "add", "id": "an-id", "lang": "py", "retries": 0, "lru_key": "acme"}

#: Messages as publishers write them, to be damaged.
WRITTEN = [
    pack(Envelope(body, kind, encoding, headers, properties), SerializerType.JSON)
    for body, kind, encoding, headers, properties in (
        (BODY, "application/json", "utf-8", HEADERS, {"correlation_id": "an-id"}),
        (BODY, "application/json", "utf-8", {**HEADERS, "compression": "x"}, {}),
        (b"\x80\x04N.", "application/x-python-serialize", "binary", HEADERS, {"priority": 3}),
        (
            '{"task": "add", "id": "1", "args": [], "kwargs": {}}',
            "application/json",
            "utf-8",
            {},
            {},
        ),
        (BODY, "application/json", "utf-8", {**HEADERS, "eta": "soon", "stamps": {"a": 1}}, {}),
    )
]

pytestmark = pytest.mark.timeout(1800)


@st.composite
def damaged(draw, written):
    """Bytes that were written, with some of them changed, left out, added or repeated."""
    data = bytearray(draw(st.sampled_from(written)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        data[at:end] = draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([b"null", b"{}", b"[]", b"-1", b'"', b"9" * 400, b"[" * 3000]),
                st.just(bytes(data[at:end]) * 2),
            )
        )
    return bytes(data)


def anything(written):
    return st.one_of(damaged(written), st.binary(max_size=200))


def try_each(chaos, strategy, attempt, short=300, long=10_000):
    """Call something with many examples, the same ones for the same seed."""

    @hypothesis.seed(chaos.chance.randrange(2**32))
    @hypothesis.settings(
        max_examples=chaos.scale(short, long),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def attempt_each(value):
        attempt(value)

    attempt_each()


def test_a_message_is_unpacked_or_refused_with_a_value_error(chaos):
    def attempt(data):
        try:
            envelope = unpack(data)
        except ValueError:
            return
        facts = request_facts(envelope, ["json"])
        assert "args" in facts

    try_each(chaos, anything(WRITTEN), attempt)


def test_a_leased_entry_becomes_a_message_or_is_unfit(chaos):
    book = LeaseBook(lambda: None)

    def attempt(data):
        lease = Lease("an-id", ("acme",), "celery", 1, 0, data)
        try:
            message = build_message(
                book,
                Holding(lease),
                accept=["application/json"],
                known_tasks={"add"},
                is_for_processes=True,
                accept_pickle=False,
            )
        except UnfitMessageError:
            return
        assert message.headers.get("task", "add") == "add"
        assert message.payload is not None

    try_each(chaos, anything(WRITTEN), attempt)


VALUES = [b"%d - - 0 5 - 4 acme%s" % (count, message) for count, message in enumerate(WRITTEN)]


def test_any_value_of_an_entry_can_be_leased_shown_and_buried(chaos):
    def attempt(value):
        reply = [b"leased", 0, -1, 1_000_000, 1, b"\xff id", -7, value]
        (lease,) = wire.read_leased(reply, ["celery"]).leases
        assert (lease.number, lease.is_expired) == (7, True)
        assert packed_command((lease.entry_id,)).endswith(b"\r\n\xff id\r\n")
        (letter,) = wire.read_dead_letters([b"dead", b"id", value, value], "celery")
        assert letter.entry_id == "id"
        ((entry_id, _),) = wire.read_pending([b"pending", b"id", value])
        assert entry_id == "id"

    try_each(chaos, anything(VALUES), attempt)


QUEUE = "fuzzed"
MESSAGE = WRITTEN[0]


@pytest.fixture
def engine(redis_url, redis_prefix):
    settings = EngineSettings(lease_us=1_000_000, max_deliveries=3)
    engine = RedisEngine(redis_url, redis_prefix, settings)
    yield engine
    engine.close()


def damage(client, prefix, chance):
    """Overwrite something in one structure of the queue; return what was done."""
    name = chance.choice(sorted(client.scan_iter(match=f"{prefix}{{{QUEUE}}}:*".encode())))
    junk = chance.choice([b"", b"\x00", b"junk", b"1 2 3 4 5 6", b"9" * 30, chance.randbytes(42)])
    kind = client.type(name)
    if kind == b"hash":
        field = chance.choice(sorted(client.hkeys(name)))
        client.hset(name, chance.choice([field, junk]), junk)
    elif kind == b"zset":
        members = sorted(client.zrange(name, 0, -1))
        client.zadd(name, {chance.choice([*members, junk]): chance.choice([-1, 0, 2**52, 7.5])})
    elif kind == b"string":
        client.set(name, junk)
    return name, junk


def test_no_damage_in_one_queue_keeps_another_one_from_being_served(chaos, engine, redis_server):
    """Every verb answers or refuses, and in the end the other queue's entries were all leased."""
    with redis_server.client() as client:
        for round_number in range(chaos.scale(25, 1_000)):
            _one_round(random.Random(chaos.chance.random()), engine, client, round_number)
            for name in client.scan_iter(match=f"{engine.prefix}*".encode(), count=1_000):
                client.delete(name)


def _one_round(chance, engine, client, number):
    now = 1_000_000_000
    for queue in (QUEUE, "other"):
        engine.enqueue(
            [
                Entry(
                    f"{queue}{n}", (f"key{n % 3}",), queue, b"{}\nbody", due_at_us=now + n % 2 * 10
                )
                for n in range(12)
            ],
            now_us=now,
        )
    first = engine.lease("w", [QUEUE], 4, now_us=now)
    engine.settle("w", [_outcome(lease, OutcomeKind.STARTED) for lease in first.leases[:2]])
    engine.settle("w", [_outcome(lease, OutcomeKind.DEAD) for lease in first.leases[2:3]])
    begun = [
        engine.withdraw(QUEUE, (key,), "h", move=move, now_us=now)
        for key, move in (("key0", None), ("key1", Move("other fuzzed")))
    ]
    engine.carry_out(begun[0], "h", 1, now_us=now)
    done = [damage(client, engine.prefix, chance) for _ in range(chance.randint(1, 3))]

    served = set()
    for step in range(12):
        now += 400_000
        for verb in (engine.heartbeat, engine.held):
            _answered(verb, "w")
        _answered(engine.reap, 100, now_us=now)
        leased = _answered(engine.lease, "w2", [QUEUE, "other"], 4, now_us=now)
        leases = leased.leases if leased is not None else ()
        served |= {lease.entry_id for lease in leases if lease.queue == "other"}
        _answered(engine.settle, "w2", [_outcome(lease, OutcomeKind.COMPLETED) for lease in leases])
        for withdrawal in begun:
            carried_out = _answered(engine.carry_out, withdrawal, "h", 2, now_us=now)
            if carried_out is not None and carried_out.move is not None:
                entries, token = carried_out.entries, carried_out.token
                _answered(engine.arrive, "other fuzzed", token, entries, now_us=now)
        if step == 0:
            _look(engine, now)
    expected = {f"other{n}" for n in range(12)}
    assert served == expected, f"round {number}: {done}; missing {sorted(expected - served)}"


def _look(engine, now):
    _answered(engine.snapshot, QUEUE, now_us=now)
    _answered(engine.keys, QUEUE)
    _answered(engine.pending, QUEUE, ("key0",))
    for letter in _answered(engine.dead_letters, QUEUE) or ():
        _answered(engine.retry_dead, QUEUE, letter.entry_id)
        _answered(engine.delete_dead, QUEUE, letter.entry_id)
    _answered(engine.cancel, QUEUE, f"{QUEUE}11")
    _answered(engine.move_entry, QUEUE, f"{QUEUE}10", "h", Move(QUEUE, ("key9",)), now_us=now)
    _answered(engine.move_entry, QUEUE, f"{QUEUE}8", "h", Move("other fuzzed"), now_us=now)
    _answered(engine.withdraw, QUEUE, ("key2",), "h", now_us=now)
    _answered(engine.sweep_dead, QUEUE, None, 100, is_retried=True, now_us=now)
    _answered(engine.pause, QUEUE, ("key1",))
    _answered(engine.set_share, QUEUE, ("key1",), 2.0)
    _answered(engine.resume, QUEUE, ("key1",))
    _answered(lambda: list(engine.check(QUEUE, 100)))


def _answered(verb, *args, **named):
    """Return what a verb says, None if it refuses; no other error is allowed."""
    try:
        return verb(*args, **named)
    except StoreError:
        return None


def _outcome(lease, kind):
    return Outcome(kind, lease.queue, lease.entry_id, lease.number)

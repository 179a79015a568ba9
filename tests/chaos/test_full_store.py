"""A Redis that is full: it takes nothing new, and everything it has is run."""

import pytest
from celery import group
from kombu.exceptions import OperationalError

from celery_ranch import StoreError, StoreUnavailableError
from tests.chaos.ledger import Ledger
from tests.servers import eventually
from tests.workers import FairApp

#: How many bytes the tasks' arguments add until the store is full.
LARGE = 20_000
ROOM_BYTES = 4_000_000

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def app(tmp_path, own_redis, redis_url):
    """The store alone may become full; broker, results and records are elsewhere."""
    app = FairApp(
        tmp_path,
        redis_url,
        module="chaos_app",
        ranch={"url": own_redis.url, "lease_seconds": 3},
    )
    app.client.conf.result_backend = "disabled://"
    yield app
    app.close()


@pytest.fixture
def ledger(app):
    return Ledger(app)


def limit(own_redis, room):
    """Let the store grow by so many bytes and no more; None is without end."""
    with own_redis.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", 0 if room is None else used + room)


def fill(app, ledger, chance):
    """Send tasks one by one until one is refused; return the error."""
    while True:
        task = chance.choice(["early", "late", "again_if_lost"])
        try:
            result = send(app, task, chance)
        except OperationalError as error:
            return error
        ledger.accept(result)


def fill_with(members, ledger):
    """Send a group again and again, until there is no room for the last of its members."""
    while True:
        ledger.accepted.extend(result.id for result in members.apply_async().results)


def send(app, task, chance, **options):
    key, seconds = f"k{chance.randrange(20)}", chance.uniform(0, 0.02)
    return app.send(task, seconds, lru_key=key, headers={"padding": "x" * LARGE}, **options)


def stored(app):
    counts = app.engine.snapshot(app.name)
    return counts.waiting + counts.delayed + counts.leased


def assert_is_refused_at_once(error):
    """It says that memory is full, and nobody would have done well to repeat it."""
    assert "maxmemory" in str(error)
    assert isinstance(error.__cause__, StoreError)
    assert not isinstance(error.__cause__, StoreUnavailableError)


def test_a_full_store_refuses_what_is_new_and_runs_all_it_has(app, ledger, own_redis, chaos):
    chance = chaos.chance
    for _ in range(chaos.scale(1, 10)):
        # Some of it is delayed, and comes due while the store is full.
        for _ in range(20):
            ledger.accept(send(app, "late", chance, countdown=chance.uniform(0, 2)))
        limit(own_redis, ROOM_BYTES)
        for size in (300, 50, 2):
            members = group(
                app.signature("late", lru_key=f"g{number % 3}", headers={"padding": "x" * 2_000})
                for number in range(size)
            )
            with pytest.raises(OperationalError) as refusal:
                fill_with(members, ledger)
            assert_is_refused_at_once(refusal.value)
            # Of the last one nothing was stored, whatever there was room for.
            assert stored(app) == len(ledger.accepted) - ledger.ends
        assert_is_refused_at_once(fill(app, ledger, chance))
        assert stored(app) == len(ledger.accepted) - ledger.ends
        app.check()

        with own_redis.client() as client:
            # Not one byte more: it stays full while it is drained.
            client.config_set("maxmemory", 1)
        with app.worker(pool=chance.choice(["prefork", "threads"])) as worker:
            ledger.await_all_ended(120)
            app.await_idle(60)
            with pytest.raises(OperationalError, match="maxmemory"):
                send(app, "late", chance)
            limit(own_redis, None)
            ledger.accept(send(app, "early", chance))
            ledger.await_all_ended()
            eventually(lambda: stored(app) == 0, 30, "nothing is left")
            assert "Lost the store" not in worker.log
            assert "ERROR/" not in worker.log
    ledger.assert_none_lost()
    ledger.assert_repeats_are_excused()

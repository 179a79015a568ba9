"""Stores and brokers that restart, die, fall silent and forget, under steady load."""

import time
from contextlib import ExitStack

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.servers import RabbitMQServer, RedisServer, eventually
from tests.workers import FairApp

LEASE_SECONDS = 3.0
POOLS = ("prefork", "gevent")
LOST, BACK = "Lost the store", "The store answers again"

pytestmark = pytest.mark.timeout(1800)


class Outages:
    """What can befall a Redis; each returns when the server answers again."""

    def __init__(self, server, chance, load):
        self._server = server
        self._chance = chance
        self._load = load

    def restart(self):
        self._server.stop()
        self._server.start()

    def kill(self):
        self._server.kill()
        self._server.start()

    def refuse(self):
        """Take no connections for longer than leases last."""
        self._server.stop()
        self._outlast_leases()
        self._server.start()

    def freeze(self):
        """Take connections and answer nothing for longer than leases last."""
        self._server.freeze()
        self._outlast_leases()
        self._server.thaw()

    def forget_scripts(self):
        with self._server.client() as client:
            for _ in range(self._chance.randrange(3, 8)):
                client.script_flush()
                self._load.await_more(ended=self._chance.randrange(1, 5))

    def cut_off(self):
        with self._server.client() as client:
            for _ in range(self._chance.randrange(2, 5)):
                for kind in ("normal", "pubsub"):
                    client.execute_command("CLIENT KILL", "TYPE", kind, "SKIPME", "yes")
                self._load.await_more(ended=self._chance.randrange(1, 10))

    def _outlast_leases(self):
        time.sleep(LEASE_SECONDS * self._chance.uniform(1.1, 1.4))


KINDS = ("restart", "kill", "refuse", "freeze", "forget_scripts", "cut_off")


def in_turn(kinds, count, chance):
    """Return so many of the kinds by chance, but each once before any comes again."""
    first = chance.sample(kinds, len(kinds))
    return first[:count] + [chance.choice(kinds) for _ in range(count - len(kinds))]


def start_workers(app, stack, pools):
    workers = [
        stack.enter_context(app.worker(name=f"w-{pool}", pool=pool, ready=False)) for pool in pools
    ]
    for worker in workers:
        worker.await_log("ready.", 60)
    return workers


def assert_all_ran_once(app, ledger):
    """Nothing died, so nothing may be lost and nothing may run twice."""
    ledger.await_all_ended()
    app.await_idle(60)
    ledger.assert_none_lost()
    ledger.assert_repeats_are_excused()


def assert_changes_of_state_are_said(worker, most):
    eventually(lambda: worker.log.count(BACK) == worker.log.count(LOST), 30, f"it said {BACK}")
    assert worker.log.count(LOST) <= most, worker.log


@pytest.fixture
def make_app(tmp_path, redis_url):
    apps = []

    def make(store_url, broker_url, **celery):
        apps.append(
            FairApp(
                tmp_path,
                redis_url,
                module="chaos_app",
                celery={"broker_url": broker_url, **celery},
                ranch={"url": store_url, "lease_seconds": LEASE_SECONDS},
            )
        )
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.mark.parametrize("place", ["apart", "together"])
def test_no_outage_of_the_store_loses_or_repeats_a_task(
    make_app, own_redis, redis_url, chaos, place
):
    """Also where the broker and the results are in the same Redis."""
    url = own_redis.url
    other_url = redis_url if place == "apart" else url
    app = make_app(url, other_url, result_backend=other_url)
    ledger = Ledger(app)
    with ExitStack() as stack:
        workers = start_workers(app, stack, (*POOLS, "threads", "solo") if chaos.is_long else POOLS)
        load = stack.enter_context(Load(app, ledger, chaos.chance))
        outages = Outages(own_redis, chaos.chance, load)
        kinds = in_turn(KINDS, chaos.scale(len(KINDS), 40), chaos.chance)
        for kind in kinds:
            load.await_more(accepted=20, ended=chaos.chance.randrange(5, 30))
            print(kind)  # noqa: T201
            getattr(outages, kind)()
        load.await_more(accepted=20, ended=20)
        load.stop()
        assert_all_ran_once(app, ledger)
        for worker in workers:
            assert_changes_of_state_are_said(worker, len(kinds) * 5)


@pytest.fixture(params=["redis", "rabbitmq"])
def own_broker(request):
    """A broker of this test alone."""
    with RedisServer() if request.param == "redis" else RabbitMQServer() as server:
        yield server


def test_no_outage_of_the_broker_loses_or_repeats_a_task(make_app, own_broker, own_redis, chaos):
    """Nor one of the store beside it, before, after or in the middle of that."""
    app = make_app(own_redis.url, own_broker.url)
    ledger = Ledger(app)
    with ExitStack() as stack:
        workers = start_workers(app, stack, POOLS)
        load = stack.enter_context(Load(app, ledger, chaos.chance))
        store = Outages(own_redis, chaos.chance, load)
        waves = chaos.scale(1, 12)
        for _ in range(waves):
            load.await_more(accepted=20, ended=chaos.chance.randrange(5, 30))
            if chaos.chance.random() < 0.5:
                getattr(store, chaos.chance.choice(KINDS))()
            lost = [worker.log.count("Connection to broker lost") for worker in workers]
            chaos.chance.choice([own_broker.stop, own_broker.kill])()
            for worker, count in zip(workers, lost, strict=True):
                eventually(
                    lambda w=worker, c=count: w.log.count("Connection to broker lost") > c,
                    60,
                    "a worker knows that the broker is away",
                )
            # What is stored needs no broker.
            load.await_more(accepted=20)
            if chaos.chance.random() < 0.5:
                store.restart()
            own_broker.start()
        load.await_more(accepted=20, ended=20, seconds=120)
        load.stop()
        assert_all_ran_once(app, ledger)
        for worker in workers:
            assert_changes_of_state_are_said(worker, waves * 10)

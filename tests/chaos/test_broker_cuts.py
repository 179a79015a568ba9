"""Broker connections that are cut while entries are leased, run and wait in a pool's pipe."""

import re
import time
from contextlib import contextmanager

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.proxies import Fault, Point, Proxy
from tests.servers import eventually
from tests.workers import FairApp

LOST = "Connection to broker lost"
CANCELLED = re.compile(r"\[([0-9a-f-]{36})\] cannot be acknowledged after a connection loss")
CUTS = ("cut", "refuse", "silence", "request")

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(params=["redis", "rabbitmq"])
def proxy(request):
    with Proxy(request.getfixturevalue(f"{request.param}_url")) as proxy:
        yield proxy


@pytest.fixture
def make_app(tmp_path, redis_url, proxy):
    """Make the application whose broker is behind the proxy, and its store is not."""

    @contextmanager
    def make(**celery):
        settings = {"broker_url": proxy.url, "broker_connection_max_retries": None, **celery}
        app = FairApp(tmp_path, redis_url, module="chaos_app", celery=settings)
        try:
            yield app
        finally:
            app.close()

    return make


def strike(how, proxy, worker, load):
    """Cut the worker off from the broker, and return when it works again."""
    lost, connected = worker.log.count(LOST), worker.log.count("Connected to ")
    if how == "request":
        # Some heartbeat, event or command, on one of several connections: Celery
        # may make that one anew and say nothing.
        assert proxy.arm(Fault(Point.IN_REQUEST)).happened.wait(30)
        load.await_more(ended=40)
        return
    if how == "refuse":
        proxy.refuse()
        eventually(lambda: worker.log.count(LOST) > lost, 30, "the worker notices")
        proxy.admit()
    elif how == "silence":
        # A loop that waits for the broker's word does nothing else.
        proxy.hold()
        time.sleep(0.5)
        proxy.cut()
        proxy.release()
    else:
        proxy.cut()
    eventually(lambda: worker.log.count(LOST) > lost, 30, f"the worker notices: {how}")
    eventually(
        lambda: worker.log.count("Connected to ") > connected, 60, f"it reconnects after: {how}"
    )
    load.await_more(ended=20)


def cut_off_under_load(app, ledger, worker, proxy, chaos):
    hows = chaos.chance.choices(CUTS, k=chaos.scale(2, 30))
    hows[0] = chaos.chance.choice(CUTS[:3])  # which every worker notices
    with Load(app, ledger, chaos.chance) as load:
        for how in hows:
            load.await_more(ended=chaos.chance.randrange(5, 40))
            # Two that fill the slots, so that others wait behind them.
            kinds = ["late", chaos.chance.choice(["early", "late", "again_if_lost"])]
            sent = [ledger.accept(app.send(kind, 1.0, lru_key="long")) for kind in kinds]
            eventually(
                lambda late=sent[0].id: late in {run.task_id for run in ledger.running()},
                30,
                "the long one runs",
            )
            strike(how, proxy, worker, load)
        load.stop()
    ledger.await_all_ended()
    app.await_idle()
    ledger.assert_none_lost()
    assert worker.process.poll() is None
    assert worker.log.count("ready.") == 1
    assert "Lost the store" not in worker.log
    assert "replies were lost" not in worker.log


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_cut_off_from_its_broker_loses_nothing_and_runs_nothing_twice(
    make_app, proxy, chaos, pool
):
    """Late-acknowledged tasks that run then, too: plain ones would be delivered again."""
    with make_app() as app, app.worker("--without-mingle", pool=pool) as worker:
        ledger = Ledger(app)
        cut_off_under_load(app, ledger, worker, proxy, chaos)
        ledger.assert_repeats_are_excused()


def test_what_celery_cancels_when_it_is_cut_off_runs_again_and_nothing_else(make_app, proxy, chaos):
    cancel = {"worker_cancel_long_running_tasks_on_connection_loss": True}
    with make_app(**cancel) as app, app.worker("--without-mingle") as worker:
        ledger = Ledger(app)
        cut_off_under_load(app, ledger, worker, proxy, chaos)
        cancelled = CANCELLED.findall(worker.log)
        assert len(cancelled) >= worker.log.count(LOST) > 0
        ledger.excuse(f"w1@{app.name}", cancelled, "it was cancelled")
        ledger.assert_repeats_are_excused()

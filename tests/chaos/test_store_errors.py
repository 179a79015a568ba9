"""The store refuses, cuts off or leaves unanswered each thing that a worker asks of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from celery_ranch.engines.scripts import load_script
from tests.chaos.ledger import Ledger
from tests.proxies import Fault, Point, Proxy
from tests.servers import RedisServer, eventually
from tests.workers import FairApp

#: How long the thread driver and the heartbeat wait for a reply, in seconds.
REPLY_SECONDS = 2

#: What a worker asks for while it is there, and what such a request has in it.
ASKED = {
    **{verb: load_script(verb).sha for verb in ("lease", "settle", "heartbeat", "held", "reap")},
    "wait": b"BLPOP",
}

WAKE = load_script("wake").sha

REFUSALS = {
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "BUSY": b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL.\r\n",
    "MISCONF": b"-MISCONF Redis is configured to save RDB snapshots, but it cannot.\r\n",
    "NOPERM": b"-NOPERM this user has no permissions to run the command\r\n",
}
RESETS = {
    "reset before the request": Point.BEFORE_REQUEST,
    "reset in the request": Point.IN_REQUEST,
    "reset before the reply": Point.BEFORE_REPLY,
    "reset in the reply": Point.IN_REPLY,
}
UNANSWERED = "no reply"
NO_SCRIPT = Fault(Point.REFUSED, reply=b"-NOSCRIPT No matching script.\r\n").reply


def fault_of(error, matching):
    if error in REFUSALS:
        return Fault(Point.REFUSED, matching, reply=REFUSALS[error])
    return Fault(RESETS.get(error, Point.NO_REPLY), matching)


@dataclass(frozen=True)
class Broken:
    """One of the things to go wrong, and what has to go wrong before it can."""

    asked: str
    error: str

    def arm(self, proxy):
        """Make it happen; return the faults in the order that they happen in."""
        if self.asked in ASKED:
            return [proxy.arm(fault_of(self.error, ASKED[self.asked]))]
        if self.asked == "load":
            first = Fault(Point.REFUSED, ASKED["lease"], reply=NO_SCRIPT)
            return [proxy.arm(first), proxy.arm(fault_of(self.error, b"SCRIPT"))]
        first = proxy.arm(Fault(Point.BEFORE_REQUEST, ASKED["lease"]))
        return [first, proxy.arm(fault_of(self.error, self.asked.encode()))]


EVERY = [
    Broken(asked, error)
    for asked in (*ASKED, "load", "AUTH", "SELECT")
    for error in (*REFUSALS, *RESETS, UNANSWERED)
]


@pytest.fixture(params=["prefork", "gevent", "solo", "threads", "eventlet"])
def pool(request, chaos):
    """Every pool, of those that lease in the same way one where there is little time."""
    if not (chaos.is_long or request.param in ("prefork", "gevent")):
        pytest.skip("for --chaos=long")
    return request.param


def chosen(chaos):
    """Return what to break: everything, or each request and each error at least once.

    What takes two faults comes last: it may be one outage or two.
    """
    every = chaos.chance.sample(EVERY, len(EVERY))
    every.sort(key=lambda broken: broken.asked not in ASKED)
    if chaos.is_long:
        return every
    few, seen = [], set()
    for broken in every:
        if not {broken.asked, broken.error} <= seen:
            few.append(broken)
            seen |= {broken.asked, broken.error}
    return few


@pytest.fixture(scope="module")
def store():
    with RedisServer(settings={"requirepass": "secret"}) as server:
        yield server


@pytest.fixture
def proxy(store):
    url = store.url.replace("//", "//:secret@").removesuffix("0")
    with Proxy(f"{url}1?socket_timeout={REPLY_SECONDS}") as proxy:
        yield proxy


@pytest.fixture
def make_app(tmp_path, redis_url, store, proxy):
    """Make the application whose workers alone reach the store through the proxy."""

    @contextmanager
    def make(**celery):
        direct = store.url.replace("//", "//:secret@").removesuffix("0") + "1"
        ranch = {"url": direct, "lease_seconds": 3}
        app = FairApp(tmp_path, redis_url, module="chaos_app", celery=celery, ranch=ranch)
        app.settings = {**app.settings, "ranch": {**app.settings["ranch"], "url": proxy.url}}
        try:
            yield app
        finally:
            app.close()

    return make


def lines(worker, text):
    return [line for line in worker.log.splitlines() if text in line]


def listeners(app):
    """Return how many workers wait for a wake-up."""
    with app.open_store() as redis:
        return redis.info("clients")["blocked_clients"]


def serves(app, queue):
    return any(each["name"] == queue for each in app.tell("active_queues"))


def send_some(app, ledger):
    for task in ("early", "late"):
        ledger.accept(app.send(task, lru_key=f"k{len(ledger.accepted) % 3}"))


@dataclass
class Outages:
    """How often the store was lost so far, as it was broken."""

    least: int = 0
    most: int = 0

    def assert_goes_on(self, app, ledger, worker, what, most=1):
        """Fail unless the worker said that the store was lost and that it is back, and works.

        Each once, or up to `most` times.
        """
        lost, back = "Lost the store", "The store answers again"
        self.least += 1
        self.most += most
        eventually(
            lambda: len(lines(worker, lost)) == len(lines(worker, back)) >= self.least,
            40,
            f"the worker says that the store is back after {what}",
        )
        ledger.await_all_ended()
        send_some(app, ledger)
        ledger.await_all_ended()
        assert len(lines(worker, lost)) <= self.most, what


def assert_unharmed(app, ledger, worker):
    app.await_idle()
    ledger.assert_none_lost()
    ledger.assert_repeats_are_excused()
    assert worker.process.poll() is None
    assert lines(worker, "ERROR/") == lines(worker, "Lost the store")
    for text in ("Traceback", "Connection to broker lost", "Restarting", "CRITICAL/"):
        assert lines(worker, text) == []
    assert worker.log.count("ready.") == 1


@pytest.mark.timeout(1800)
def test_a_worker_goes_on_whatever_the_store_answers_and_whatever_it_was_asked(
    make_app, proxy, chaos, pool
):
    with make_app() as app, app.worker(pool=pool) as worker:
        ledger, outages = Ledger(app), Outages()
        send_some(app, ledger)
        ledger.await_all_ended()
        for broken in chosen(chaos):
            faults = broken.arm(proxy)
            send_some(app, ledger)
            while len(faults) > 1 and not faults[-1].happened.wait(3):
                # What was asked again went over a connection that was free.
                faults.insert(0, proxy.arm(Fault(Point.BEFORE_REQUEST, ASKED["lease"])))
                send_some(app, ledger)
            for fault in faults:
                assert fault.happened.wait(30), (broken, fault, worker.log)
            outages.assert_goes_on(app, ledger, worker, broken, most=len(faults))
        assert_unharmed(app, ledger, worker)
        assert worker.stop() == 0


@pytest.mark.timeout(300)
def test_what_is_refused_again_and_again_is_said_once(make_app, proxy, pool):
    """Though everything else is answered meanwhile."""
    with make_app() as app, app.worker(pool=pool) as worker:
        ledger, outages = Ledger(app), Outages()
        send_some(app, ledger)
        ledger.await_all_ended()
        for asked, matching in ASKED.items():
            times = 2 if asked in ("heartbeat", "held", "reap") else 4
            faults = [proxy.arm(fault_of("NOPERM", matching)) for _ in range(times)]
            send_some(app, ledger)
            for fault in faults:
                assert fault.happened.wait(30), (asked, fault, worker.log)
            outages.assert_goes_on(app, ledger, worker, asked)
        assert_unharmed(app, ledger, worker)
        assert lines(worker, "replies were lost") == []


@pytest.mark.timeout(600)
def test_a_worker_goes_on_when_a_wake_up_cannot_be_handed_on(make_app, proxy, chaos, pool):
    with make_app() as app, app.worker(pool=pool) as worker:
        ledger, outages = Ledger(app), Outages()
        other = f"{app.name}-other"
        every = [*REFUSALS, *RESETS, UNANSWERED]
        for error in chaos.chance.sample(every, chaos.scale(1, len(every))):
            fault = proxy.arm(fault_of(error, WAKE))
            # Green threads may have just looked which queues to listen for.
            for _ in range(20 if pool in ("gevent", "eventlet") else 1):
                app.tell("add_consumer", queue=other)
                ledger.accept(app.send("early", lru_key="k", queue=other))
                ledger.await_all_ended()
                app.await_idle()
                eventually(lambda: listeners(app), 30, "the worker listens")
                # For this queue too, and until it looks again which ones it serves.
                app.tell("cancel_consumer", queue=other)
                # Pools of green threads do so within two seconds.
                eventually(lambda: not serves(app, other), 30, "the queue is cancelled")
                ledger.accept(app.send("late", lru_key="k", queue=other))
                if fault.happened.wait(2):
                    break
            assert fault.happened.is_set(), (error, worker.log)
            app.tell("add_consumer", queue=other)
            outages.assert_goes_on(app, ledger, worker, error)
        assert_unharmed(app, ledger, worker)
        assert worker.stop() == 0

"""Callers that are cut off or killed at every step of a call, while workers run what they sent."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid

import pytest
from celery import group

from celery_ranch.engines.scripts import load_script
from tests.chaos.ledger import Ledger
from tests.proxies import Fault, Point, Proxy
from tests.workers import APPLICATIONS, FairApp

CALLERS = 3
MEMBERS = 40
MOST_WAITING = 400

#: Enough for a call that is cut off again and again; callers and workers alike.
RETRY_POLICY = {"max_retries": 60, "interval_start": 0, "interval_step": 0.02, "interval_max": 0.2}

POINTS = (
    Point.BEFORE_REQUEST,
    Point.IN_REQUEST,
    Point.BEFORE_REPLY,
    Point.IN_REPLY,
    Point.LATE_REQUEST,
)

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def proxy(own_redis):
    with Proxy(own_redis.url) as proxy:
        yield proxy


@pytest.fixture
def app(tmp_path, redis_url, proxy):
    app = FairApp(
        tmp_path,
        redis_url,
        module="chaos_app",
        celery={"task_publish_retry_policy": RETRY_POLICY, "task_ignore_result": True},
        ranch={"url": proxy.url, "lease_seconds": 3},
    )
    # Nothing here waits for results, and threads may not share who would.
    app.client.conf.result_backend = "disabled://"
    yield app
    app.close()


class Callers:
    """Threads that call in every way, until there were faults enough."""

    def __init__(self, app, ledger, chance):
        self._app = app
        self._ledger = ledger
        self._errors = []
        self._stopped = threading.Event()
        self._ways = (self._single, self._group, self._with_callback, self._retried)
        seeds = [chance.random() for _ in range(CALLERS)]
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in seeds]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
        assert not self._errors

    def _run(self, seed):
        chance = random.Random(seed)
        try:
            for number in itertools.count():
                while len(self._ledger.accepted) - self._ledger.ends > MOST_WAITING:
                    if self._stopped.wait(0.01):
                        return
                if self._stopped.is_set():
                    return
                chance.choice(self._ways)(f"k{number % 5}")
        except BaseException as error:
            self._errors.append(error)

    def _single(self, key):
        self._ledger.accept(self._app.send("early", lru_key=key))

    def _group(self, key):
        kinds = itertools.cycle(["early", "late"])
        members = [self._app.signature(next(kinds)) for _ in range(MEMBERS)]
        result = group(members, app=self._app.client).apply_async(lru_key=key)
        for member in result:
            self._ledger.accept(member)

    def _with_callback(self, key):
        """A worker calls what comes next."""
        callback = self._app.signature("late", immutable=True).set(task_id=uuid.uuid4().hex)
        self._ledger.accept(self._app.send("early", lru_key=key, link=callback))
        self._ledger.accepted.append(callback.options["task_id"])

    def _retried(self, key):
        """A worker calls it again, twice."""
        result = self._ledger.accept(self._app.send("retried", 2, lru_key=key))
        self._ledger.accepted += [f"{result.id}:1", f"{result.id}:2"]


class Wires:
    """Cuts the wires of callers and workers, and delivers late what was held back."""

    def __init__(self, proxy, chance):
        self._proxy = proxy
        self._chance = chance
        self._late = []

    def cut_some(self, count):
        for _ in range(count):
            verb = self._chance.choice(["enqueue", "enqueue", "enqueue", "lease", "settle"])
            fault = Fault(
                self._chance.choice(POINTS),
                load_script(verb).sha,
                skipping=self._chance.randrange(4),
            )
            self._proxy.arm(fault)
            assert fault.happened.wait(30), fault
            if fault.point is Point.LATE_REQUEST:
                self._late.append(fault)
            if self._chance.random() < 0.2:
                self._proxy.cut()
            if self._late and self._chance.random() < 0.5:
                self._late.pop(self._chance.randrange(len(self._late))).deliver()

    def deliver_all(self):
        for fault in self._late:
            fault.deliver()


def test_what_returned_runs_once_however_callers_and_workers_were_cut_off(app, proxy, chaos):
    ledger = Ledger(app)
    with app.worker() as first, app.worker(name="w2", pool="threads") as second:
        wires = Wires(proxy, chaos.chance)
        with Callers(app, ledger, chaos.chance):
            wires.cut_some(chaos.scale(50, 2_000))
        wires.deliver_all()
        ledger.await_all_ended()
        app.await_idle(60)
        assert first.process.poll() is second.process.poll() is None
    ledger.assert_none_lost()
    ledger.assert_repeats_are_excused()


@pytest.fixture
def caller(app, tmp_path):
    """A process that has called, and forks a caller for each name it reads."""
    with (tmp_path / "caller.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(APPLICATIONS / "submitting_app.py")],
            env=app.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        )
    with process:
        yield process
        process.kill()


def told_until_killed(caller, name, chance):
    """Kill a caller at some moment; return the ids of the calls that returned."""
    caller.stdin.write(f"{name}\n")
    said = (json.loads(line) for line in caller.stdout)
    pid = next(said)
    told = []
    for _ in range(chance.randint(1, 12)):
        told += next(said)
    busy = chance.randint(0, 8_000)  # some part of a call
    while busy:
        busy -= 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for ids in said:
        if ids == "killed":
            return told
        told += ids
    pytest.fail("the callers' parent ended")


def test_what_a_killed_caller_had_sent_runs_once_and_whole(app, caller, chaos):
    ledger = Ledger(app)
    with app.worker():
        ledger.accepted += json.loads(caller.stdout.readline())
        for kill in range(chaos.scale(15, 500)):
            ledger.accepted += told_until_killed(caller, f"c{kill}", chaos.chance)
        app.await_idle(60)
        ran = {run.task_id for run in ledger.runs()}
        untold = ran.difference(ledger.accepted)
        # The call that a caller died in, of each at most one, and all of it.
        calls = {task_id.rpartition("-")[0] for task_id in untold}
        assert len({call.partition("-")[0] for call in calls}) == len(calls)
        for call in calls:
            members = 25 if int(call.partition("-")[2]) % 3 == 0 else 1
            assert {f"{call}-{member}" for member in range(members)} <= untold
        ledger.accepted += untold
        ledger.await_all_ended()
    ledger.assert_none_lost()
    ledger.assert_repeats_are_excused()

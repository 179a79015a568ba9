"""A publish that is cut off or killed anywhere is stored once, or not at all if nobody was told."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from celery_ranch import Ranch, configure
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.publishing.storing import Retries, store
from celery_ranch.scheduling.model import Entry, Outcome, OutcomeKind
from tests.proxies import Fault, Point, Proxy
from tests.redis_invariants import check_queue
from tests.servers import RedisServer

QUEUES = ("here", "there")
BATCH = 300

#: Where the first attempt is cut off, and whether the store has seen it by then.
CUTS = {
    Point.BEFORE_REQUEST: False,
    Point.IN_REQUEST: False,
    Point.BEFORE_REPLY: True,
    Point.IN_REPLY: True,
    Point.LATE_REQUEST: False,
}
every_cut = pytest.mark.parametrize("point", CUTS, ids=lambda point: point.name.lower())


class Running:
    """A worker as the store sees one: it runs what waits, and notes the tasks' ids."""

    def __init__(self, engine: RedisEngine) -> None:
        self._engine = engine
        self.ran: Counter[str] = Counter()

    def run_all(self) -> None:
        """Lease and complete until nothing waits."""
        while leases := self._engine.lease("worker", QUEUES, 200).leases:
            self.ran.update(lease.entry_id.partition(".")[0] for lease in leases)
            done = [
                Outcome(OutcomeKind.COMPLETED, lease.queue, lease.entry_id, lease.number)
                for lease in leases
            ]
            assert self._engine.settle("worker", done) == ()


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def worker(redis_url: str, redis_prefix: str) -> Iterator[Running]:
    engine = RedisEngine(redis_url, redis_prefix)
    engine.load_scripts()
    yield Running(engine)
    with redis.Redis.from_url(redis_url) as client:
        for queue in QUEUES:
            check_queue(client, redis_prefix, queue)
    engine.close()


@pytest.fixture
def app(proxy: Proxy, redis_prefix: str) -> Iterator[Celery]:
    """An application whose store is behind the proxy."""
    app = Celery("once", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = "here"
    app.conf.celery_ranch = {"url": proxy.url, "redis_prefix": redis_prefix}
    configure(app)
    yield app
    Ranch(app).engine.close()


def publish(app: Celery, *, retry: bool = True) -> str:
    """Call a task by its name; return its id."""
    return str(app.send_task("any", lru_key="acme", retry=retry).id)


def batch() -> list[Entry]:
    return [Entry(f"e{n}", ("acme",), QUEUES[n % 2], b"m") for n in range(BATCH)]


@every_cut
def test_a_call_that_returns_is_stored_once_wherever_its_first_attempt_was_cut_off(
    app: Celery, proxy: Proxy, worker: Running, point: Point
) -> None:
    fault = proxy.arm(Fault(point, b"EVALSHA", then=worker.run_all))
    task_id = publish(app)
    assert fault.happened.wait(20)
    worker.run_all()
    if point is Point.LATE_REQUEST:
        assert b"repeated" in fault.deliver()
        worker.run_all()
    assert worker.ran == {task_id: 1}


@every_cut
def test_a_callback_that_celery_repeats_by_itself_is_stored_once(
    app: Celery, proxy: Proxy, worker: Running, point: Point
) -> None:
    # As Celery 5.7 calls what comes after a task; before, it left that to the producer.
    repeated = getattr(app.amqp, "_retry_publish", lambda call: call())
    fault = proxy.arm(Fault(point, b"EVALSHA"))
    task_id = repeated(app.signature("any", app=app).set(lru_key="acme").apply_async).id
    assert fault.happened.is_set()
    if point is Point.LATE_REQUEST:
        assert b"repeated" in fault.deliver()
    worker.run_all()
    assert worker.ran == {task_id: 1}


@every_cut
def test_a_call_that_raises_is_stored_at_most_once(
    app: Celery, proxy: Proxy, worker: Running, point: Point
) -> None:
    proxy.arm(Fault(point, b"EVALSHA", then=worker.run_all))
    with pytest.raises(OperationalError):
        publish(app, retry=False)
    worker.run_all()
    assert list(worker.ran.values()) == ([1] if CUTS[point] else [])


def test_a_call_none_of_whose_attempts_is_answered_raises_and_is_stored_once(
    app: Celery, proxy: Proxy, worker: Running
) -> None:
    for point in (Point.BEFORE_REPLY, Point.IN_REPLY, Point.BEFORE_REPLY, Point.IN_REPLY):
        proxy.arm(Fault(point, b"EVALSHA", then=worker.run_all))
    with pytest.raises(OperationalError):
        publish(app)
    worker.run_all()
    assert list(worker.ran.values()) == [1]


def test_a_call_that_was_given_up_is_not_stored_after_its_publishers_next_one(
    app: Celery, proxy: Proxy, worker: Running
) -> None:
    late = proxy.arm(Fault(Point.LATE_REQUEST, b"EVALSHA"))
    with pytest.raises(OperationalError):
        publish(app, retry=False)
    task_id = publish(app)
    assert b"repeated" in late.deliver()
    worker.run_all()
    assert worker.ran == {task_id: 1}


@pytest.mark.parametrize("point", [Point.BEFORE_REPLY, Point.IN_REPLY, Point.LATE_REQUEST])
def test_a_call_whose_id_is_in_use_is_stored_once_under_another(
    app: Celery, proxy: Proxy, worker: Running, point: Point
) -> None:
    app.send_task("any", lru_key="acme", task_id="twice")
    fault = proxy.arm(Fault(point, b"EVALSHA"))  # whose reply is that the id is taken
    proxy.arm(Fault(Point.BEFORE_REPLY, b"EVALSHA", skipping=1, then=worker.run_all))
    app.send_task("any", lru_key="acme", task_id="twice")
    if point is Point.LATE_REQUEST:
        assert b"repeated" in fault.deliver()
    worker.run_all()
    assert worker.ran == {"twice": 2}


@every_cut
def test_a_batch_is_stored_once_as_a_whole_wherever_its_first_attempt_was_cut_off(
    app: Celery, proxy: Proxy, worker: Running, point: Point
) -> None:
    fault = proxy.arm(Fault(point, b"EVALSHA", then=worker.run_all))
    entries = batch()
    store(Ranch(app), entries, {}, Retries(3))
    worker.run_all()
    if point is Point.LATE_REQUEST:
        assert b"repeated" in fault.deliver()
        worker.run_all()
    assert worker.ran == {f"e{n}": 1 for n in range(BATCH)}


@every_cut
def test_a_batch_that_raises_is_stored_once_as_a_whole_or_not_at_all(
    app: Celery, proxy: Proxy, worker: Running, point: Point
) -> None:
    proxy.arm(Fault(point, b"EVALSHA", then=worker.run_all))
    with pytest.raises(OperationalError):
        store(Ranch(app), batch(), {}, Retries(0))
    worker.run_all()
    assert worker.ran == ({f"e{n}": 1 for n in range(BATCH)} if CUTS[point] else {})


def test_a_call_cut_off_while_its_script_is_loaded_is_stored_once(own_redis: RedisServer) -> None:
    with Proxy(own_redis.url) as proxy:
        app = Celery("once", broker="memory://", set_as_current=False)
        app.conf.task_default_queue = "here"
        app.conf.celery_ranch = {"url": proxy.url}
        configure(app)
        faults = [
            proxy.arm(Fault(point, matching))
            for point in (Point.BEFORE_REQUEST, Point.IN_REPLY)
            for matching in (b"EVALSHA", b"SCRIPT")
        ]
        app.send_task("any", lru_key="acme", retry_policy={"max_retries": 5, "interval_step": 0})
        assert [fault.happened.is_set() for fault in faults] == [True] * 4
        assert Ranch(app).status()[0].waiting == 1
        Ranch(app).engine.close()


# -- chance ---------------------------------------------------------------------

KILLS = 60
SEED = 20_261_121


def test_threads_whose_wire_is_cut_at_random_are_stored_once(
    app: Celery, proxy: Proxy, worker: Running
) -> None:
    soon = {"max_retries": 3, "interval_step": 0.01}
    told: list[str] = []
    refused: list[str] = []

    def publish_some(name: str) -> None:
        for number in itertools.count():
            if number >= 250 and enough.is_set():
                return
            task_id = f"{name}-{number}"
            try:
                app.send_task("any", lru_key="acme", task_id=task_id, retry_policy=soon)
                told.append(task_id)
            except OperationalError:
                refused.append(task_id)

    chance = random.Random(SEED)
    late: list[Fault] = []
    struck, enough = 0, threading.Event()
    threads = [threading.Thread(target=publish_some, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        fault = Fault(chance.choice(list(CUTS)), b"EVALSHA", skipping=chance.randint(0, 3))
        proxy.arm(fault)
        while not fault.happened.wait(0.01) and any(thread.is_alive() for thread in threads):
            pass
        struck += fault.happened.is_set()
        if struck > 5:
            enough.set()
        if fault.point is Point.LATE_REQUEST and fault.happened.is_set():
            late.append(fault)
        if chance.random() < 0.2:
            proxy.cut()
        worker.run_all()
        if late and chance.random() < 0.5:
            late.pop(0).deliver()
    for fault in late:
        fault.deliver()
    worker.run_all()
    assert set(worker.ran.values()) == {1}, SEED
    assert set(told) <= set(worker.ran) <= {*told, *refused}, SEED
    assert len(told) > len(refused), "most calls get through after their retries"


@pytest.fixture
def publisher(
    redis_url: str, redis_prefix: str, tmp_path: Path, worker: Running
) -> Iterator[subprocess.Popen[str]]:
    """A process that has published, and forks a publisher for each line it reads."""
    program = Path(__file__).parents[1] / "applications" / "publishing_app.py"
    with (tmp_path / "publisher.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(program), redis_url, redis_prefix, *QUEUES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        )
    with process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        worker.run_all()
        assert worker.ran == {first: 1}
        yield process
        process.kill()


def _published_until_killed(
    publisher: subprocess.Popen[str], chance: random.Random
) -> tuple[set[str], bool]:
    """Kill a publisher at some moment; return the ids it was told of, and whether in batches."""
    assert publisher.stdin is not None
    assert publisher.stdout is not None
    is_batch = chance.random() < 0.3
    publisher.stdin.write("batches\n" if is_batch else "one by one\n")
    said = iter(publisher.stdout.readline, "")
    pid = json.loads(next(said))
    told: list[str] = []
    for _ in range(chance.randint(1, 20)):
        told += json.loads(next(said))
    busy = chance.randint(0, 4_000)  # some part of a publish
    while busy:
        busy -= 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for line in said:
        if line == "killed\n":
            return set(told), is_batch
        told += json.loads(line)
    pytest.fail("the publishers' parent ended")


def test_what_a_killed_publisher_was_told_of_is_stored_once(
    publisher: subprocess.Popen[str], worker: Running
) -> None:
    chance = random.Random(SEED)
    for kill in range(KILLS):
        told, is_batch = _published_until_killed(publisher, chance)
        before = worker.ran.copy()
        worker.run_all()
        new = worker.ran - before
        assert set(new.values()) == {1}, (SEED, kill)
        assert told <= set(new), (SEED, kill)
        untold = len(new) - len(told)
        assert untold in ({0, 50} if is_batch else {0, 1}), (SEED, kill)

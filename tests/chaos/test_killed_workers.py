"""Workers that are killed, frozen and robbed of their processes while they work."""

import os
import signal
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.chaos.ledger import Ledger
from tests.servers import eventually
from tests.workers import FairApp

LEASE_SECONDS = 3.0
SLOTS = 2


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(
        tmp_path,
        redis_url,
        module="chaos_app",
        # How long Celery waits for the result of a process that is gone, and
        # for a new one to come up.
        celery={"worker_lost_wait": 0.5, "worker_proc_alive_timeout": 60},
        ranch={"lease_seconds": LEASE_SECONDS},
    )
    yield app
    app.close()


@pytest.fixture
def ledger(app):
    return Ledger(app)


class Fleet:
    """Workers that come and go, and what was done to them."""

    def __init__(self, app, ledger, stack):
        self._app = app
        self._ledger = ledger
        self._stack = stack
        self._started = 0
        self.workers = {}
        self.killed_children = []
        self.handed_over = []

    def start(self, pool, *, ready=False):
        """Start a worker under a name that none had before."""
        self._started += 1
        name = f"w{self._started}"
        worker = self._stack.enter_context(
            self._app.worker(name=name, pool=pool, concurrency=SLOTS, ready=ready)
        )
        self._stack.callback(kill_group, worker)
        worker.name, worker.pool, worker.node = name, pool, f"{name}@{self._app.name}"
        self.workers[worker.node] = worker
        return worker

    def held_by(self, worker):
        """Return the entry ids that the worker's leases are for."""
        pattern = f"{self._app.name}:{{{self._app.name}}}:held:{worker.node}:*"
        names = [key.rpartition("held:")[2] for key in self._app.records.keys(pattern)]
        return {entry for name in names for _, entry, _ in self._app.engine.held(name)}

    def await_ready(self, pools):
        """Wait until a worker with one of these pools takes tasks."""
        fit = [worker for worker in self.workers.values() if worker.pool in pools]
        eventually(lambda: any("ready." in worker.log for worker in fit), 60, "a worker is ready")

    def await_victim(self, chaos, pools):
        """Wait until workers of these pools run something, and choose a run."""

        def victims():
            return [
                run
                for run in self._ledger.running()
                if run.pid not in self.killed_children
                and run.worker in self.workers
                and self.workers[run.worker].pool in pools
            ]

        return chaos.chance.choice(eventually(victims, 60, f"some of {pools} at work"))

    def knows_of(self, worker):
        """Return how many leases a worker itself believes to have; None if it is silent."""
        stats = self._app.client.control.inspect([worker.node], timeout=2).stats() or {}
        return stats.get(worker.node, {}).get("celery_ranch", {}).get("leased")

    def kill(self, worker, *, with_children):
        """Kill a worker, or its main process alone, and start another one like it."""
        if with_children:
            worker.kill()
        else:
            os.kill(worker.pid, signal.SIGKILL)
            worker.process.wait()
        self._ledger.excuse(worker.node, self.held_by(worker), "its worker was killed")
        del self.workers[worker.node]
        self.start(worker.pool)

    def kill_child(self, run):
        """Kill the process of a pool that runs something, as the kernel does out of memory."""
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        self.killed_children.append(run.pid)

    def excuse_killed_children(self):
        """What a killed process ran last may have run again, or failed for good."""
        runs = self._ledger.runs()
        for pid in self.killed_children:
            last = [run.task_id for run in runs if run.pid == pid][-1:]
            self._ledger.excuse(pid, last, "its process was killed")

    def freeze(self, worker):
        """Stop every process of a worker where it is."""
        os.killpg(worker.pid, signal.SIGSTOP)
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
        eventually(lambda: all(is_stopped(each) for each in family), 20, "the worker is frozen")
        held = self.held_by(worker)
        started = {run.task_id for run in self._ledger.runs() if run.worker == worker.node}
        self._ledger.excuse(worker.node, held & started, "it was running in a frozen worker")
        handed_over = self._ledger.excuse(
            worker.node, held - started, "its pool had it when the worker froze"
        )
        self.handed_over.append(handed_over)

    def thaw_when_leases_passed_on(self, worker):
        """Let a frozen worker go on when everything it held was taken from it."""
        eventually(lambda: not self.held_by(worker), 60, "the frozen worker's leases passed on")
        os.killpg(worker.pid, signal.SIGCONT)


def is_stopped(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return True


def kill_group(worker):
    """Kill what is left of a worker's processes, orphans too."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)


@pytest.fixture
def fleet(app, ledger):
    with ExitStack() as stack:
        yield Fleet(app, ledger, stack)


@pytest.mark.timeout(120)
def test_what_waits_in_a_frozen_worker_is_left_to_the_others(app, ledger, fleet):
    """A pool of threads has a queue of its own; short tasks wait there in advance."""
    # However slow the machine is: more of them than are handed to the pool.
    app.settings["ranch"]["lookahead_seconds"] = 1.0
    for number in range(600):
        ledger.accept(app.send("late", 0.001, lru_key=f"k{number % 7}"))
    frozen = fleet.start("threads")
    ledger.await_ends(200)
    fleet.freeze(frozen)
    assert len(fleet.held_by(frozen)) > 2 * SLOTS
    fleet.start("threads")
    fleet.thaw_when_leases_passed_on(frozen)

    ledger.await_all_ended()
    app.await_idle()
    eventually(lambda: fleet.knows_of(frozen) == 0, 30, "the thawed worker is done with all it had")
    ledger.assert_repeats_are_excused()
    assert len(ledger.needing(fleet.handed_over[0])) <= SLOTS


@pytest.mark.timeout(1800)
def test_no_late_acknowledged_task_is_lost_to_many_deaths(app, ledger, fleet, chaos):
    """Whatever is killed or frozen, only what ran there may run again."""
    results = []
    for pool in ("prefork", "prefork", "threads", *(("solo",) if chaos.is_long else ())):
        fleet.start(pool)

    manners = ["group", "main", "child", "freeze"]
    waves = chaos.scale(8, 100)
    for wave in range(waves):
        # Each in turn first, so that a short run misses none.
        manner = manners[wave] if wave < len(manners) else chaos.chance.choice(manners)
        pools = {"prefork"} if manner in ("main", "child") else {"prefork", "threads", "solo"}
        fleet.await_ready(pools)
        ends = ledger.ends
        for number in range(chaos.scale(75, 100)):
            task = chaos.chance.choice(["late", "again_if_lost"])
            result = app.send(task, chaos.chance.uniform(0, 0.06), lru_key=f"k{number % 7}")
            results.append((task, ledger.accept(result)))
        ledger.await_ends(ends + chaos.chance.randrange(5, 40))
        run = fleet.await_victim(chaos, pools)
        worker = fleet.workers[run.worker]
        if manner == "child":
            fleet.kill_child(run)
        elif manner == "freeze":
            fleet.freeze(worker)
            fleet.thaw_when_leases_passed_on(worker)
        else:
            fleet.kill(worker, with_children=manner == "group")

    app.await_idle(seconds=300)
    fleet.excuse_killed_children()
    unended = ledger.unended()
    failed = {
        result.id
        for task, result in results
        # As with a plain task: what its process died of is a failure.
        if task == "late" and result.id in unended and "WorkerLost" in repr(result.result)
    }
    ledger.assert_none_lost(but=failed)
    assert len(failed) <= len(fleet.killed_children)
    ledger.assert_repeats_are_excused()
    for excuse in fleet.handed_over:
        # At most what was on its way to a process; the rest was left to the others.
        assert len(ledger.needing(excuse)) <= SLOTS

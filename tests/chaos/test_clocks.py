"""Workers whose clocks are an hour wrong: all times are the store's."""

import datetime
import shutil
import subprocess
from contextlib import ExitStack, contextmanager

import pytest

from tests.chaos.ledger import Ledger
from tests.servers import eventually, unavailable
from tests.workers import FairApp

HOUR = 3600.0
LEASE_SECONDS = 1.5

#: A worker each, on a queue of its own, and how wrong its clock is, in seconds.
WRONG = {"fast": HOUR, "slow": -HOUR}


@contextmanager
def clock(wrong_by):
    """Let what is started meanwhile see another time of day."""
    program = shutil.which("faketime")
    if program is None:
        unavailable("there is no faketime")
    offset = f"{wrong_by:+.0f}s"
    told = subprocess.run(
        [program, "-f", offset, "env"], capture_output=True, text=True, check=True
    )
    library = next(line for line in told.stdout.splitlines() if line.startswith("LD_PRELOAD="))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", library.partition("=")[2])
        patch.setenv("FAKETIME", offset)
        # Clocks that are set wrong go on as fast as others.
        patch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        yield


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url):
    app = FairApp(
        tmp_path_factory.mktemp("clocks"),
        redis_url,
        module="clocks_app",
        ranch={"lease_seconds": LEASE_SECONDS},
    )
    yield app
    app.close()


@contextmanager
def worker(app, name, queue, wrong_by):
    """A worker of one queue, starting."""
    with ExitStack() as stack:
        with clock(wrong_by):
            process = stack.enter_context(
                app.worker("-Q", queue, name=name, concurrency=1, ready=False)
            )
        yield process


@pytest.fixture(scope="module")
def workers(app):
    with ExitStack() as stack:
        for started in [
            stack.enter_context(worker(app, queue, queue, wrong_by))
            for queue, wrong_by in WRONG.items()
        ]:
            started.await_log("ready.", seconds=60)
        yield


def now(app):
    """Return the store's time in seconds."""
    seconds, microseconds = app.records.time()
    return seconds + microseconds / 1_000_000


def await_time(app, seconds):
    eventually(lambda: now(app) >= seconds, 30, "the time has come")


pytestmark = pytest.mark.usefixtures("workers")

each_clock = pytest.mark.parametrize("queue", WRONG)


@each_clock
def test_eta_and_countdown_hold(app, queue):
    due = now(app) + 1.5
    eta = datetime.datetime.fromtimestamp(due, datetime.timezone.utc)
    at_eta = app.send("moments", lru_key="a", queue=queue, eta=eta)
    after_countdown = app.send("moments", lru_key="b", queue=queue, countdown=1.5)

    started, by_its_clock = at_eta.get(timeout=30)
    assert started >= due
    assert by_its_clock - started == pytest.approx(WRONG[queue], abs=60)
    assert after_countdown.get(timeout=30)[0] >= due


@each_clock
def test_what_is_not_expired_runs(app, queue):
    result = app.send("moments", lru_key="a", queue=queue, expires=50)

    assert result.get(timeout=30)


@each_clock
def test_what_has_expired_is_revoked(app, queue):
    app.ranch.pause("late", queue=queue)
    result = app.send("moments", lru_key="late", queue=queue, expires=0.5)
    await_time(app, now(app) + 1)
    app.ranch.resume("late", queue=queue)

    result.get(timeout=30, propagate=False)
    assert result.state == "REVOKED"


@each_clock
def test_what_a_worker_calls_or_retries_has_its_seconds_from_the_store(app, queue):
    before = now(app)
    called = app.send("call_moments", 1, 50, lru_key="a", queue=queue)
    retried = app.send("moments_at_second_try", lru_key="b", queue=queue, expires=50)

    called = app.client.AsyncResult(called.get(timeout=30))
    for result in (called, retried):
        assert result.get(timeout=30)[0] >= before + 1


def test_leases_and_heartbeats_hold(app):
    """Neither takes the other for dead, and whoever dies is missed in time."""
    ledger = Ledger(app)
    results = [
        ledger.accept(app.send("wait", lru_key="a", queue=queue)) for queue in (*WRONG, "doomed")
    ]
    with worker(app, "doomed", "doomed", HOUR) as doomed:
        eventually(lambda: ledger.starts == 3, 30, "all run")
        await_time(app, now(app) + 2 * LEASE_SECONDS)
        assert ledger.starts == 3
        counts = [app.engine.snapshot(queue) for queue in (*WRONG, "doomed")]
        assert [(each.leased, each.waiting) for each in counts] == [(1, 0)] * 3
        doomed.kill()
        ledger.excuse(f"doomed@{app.name}", [results[2].id], "its worker was killed")
    with worker(app, "heir", "doomed", -HOUR):
        eventually(lambda: ledger.starts == 4, 30, "what the dead one held runs again")
        for result in results:
            app.leave(result)
        ledger.await_all_ended()
        ledger.assert_none_lost()
        ledger.assert_repeats_are_excused()

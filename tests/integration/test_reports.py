"""What real workers report of the tasks they run, and of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from celery_ranch.observing.observer import Observer
from celery_ranch.scheduling.service import Tally, quantile_us
from tests.servers import eventually
from tests.workers import FairApp


def tallies(app: FairApp) -> dict[Any, Tally]:
    """What was ever counted, and of keys what was in the buckets of the last quarter of an hour."""
    queue, engine = app.name, app.engine
    found: dict[Any, Tally] = {each.key: each for each in engine.service(queue).tallies}
    for name in app.records.scan_iter(f"{app.name}:{{{queue}}}:service:10:*"):
        for field, amount in app.records.hgetall(name).items():
            what, _, key = field.partition("/")
            if key and what == "5f":
                found[key] = Tally(5, (key,), int(amount) + getattr(found.get(key), "finished", 0))
    return found


def await_finished(app: FairApp, count: int) -> Tally:
    def is_counted() -> Any:
        tally = tallies(app).get(None)
        return tally if tally and tally.finished == count else None

    tally: Tally = eventually(is_counted, 30, f"{count} tasks are reported")
    return tally


@pytest.mark.parametrize("pool", ["prefork", "threads", "eventlet"])
def test_a_worker_reports_what_ended_of_each_key(tmp_path: Any, redis_url: str, pool: str) -> None:
    app = FairApp(tmp_path, redis_url, ranch={"lease_seconds": 3.0})
    with app.worker(pool=pool, concurrency=1):
        for value in range(3):
            app.send("note", value, lru_key="acme").get(timeout=30)
        app.send("fail", "as it should", lru_key="bolt")
        app.send("reject", lru_key="bolt")
        app.send("retry_twice", "value", lru_key="bolt").get(timeout=30)
        tally = await_finished(app, 8)
        eventually(lambda: {"acme", "bolt"} <= {*tallies(app)}, 30, "keys are told of")
        found = tallies(app)

        assert (tally.failed, tally.cost) == (1, 8_000_000)
        assert sum(tally.waits.values()) == sum(tally.runs.values()) == 8
        assert (found["acme"].finished, found["bolt"].finished) == (3, 5)
    app.close()


def test_a_worker_that_is_stopped_has_told_all_and_is_gone_at_once(
    tmp_path: Any, redis_url: str
) -> None:
    app = FairApp(tmp_path, redis_url)
    with app.worker(concurrency=1) as worker:
        for value in range(3):
            app.send("note", value, lru_key="acme").get(timeout=30)
        assert worker.stop() == 0
    assert app.engine.watched()[0] == ()
    assert app.engine.snapshot(app.name).workers == 0
    assert tallies(app)[None].finished == 3
    app.close()


def test_waits_and_runs_are_measured_by_the_store_and_the_worker(
    tmp_path: Any, redis_url: str
) -> None:
    app = FairApp(tmp_path, redis_url, ranch={"lease_seconds": 3.0, "cost": "seconds"})
    with app.worker(pool="threads", concurrency=1):
        for _ in range(3):
            app.send("note", "value", 0.6, lru_key="acme")
        tally = await_finished(app, 3)

        # The second waits for the first, the third for both.
        assert 600_000 * 3 < tally.wait_us < 600_000 * 3 + 15_000_000
        assert (quantile_us(tally.waits, 1.0) or 0) > 1_100_000
        assert (quantile_us(tally.runs, 0.1) or 0) > 500_000
        assert tally.cost == tally.run_us > 1_700_000
    app.close()


def test_a_worker_says_how_it_is_and_is_forgotten_by_and_by(tmp_path: Any, redis_url: str) -> None:
    app = FairApp(tmp_path, redis_url, module="working_app", ranch={"lease_seconds": 3.0})
    with app.worker(pool="threads", concurrency=3) as worker:
        waiting = [app.send("wait", value, lru_key="acme") for value in range(2)]

        def is_busy() -> Any:
            found, _ = app.engine.watched()
            facts = found[0].facts if found else None
            return found[0] if facts and facts.slots_taken == 2 else None

        shown = eventually(is_busy, 30, "the worker says that two slots are taken")
        facts = shown.facts
        assert shown.worker.startswith(f"w1@{app.name}:")
        [row] = Observer(app.ranch).look().workers
        assert (row.is_alive, row.pid, row.capacity, row.leased) == (True, worker.pid, 3, 2)
        assert (shown.held, facts.queues, facts.capacity, facts.pid) == (
            2,
            (app.name,),
            3,
            worker.pid,
        )
        for result in waiting:
            app.leave(result)
            result.get(timeout=30)
    app.close()

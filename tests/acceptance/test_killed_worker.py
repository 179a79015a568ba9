"""A worker that is killed at once: nothing late-acknowledged is lost."""

import collections
import time

import pytest

from tests.servers import eventually

LEASE_SECONDS = 3.0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_a_killed_worker_held_is_run_by_another(fair_app, pool):
    app = fair_app(ranch={"lease_seconds": LEASE_SECONDS})
    values = [f"v{number}" for number in range(40)]
    with (
        app.worker(name="survivor", pool=pool),
        app.worker(name="victim", pool=pool) as victim,
    ):
        for number, value in enumerate(values):
            app.send("note_late", value, 0.2, lru_key=f"k{number % 4}")
        # It is in the middle of its work, with entries started and held.
        eventually(
            lambda: len(app.held_by("victim")) >= 2 and len(app.recorded("ended")) >= 4,
            30,
            "the victim at work",
        )
        victim.kill()
        held = app.held_by("victim")
        killed_at = time.monotonic()
        assert held

        eventually(
            lambda: set(app.recorded("ended")) == set(values), 60, "every value to have ended"
        )
        app.await_idle()
        seconds = time.monotonic() - killed_at

    started = collections.Counter(app.recorded("started"))
    # Only what the victim was running may have started a second time.
    assert sum(count - 1 for count in started.values()) <= len(held)
    assert max(started.values()) <= 2
    # Not a timing test: it bounds the wait by what was promised, generously.
    assert seconds < LEASE_SECONDS + 30


@pytest.mark.timeout(120)
def test_an_early_acknowledged_task_of_a_killed_worker_does_not_run_again(fair_app):
    app = fair_app(ranch={"lease_seconds": LEASE_SECONDS})
    early = app.send("note", "early", 30, lru_key="a")
    with app.worker(name="victim", concurrency=1) as victim:
        app.await_recorded("started", 1)
        # Its message is gone from the store, its slot is not free yet.
        eventually(lambda: app.is_acknowledged(early), 20, "the acknowledgement")
        victim.kill()
    with app.worker(name="survivor", concurrency=1):
        app.send("note", "next", lru_key="a").get(timeout=20)
        app.await_idle(seconds=60)

    assert app.recorded("started") == ["early", "next"]

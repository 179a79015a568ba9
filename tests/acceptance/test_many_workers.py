"""Several workers on one queue."""

import collections
import contextlib

import pytest

TASKS = 20_000


@pytest.mark.timeout(180)
def test_three_workers_never_run_an_entry_twice(fair_app):
    app = fair_app(celery={"task_ignore_result": True})
    entries = [app.entry("count", number, key=f"k{number % 50}") for number in range(TASKS)]
    for first in range(0, TASKS, 1_000):
        app.engine.enqueue(entries[first : first + 1_000])
    with contextlib.ExitStack() as stack:
        for name in ("w1", "w2", "w3"):
            stack.enter_context(app.worker(name=name, concurrency=2, ready=False))
        app.await_recorded("counted", TASKS, seconds=120)
        app.await_idle()

        counted = collections.Counter(app.recorded("counted"))
        held = [app.held_by(name) for name in ("w1", "w2", "w3")]

    assert len(counted) == TASKS
    assert set(counted.values()) == {1}
    assert held == [[], [], []]

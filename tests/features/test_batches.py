"""What is stored together runs like what is stored one by one."""

import uuid
from collections import Counter

import pytest
from celery import chord, group

from celery_ranch import submit

APP = "batches_app"

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def run():
    """What this test's tasks record under."""
    return f"run-{uuid.uuid4().hex[:8]}"


def doubles(app, count, **kwargs):
    return [app.signature("double", i, kwargs=kwargs) for i in range(count)]


def test_every_member_of_a_large_group_runs_once_and_is_waited_for(app, run):
    result = group(doubles(app, 1_200, run=run), app=app.client).apply_async(lru_key="acme")
    assert result.get(timeout=60) == [2 * i for i in range(1_200)]
    assert Counter(app.recorded(run)) == {f"{i} acme": 1 for i in range(1_200)}


def test_a_chord_s_body_follows_a_header_that_was_stored_together(app):
    header, body = doubles(app, 300), app.signature("total")
    result = chord(header, body, app=app.client).apply_async(lru_key="acme")
    assert result.get(timeout=60) == sum(2 * i for i in range(300))


def test_chords_that_are_members_of_a_group_are_finished(app):
    chords = [chord(doubles(app, 3), app.signature("total"), app=app.client) for _ in range(5)]
    result = group(chords, app=app.client).apply_async(lru_key="acme")
    assert result.get(timeout=60) == [6] * 5


def test_submitted_calls_of_many_keys_all_run(app, run):
    calls = [call.set(lru_key=f"key-{i % 7}") for i, call in enumerate(doubles(app, 100, run=run))]
    results = submit(app.client, calls)
    assert [result.get(timeout=60) for result in results] == [2 * i for i in range(100)]
    assert Counter(app.recorded(run)) == {f"{i} key-{i % 7}": 1 for i in range(100)}


def test_each_of_them_may_have_a_countdown_an_expiry_and_a_link(app, run):
    link = app.signature("double", kwargs={"run": run})
    options = {"lru_key": "acme", "countdown": 0.2, "expires": 600, "link": [link]}
    results = submit(app.client, [call.set(**options) for call in doubles(app, 5)])
    assert [result.get(timeout=60) for result in results] == [2 * i for i in range(5)]
    assert sorted(app.await_recorded(run, 5)) == [f"{2 * i} acme" for i in range(5)]


def test_a_task_s_callback_may_be_a_group(app, worker, run):
    callback = group(app.signature("double", kwargs={"run": run}) for _ in range(20))
    call = app.signature("double", 4).set(lru_key="acme")
    call.link(callback)
    assert call.apply_async().get(timeout=60) == 8
    assert app.await_recorded(run, 20) == ["8 acme"] * 20
    assert "refused callback publish" not in worker.log


def expected_of_spread(count):
    mapped = {f"{i} mapped": 1 for i in range(count)}
    return {**mapped, **{f"{i} acme": 2 for i in range(count)}}


def test_a_running_task_submits_for_its_own_key_and_knows_its_children(app, run):
    assert app.send("spread", 30, run, lru_key="acme").get(timeout=60)
    assert Counter(app.await_recorded(run, 90)) == expected_of_spread(30)


def test_tasks_that_run_side_by_side_have_batches_of_their_own(app, broker, run):
    # Green threads without an event loop, native ones with it.
    pool = "gevent" if broker == "redis" else "threads"
    runs = [f"{run}-{i}" for i in range(4)]
    options = ("-Q", f"{app.name}-{pool}")
    with app.worker(*options, name=pool, pool=pool, concurrency=4):
        results = [
            app.send("spread", 60, each, lru_key=each, queue=f"{app.name}-{pool}") for each in runs
        ]
        assert [result.get(timeout=60) for result in results] == [True] * 4
    for each in runs:
        recorded = Counter(app.await_recorded(each, 180))
        assert recorded == {
            task.replace("acme", each): count for task, count in expected_of_spread(60).items()
        }

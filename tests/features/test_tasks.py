"""Fair tasks end in every way that Celery has, with what plain tasks leave behind."""

import itertools

import celery
import pytest
from celery.exceptions import MaxRetriesExceededError, TimeLimitExceeded, WorkerLostError

from tests.servers import eventually

APP = "tasks_app"
CELERY = {
    # Nothing of a fair task is the broker's to give to somebody else.
    "broker_transport_options": {"visibility_timeout": 1},
}
RANCH = {"max_deliveries": 4}

pytestmark = pytest.mark.usefixtures("worker")

BOTH = pytest.mark.parametrize("key", [None, "a"], ids=["plain", "fair"])


def ran(app, result):
    return app.recorded(f"ran:{result.id}")


def await_ran(app, result, count):
    return app.await_recorded(f"ran:{result.id}", count)


def traces(app, result):
    """Return what a task that has ended left for others to see."""
    meta = result._get_task_meta()
    return {
        "state": result.state,
        "result": repr(result.result).replace(result.id, "ID"),
        "children": meta.get("children"),
        "has_traceback": bool(meta.get("traceback")),
        "runs": len(ran(app, result)),
        "signals": sorted(app.recorded(f"signals:{result.id}")),
    }


def send_both(app, task, *args, **options):
    """Send a plain and a fair task; they run side by side."""
    return [app.send(task, *args, lru_key=key, **options) for key in (None, "a")]


# What can be told from the result is the same, whether the task has a key or not.


@pytest.mark.parametrize(
    "task, args, state",
    [
        ("succeed", ["value"], "SUCCESS"),
        ("fail", ["message"], "FAILURE"),
        ("retry_until", [2, "countdown"], "SUCCESS"),
        ("retry_until", [2, "eta"], "SUCCESS"),
        ("retry_until", [2, "at once"], "SUCCESS"),
        ("retry_until_late", [2, "countdown"], "SUCCESS"),
        ("give_up", [], "FAILURE"),
        ("give_up", ["given"], "FAILURE"),
        ("retry_with_others", ["first"], "SUCCESS"),
        ("autoretry", [True], "FAILURE"),
        ("fail_acknowledged", [], "FAILURE"),
        ("fail_unacknowledged", [], "FAILURE"),
        ("time_out", [], "FAILURE"),
        ("time_out_acknowledged", [], "FAILURE"),
        ("time_out_softly", [True], "SUCCESS"),
        ("time_out_softly", [False], "FAILURE"),
    ],
)
def test_a_fair_task_leaves_the_same_state_result_and_signals_as_a_plain_one(
    app, task, args, state
):
    plain, fair = send_both(app, task, *args)
    for result in (plain, fair):
        result.get(timeout=30, propagate=False)
    app.await_idle()

    # The last signals come after the result.
    def differ():
        return f"{traces(app, fair)} is {traces(app, plain)}"

    eventually(lambda: traces(app, fair) == traces(app, plain), 20, differ())
    assert fair.state == state


@pytest.mark.parametrize(
    "task, args",
    [
        ("ignore", []),
        ("ignore_late", []),
        ("reject_late", []),
        ("reject_early", [False]),
        ("reject_early", [True]),
    ],
)
def test_an_ignored_or_rejected_fair_task_is_done_with_as_a_plain_one_is(app, task, args):
    plain, fair = send_both(app, task, *args)
    for result in (plain, fair):
        await_ran(app, result, 1)
        app.await_recorded(f"signals:{result.id}", 3)
    app.await_idle()

    # From Celery 5.7 on, what was rejected for good is a failure; before, it is pending.
    eventually(lambda: fair.state == plain.state, 20, f"{fair.state} is {plain.state}")
    assert len(ran(app, fair)) == len(ran(app, plain)) == 1
    assert app.engine.dead_letters(app.name) == ()


# Retries


def test_a_retried_task_waits_for_its_countdown_in_the_state_retry(app):
    result = app.send("autoretry", lru_key="a")
    eventually(lambda: result.state == "RETRY", 20, "it is to be retried")
    with pytest.raises(OSError, match="busy"):
        result.get(timeout=30)

    first, second = [float(when) for when in ran(app, result)]
    assert second - first >= 0.9


def test_a_retry_under_late_acknowledgement_is_a_new_message(app):
    result = app.send("retry_until_late", 2, "countdown", lru_key="a")

    assert result.get(timeout=30) == 2
    assert ran(app, result) == ["0:False", "1:False", "2:False"]


def test_a_task_that_retries_too_often_ends_with_the_given_error_or_celerys(app):
    without, given = app.send("give_up", lru_key="a"), app.send("give_up", "given", lru_key="a")

    with pytest.raises(MaxRetriesExceededError):
        without.get(timeout=30)
    with pytest.raises(KeyError, match="given"):
        given.get(timeout=30)


def test_a_retry_may_have_other_arguments(app):
    result = app.send("retry_with_others", "first", lru_key="a")

    assert result.get(timeout=30) == ["second", "more"]
    assert ran(app, result) == ["first", "second"]


def test_autoretry_with_backoff_and_jitter_goes_on_until_the_task_succeeds(app):
    result = app.send("autoretry_with_jitter", lru_key="a")

    assert result.get(timeout=30) == 2
    assert len(ran(app, result)) == 3


# Rejections, lost processes and time limits: the message comes back, or does not


@BOTH
def test_a_task_that_rejects_its_message_with_requeue_runs_again_as_redelivered(app, key):
    result = app.send("reject_until_third", lru_key=key)

    assert result.get(timeout=30) == "third"
    assert [run.split(":")[1] for run in ran(app, result)] == ["False", "True", "True"]


def test_a_task_that_always_rejects_with_requeue_waits_longer_each_time_and_is_buried(app):
    result = app.send("reject_always", lru_key="a")
    other = app.send("succeed", "meanwhile", lru_key="a")
    assert other.get(timeout=30) == "meanwhile"
    letter = app.await_dead_letter()

    assert letter.entry_id == result.id
    assert letter.deliveries == 5
    times = [float(when) for when in ran(app, result)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    for gap, least in zip(gaps, [0.1, 0.2, 0.4, 0.8], strict=True):
        assert gap >= least * 0.9
    assert app.engine.delete_dead(app.name, letter.entry_id)


@BOTH
def test_a_lost_process_fails_the_task_unless_it_wants_its_message_back(app, key):
    # Celery may take five seconds to notice; so both at once.
    lost = app.send("lose_process", lru_key=key)
    requeued = app.send("lose_process_requeued", lru_key=key)
    with pytest.raises(WorkerLostError):
        lost.get(timeout=30)

    assert requeued.get(timeout=30) == "second"
    assert len(ran(app, lost)) == 1
    assert len(ran(app, requeued)) == 2


@BOTH
def test_a_hard_time_limit_gives_the_message_back_only_without_acks_on_failure_or_timeout(app, key):
    once = app.send("time_out_acknowledged", lru_key=key)
    again = app.send("time_out_unacknowledged", lru_key=key)
    with pytest.raises(TimeLimitExceeded):
        once.get(timeout=30)

    if celery.VERSION < (5, 5):
        # It gives no message back for a time limit.
        with pytest.raises(TimeLimitExceeded):
            again.get(timeout=30)
    else:
        await_ran(app, again, 2)
    assert len(ran(app, once)) == 1


def test_track_started_says_so_while_the_task_runs(app):
    for result in send_both(app, "started"):
        eventually(lambda result=result: result.state == "STARTED", 20, "it has started")
        assert result.info["pid"]
        app.leave(result)
        assert result.get(timeout=20) == "left"


def test_the_broker_holds_nothing_of_a_running_fair_task_so_its_timeout_repeats_none(app, broker):
    """A plain task that takes longer than `visibility_timeout` is given to a second worker."""
    if broker != "redis":
        pytest.skip("RabbitMQ has no visibility timeout")
    result = app.send("long_late", lru_key="a")
    await_ran(app, result, 1)
    assert result.id not in str(app.records.hgetall("unacked"))
    plain = app.send("long_late")
    await_ran(app, plain, 1)
    assert plain.id in str(app.records.hgetall("unacked"))

    for each in (result, plain):
        app.leave(each)
        assert each.get(timeout=20) == "left"
    assert len(ran(app, result)) == 1


# A Request and a Strategy of the user's


#: How many hooks Celery calls.
HOOKS = {"succeeds": 2, "fails": 3, "is retried": 6, "takes too long": 4}


@pytest.mark.parametrize("how", HOOKS)
def test_hooks_of_a_users_request_and_strategy_are_called_as_for_a_plain_task(app, how):
    plain, fair = send_both(app, "hooked", how)
    for result in (plain, fair):
        result.get(timeout=30, propagate=False)
    app.await_idle()
    expected = app.await_recorded(f"hooks:{plain.id}", HOOKS[how])

    got = app.await_recorded(f"hooks:{fair.id}", HOOKS[how])
    assert sorted(got) == sorted(expected)
    assert fair.state == plain.state


def test_in_the_end_neither_the_worker_nor_the_store_holds_anything(app, worker):
    app.await_idle()
    stats = app.client.control.inspect(timeout=20, limit=1).stats()
    (ours,) = [each["celery_ranch"] for each in stats.values()]

    assert (ours["leased"], ours["slots_taken"]) == (0, 0)
    app.check()

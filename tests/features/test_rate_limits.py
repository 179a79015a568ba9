"""A task type's rate limit holds for fair tasks, and holds nobody else up."""

import pytest

APP = "rates_app"

pytestmark = pytest.mark.usefixtures("worker")


def names_and_times(app, kind, count):
    recorded = [each.split() for each in app.await_recorded(kind, count)]
    return [name for name, _ in recorded], [float(time) for _, time in recorded]


def test_a_limited_type_runs_at_its_rate_and_in_turn_of_its_keys(app):
    def commands():
        told = app.records.info("commandstats")
        return sum(each["calls"] for name, each in told.items() if "evalsha" in name)

    before = commands()
    for key in "ab":
        for number in range(30):
            app.send("twenty", "turns", f"{key}{number}", lru_key=key)
    names, times = names_and_times(app, "turns", 60)
    app.await_idle()

    # Not faster than the rate: a token's worth of what Celery's clock grants.
    assert times[-1] - times[0] >= 59 / 20 * 0.95
    # About as fast, on a computer that may have much else to do.
    assert times[-1] - times[0] < 3 * 60 / 20
    # Both are served alike, from when both have something waiting at the worker.
    shared = [name[0] for name in names[:40]]
    assert abs(shared.count("a") - shared.count("b")) <= 12
    # Nobody asks in a circle for what may not run yet.
    assert commands() - before < 60 * 15


def test_a_new_key_need_not_wait_behind_another_ones_flood_of_a_limited_type(app):
    for number in range(60):
        app.send("twenty", "flooded", f"flood{number}", lru_key="flood")
    app.await_recorded("flooded", 5)
    app.send("twenty", "flooded", "quiet", lru_key="quiet")
    so_far = len(app.recorded("flooded"))
    names, _ = names_and_times(app, "flooded", 61)

    assert names.index("quiet") <= so_far + 5


def test_a_limited_type_holds_up_no_other_type_of_the_same_key(app):
    for number in range(3):
        app.send("ten_a_minute", "slow", number, lru_key="held")
    app.await_recorded("slow", 1)
    for number in range(20):
        app.send("unlimited", "fast", number, lru_key="held")
    app.await_recorded("fast", 20)

    # Before kombu 5.7 a bucket that was full for long lets two through.
    assert len(app.recorded("slow")) < 3
    # Raised, the limit holds for what was held back by the old one as well.
    app.client.control.rate_limit("rates_app.ten_a_minute", "100/s")
    app.await_recorded("slow", 3)
    app.await_idle()


def test_fair_and_plain_tasks_of_a_type_share_its_rate_and_both_go_on(app):
    for number in range(15):
        app.send("twenty", "mixed", f"plain{number}")
        app.send("twenty", "mixed", f"fair{number}", lru_key="mixed")
    names, times = names_and_times(app, "mixed", 30)

    assert times[-1] - times[0] >= 29 / 20 * 0.95
    first = [name.rstrip("0123456789") for name in names[:20]]
    assert {"plain", "fair"} == {*first}
    app.await_idle()


def test_what_waits_for_its_rate_is_given_back_when_the_worker_stops(app):
    def limit(name, rate):
        control = app.client.control
        control.rate_limit("rates_app.twenty", rate, [f"{name}@{app.name}"], reply=True, timeout=20)

    with app.worker(name="w2") as other:
        limit("w1", "1/h")
        limit("w2", "1/h")
        for number in range(8):
            app.send("twenty", "stopped", number, lru_key=f"stopped{number}")
        app.await_recorded("stopped", 1)
        limit("w1", "100/s")
        assert other.stop() == 0

    names, _ = names_and_times(app, "stopped", 8)
    assert sorted(names) == list("01234567")
    app.await_idle()
    app.check()

"""Nobody gets more than a share of real workers, whatever they do.

Both slots are held while tasks are submitted, so that the order in which tasks
start is the rule's own, a place or two aside: there are two processes.
"""

import collections
import contextlib

import pytest

from tests.workers import FairApp

TIMED = "by-seconds"

#: How many tasks of others may start before one that waited for nobody: as many
#: as there are slots, and the turn of each key that came back in the same moment.
PLACES = 4


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url):
    app = FairApp(
        tmp_path_factory.mktemp("adversaries"),
        redis_url,
        module="adversaries_app",
        ranch={
            "queues": {TIMED: {"cost": "seconds"}},
            "max_deliveries": 3,
            # What a worker has taken ahead it keeps, whoever comes.
            "lookahead_seconds": 0,
        },
    )
    yield app
    app.close()


@pytest.fixture(scope="module", autouse=True)
def worker(app):
    with app.worker("-Q", f"{app.name},{TIMED}") as worker:
        yield worker


@pytest.fixture
def held_slots(app, request):
    """Keeps both slots busy while tasks are submitted."""
    kind = request.node.name

    @contextlib.contextmanager
    def hold():
        holding = [app.send("hold", kind, lru_key="holder") for _ in range(2)]
        app.await_recorded(f"{kind}-held", 2)
        yield kind
        for task in holding:
            app.leave(task)

    return hold


def starts(app, kind, count):
    """Return whose tasks were started, in their order, when there are so many."""
    return app.await_recorded(kind, count)[:count]


def test_a_quiet_tenant_does_not_wait_for_a_flood(app, held_slots):
    with held_slots() as kind:
        for _ in range(300):
            app.send("note", kind, lru_key="flood")
        app.send("note", kind, lru_key="quiet")

    assert "quiet" in starts(app, kind, PLACES)
    app.await_idle()


def test_a_tenant_of_twenty_users_gets_what_a_tenant_of_one_gets(app, held_slots):
    tenants = ("many", "one", "two")
    with held_slots() as kind:
        for number in range(60):
            app.send("note", kind, lru_key=("many", str(number % 20)))
        for tenant in tenants[1:]:
            for _ in range(20):
                app.send("note", kind, lru_key=(tenant, "user"))

    served = collections.Counter(starts(app, kind, 45))
    assert all(13 <= served[tenant] <= 17 for tenant in tenants), served
    app.await_idle()


def test_new_users_of_a_tenant_do_not_go_before_another_tenant(app, held_slots):
    with held_slots() as kind:
        for number in range(200):
            app.send("note", kind, lru_key=("inventive", str(number)))
        app.send("note", kind, lru_key=("quiet", "user"))

    assert "quiet" in starts(app, kind, PLACES)
    app.await_idle()


def test_long_tasks_that_cost_their_seconds_are_started_less_often(app, held_slots):
    with held_slots() as kind:
        for _ in range(8):
            app.send("note", kind, 0.5, lru_key="long", queue=TIMED)
        for _ in range(60):
            app.send("note", kind, 0.01, lru_key="short", queue=TIMED)

    # By turns all of the long ones would be among the first twenty. What a first
    # one takes is not known, so both slots may start one before it is.
    served = collections.Counter(starts(app, kind, 20))
    assert served["long"] <= 5, served
    app.await_idle()


@pytest.mark.parametrize("task, arguments", [("retry", (4,)), ("give_back", ())])
def test_a_storm_of_tasks_that_come_back_takes_one_turn_in_two(app, held_slots, task, arguments):
    with held_slots() as kind:
        for _ in range(20):
            app.send(task, kind, *arguments, lru_key="storm")
        for _ in range(30):
            app.send("note", kind, 0.01, lru_key="steady")

    served = collections.Counter(starts(app, kind, 40))
    assert served["steady"] >= 17, served
    app.await_idle()


def test_who_comes_again_as_soon_as_served_takes_one_turn_in_two(app, held_slots):
    with held_slots() as kind:
        for _ in range(4):
            app.send("come_again", kind, 20, lru_key="trickle")
        for _ in range(40):
            app.send("note", kind, lru_key="steady")

    served = collections.Counter(starts(app, kind, 60))
    assert served["steady"] >= 27, served
    app.await_idle()

"""When an application's weight function is asked, what it is told, and what holds by it."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from celery_ranch import ConfigurationError, LRUKeyMetadata, Ranch, configure, lru_task
from celery_ranch.ranch import weights
from celery_ranch.scheduling.model import OutcomeKind
from tests.conformance.histories import settle
from tests.servers import eventually

QUEUE = "celery"

Weigh = Callable[[Any, LRUKeyMetadata], Any]


class Weigher:
    """A weight function that a test steers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, LRUKeyMetadata]] = []
        self.weigh: Weigh = lambda key, metadata: metadata.weight

    def __call__(self, key: Any, metadata: LRUKeyMetadata) -> Any:
        try:
            return self.weigh(key, metadata)
        finally:
            self.asked.append((key, metadata))

    def await_asked(self, times: int) -> None:
        eventually(lambda: len(self.asked) >= times, 20, f"asked {times} times")


@pytest.fixture
def weigher() -> Weigher:
    return Weigher()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys be weighed more often than once a second, for tests that do not mind."""
    monkeypatch.setattr(weights, "_INTERVAL_SECONDS", 0.05)


@pytest.fixture
def app(redis_url: str, redis_prefix: str) -> Iterator[Celery]:
    app = Celery("weights", broker="memory://", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    yield app
    Ranch(app).weights.function = None
    is_over = lambda: not Ranch(app).weights._waiting  # noqa: E731
    eventually(is_over, 20, "nothing waits to be weighed")
    assert Ranch(app).check() == ()
    Ranch(app).engine.close()
    app.close()


@pytest.fixture
def render(app: Celery, weigher: Weigher) -> Any:
    @lru_task(app, shared=False, name="render", weight_function=weigher)
    def render(report: int) -> None: ...

    return render


def share(app: Celery, key: Any = "acme") -> float:
    return Ranch(app).key(key).share


def await_share(app: Celery, expected: float, key: Any = "acme") -> None:
    is_so = lambda: math.isclose(share(app, key), expected)  # noqa: E731
    eventually(is_so, 20, f"{key} has share {expected}")


def submit_until(render: Any, is_so: Callable[[], bool], what: str, key: Any = "acme") -> None:
    """Call the task again and again until something is so."""

    def submitted() -> bool:
        render.lru_delay(key, 0)
        return is_so()

    eventually(submitted, 20, what)


# -- what holds ----------------------------------------------------------------------------


def test_what_it_returns_is_the_key_s_weight(app: Celery, render: Any, weigher: Weigher) -> None:
    weigher.weigh = lambda key, _: {"acme": 0.25, "bolt": 4}[key]
    for key in ("acme", "bolt"):
        render.lru_delay(key, 1)
    await_share(app, 4.0)
    await_share(app, 0.25, "bolt")
    assert render.get_client_metadata("acme")["weight"] == 0.25


def test_it_goes_over_a_weight_set_by_hand_which_it_is_told(
    app: Celery, render: Any, weigher: Weigher
) -> None:
    weigher.weigh = lambda _, metadata: metadata.weight / 2
    render.lru_delay("acme", 1, priority_weight=0.5)
    await_share(app, 4.0)
    weigher.asked.clear()
    # What it said itself it is not told: its answer would grow with each asking.
    submit_until(render, lambda: len(weigher.asked) >= 2, "asked twice more")
    assert {metadata.weight for _, metadata in weigher.asked} == {0.5}
    assert share(app) == 4.0
    render.set_priority_weight("acme", 2)
    submit_until(render, lambda: share(app) == 1.0, "the new weight halved")


def test_a_weight_by_hand_holds_where_it_returns_that(
    app: Celery, render: Any, weigher: Weigher
) -> None:
    weigher.weigh = lambda *_: 0.5
    render.lru_delay("acme", 1)
    await_share(app, 2.0)
    weigher.weigh = lambda _, metadata: metadata.weight
    submit_until(render, lambda: share(app) == 1.0, "the weight by hand")


def test_it_is_asked_about_paths_by_their_tuples(
    app: Celery, render: Any, weigher: Weigher
) -> None:
    weigher.weigh = lambda key, _: 0.5 if key == ("acme", "alice") else 1
    render.lru_delay(("acme", "alice"), 1)
    await_share(app, 2.0, ("acme", "alice"))
    assert share(app) == 1.0


# -- what it is told -----------------------------------------------------------------------


def test_it_is_told_what_is_known_of_the_key(app: Celery, render: Any, weigher: Weigher) -> None:
    render.set_custom_data("acme", "cores", [4])
    render.apply_async((1,), lru_key="acme", countdown=100)
    weigher.await_asked(1)
    before = time.time()
    render.lru_delay("acme", 2, tags={"tier": "gold"}, priority_weight=4)
    render.lru_delay("acme", 3)
    (lease,) = Ranch(app).engine.lease("worker", [QUEUE], 1).leases
    settle(Ranch(app).engine, lease, OutcomeKind.COMPLETED, worker="worker")
    submit_until(render, lambda: len(weigher.asked) >= 2, "asked again")
    key, first = weigher.asked[0]
    last = weigher.asked[1][1]
    assert (key, first.weight, first.tags, first.custom_data) == ("acme", 1.0, None, {"cores": [4]})
    assert (first.last_execution, first.pending) == (None, 1)
    assert before - 60 < first.timestamp <= time.time()
    assert (last.weight, last.tags, last.custom_data) == (4.0, {"tier": "gold"}, {"cores": [4]})
    assert last.timestamp == last.last_execution
    assert last.last_execution is not None
    assert before - 5 < last.last_execution < time.time() + 5
    assert last.pending >= 3


# -- how often, and in whose way -----------------------------------------------------------


def test_it_is_asked_at_most_once_a_second_of_a_key(
    render: Any, weigher: Weigher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    began_at = time.monotonic()
    submit_until(render, lambda: len(weigher.asked) >= 3, "asked three times")
    assert len(weigher.asked) <= time.monotonic() - began_at + 1


def test_a_batch_of_a_thousand_asks_once_of_a_key(render: Any, weigher: Weigher) -> None:
    render.lru_map("acme", range(1_000))
    weigher.await_asked(1)
    render.lru_delay("bolt", 1)
    weigher.await_asked(2)
    assert [key for key, _ in weigher.asked] == ["acme", "bolt"]


def test_a_function_that_takes_its_time_is_in_no_call_s_way(
    app: Celery, render: Any, weigher: Weigher
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def weigh(key: Any, metadata: LRUKeyMetadata) -> float:
        begun.set()
        assert may_end.wait(30)
        return 0.5

    weigher.weigh = weigh
    render.lru_delay("acme", 1)
    assert begun.wait(20)
    for number in range(50):
        render.lru_delay(f"key {number}", 1)
    assert render.get_system_status()["backlog_size"] == 51
    assert not weigher.asked
    may_end.set()
    await_share(app, 2.0)
    weigher.await_asked(51)


def test_no_more_keys_wait_to_be_weighed_than_there_is_room_for(
    app: Celery, render: Any, weigher: Weigher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_MOST_KEYS", 3)
    begun, may_end = threading.Event(), threading.Event()

    def weigh(key: Any, metadata: LRUKeyMetadata) -> float:
        begun.set()
        assert may_end.wait(30)
        return 1

    weigher.weigh = weigh
    render.lru_delay("acme", 1)
    assert begun.wait(20)
    for number in range(9):
        render.lru_delay(f"key {number}", 1)
    assert len(Ranch(app).weights._waiting) == 3
    may_end.set()
    weigher.await_asked(4)
    submit_until(render, lambda: weigher.asked[-1][0] == "key 8", "noted again", "key 8")


def test_nothing_is_asked_and_no_thread_is_there_without_a_function(app: Celery) -> None:
    task = lru_task(app, shared=False, name="plain")(nothing)
    task.lru_delay("acme")
    Ranch(app).weights.note(QUEUE, ("acme",))
    assert not Ranch(app).weights._waiting
    assert not Ranch(app).weights._is_running


def test_a_forked_child_asks_by_itself(app: Celery, render: Any, weigher: Weigher) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def weigh(key: Any, metadata: LRUKeyMetadata) -> float:
        begun.set()
        return 1.0 if may_end.wait(30) else 100.0

    weigher.weigh = weigh
    render.lru_delay("busy", 1)
    assert begun.wait(20)
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            weigher.weigh = lambda *_: 0.5
            render.lru_delay("acme", 1)
            await_share(app, 2.0)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    may_end.set()
    assert share(app) == 2.0


# -- what goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [0, -1, 0.009, 101, None, "2", True, float("nan"), float("inf")], ids=repr
)
def test_an_answer_that_is_no_weight_changes_nothing_and_is_told_once(
    app: Celery, render: Any, weigher: Weigher, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    weigher.weigh = lambda *_: 0.5
    render.lru_delay("acme", 1)
    await_share(app, 2.0)
    weigher.weigh = lambda *_: answer
    weigher.asked.clear()
    with caplog.at_level(logging.ERROR):
        submit_until(render, lambda: len(weigher.asked) >= 2, "asked twice more")
        submit_until(render, lambda: bool(caplog.records), "told")
    assert share(app) == 2.0
    (told,) = caplog.messages
    assert f"'acme': {answer!r} is not" in told
    assert "0.01 to 100" in told


def test_a_function_that_fails_changes_nothing_and_is_asked_again(
    app: Celery, render: Any, weigher: Weigher, caplog: pytest.LogCaptureFixture
) -> None:
    weigher.weigh = lambda key, _: {"bolt": 0.5}[key]
    with caplog.at_level(logging.ERROR):
        render.lru_delay("acme", 1)
        weigher.await_asked(1)
        submit_until(render, lambda: len(weigher.asked) >= 2, "asked again")
        render.lru_delay("bolt", 1)
        await_share(app, 2.0, "bolt")
    (told,) = caplog.records
    assert "'acme'" in told.getMessage()
    assert told.exc_info is not None
    assert isinstance(told.exc_info[1], KeyError)
    assert share(app) == 1.0
    weigher.weigh = lambda *_: 0.25
    submit_until(render, lambda: share(app) == 4.0, "it works again")


@pytest.mark.parametrize("function", ["module:name", 2.0, {}])
def test_what_cannot_be_called_is_refused_and_changes_nothing(
    app: Celery, weigher: Weigher, function: Any
) -> None:
    configure(app, weight_function=weigher)
    for call in (
        lambda: lru_task(app, weight_function=function),
        lambda: configure(app, weight_function=function),
    ):
        with pytest.raises(ConfigurationError, match="weight_function"):
            call()
    assert Ranch(app).weights.function is weigher


def test_tasks_without_a_function_leave_the_application_s_and_another_takes_its_place(
    app: Celery, weigher: Weigher, caplog: pytest.LogCaptureFixture
) -> None:
    lru_task(app, weight_function=weigher)
    lru_task(app)
    configure(app)
    lru_task(app, weight_function=weigher)
    assert Ranch(app).weights.function is weigher
    assert not caplog.messages
    other = Weigher()
    lru_task(app, weight_function=other)
    assert Ranch(app).weights.function is other
    assert "takes the place" in caplog.text


def nothing() -> None:
    """A task's function."""

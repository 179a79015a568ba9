"""What an observer tells of queues, and that it tells no more than it knows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from celery_ranch import ConfigurationError, Ranch
from celery_ranch.observing.observer import Observer
from celery_ranch.observing.status import Flow, KeyStatus, QueueStatus
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import Entry, KeyPath, Outcome, OutcomeKind
from celery_ranch.scheduling.service import ServiceReport, Tally, WorkerFacts
from tests.servers import eventually

SECOND = 1_000_000


@pytest.fixture(params=["memory", "redis"])
def ranch(request: pytest.FixtureRequest, redis_url: str, redis_prefix: str) -> Iterator[Ranch]:
    app = Celery("observed", set_as_current=False)
    if request.param == "redis":
        app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    else:
        app.conf.celery_ranch = {"url": "memory://"}
    ranch = Ranch(app)
    yield ranch
    ranch.engine.close()


def ago(seconds: float) -> int:
    return time.time_ns() // 1_000 - int(seconds * SECOND)


def put(ranch: Ranch, key: str | KeyPath, count: int, *, wait: float = 0, **facts: Any) -> None:
    """Store entries of a key that could have run for so many seconds."""
    path = (key,) if isinstance(key, str) else key
    name = f"{key}-{time.time_ns()}"
    entries = [Entry(f"{name}-{n}", path, "q", b"", **facts) for n in range(count)]
    assert ranch.engine.enqueue(entries, now_us=ago(wait)).stored == count


def many(ranch: Ranch, count: int) -> None:
    entries = [Entry(f"e{count}-{n}", (f"k{n}",), "q", b"") for n in range(count)]
    for start in range(0, count, 1_000):
        ranch.engine.enqueue(entries[start : start + 1_000])


def ran(key: str | KeyPath | None, count: int, *, level: int = 5, cost: int = SECOND) -> Tally:
    path = (key,) if isinstance(key, str) else key
    tally = Tally(level, path)
    for _ in range(count):
        tally.count(250_000, 1_000_000, cost, failed=False)
    return tally


def report(ranch: Ranch, *tallies: Tally, seconds_ago: float = 0) -> None:
    """Report what ran of keys, and of all together."""
    facts = WorkerFacts(("q",), "here", 7, "1.0", 4, 3, 2, 1, 0.5)
    of_all: dict[int, Tally] = {}
    for tally in tallies:
        of_all.setdefault(tally.level, Tally(tally.level)).add(tally)
    every = (*of_all.values(), *tallies)
    ranch.engine.report("w", ServiceReport(facts, {"q": every}), now_us=ago(seconds_ago))


def look(ranch: Ranch, **options: Any) -> QueueStatus:
    [queue] = Observer(ranch, **options).look().queues
    return queue


def shown(queue: QueueStatus) -> dict[str, KeyStatus]:
    return {"/".join(each.key): each for each in queue.keys}


def until(found: Callable[[], bool], looks: int, what: str) -> None:
    for _ in range(looks):
        if found():
            return
    pytest.fail(f"after {looks} looks it was not so that {what}")


# -- counts and keys -----------------------------------------------------------------


def test_where_nothing_is_stored_there_is_nothing_to_see(ranch: Ranch) -> None:
    status = Observer(ranch).look()
    assert (status.queues, status.workers, status.more_queues) == ((), (), 0)
    assert Observer(ranch).look("q").queues[0].waiting == 0


def test_what_is_shown_and_the_others_add_up(ranch: Ranch) -> None:
    many(ranch, 500)
    put(ranch, ("acme", "alice"), 30)
    put(ranch, ("acme", "bob"), 20, due_in_us=60 * SECOND)
    ranch.engine.lease("w", ["q"], 40)
    queue = look(ranch, top=3)
    outermost = [each for each in queue.keys if len(each.key) == 1]
    assert (queue.waiting, queue.delayed, queue.leased) == (490, 20, 40)
    for name in ("waiting", "delayed", "leased"):
        of_shown = sum(getattr(each, name) for each in outermost)
        assert of_shown + getattr(queue.other, name) == getattr(queue, name)
    assert len(outermost) <= 4 * 3
    assert queue.other.keys == queue.levels[0].keys - sum(
        level.is_racing for each in outermost for level in each.levels
    )


def test_a_flood_is_seen_at_the_first_look_and_stands_first(ranch: Ranch) -> None:
    many(ranch, 2_000)
    put(ranch, "flood", 1_000)
    put(ranch, "flood", 1_000)
    observer = Observer(ranch, top=5)
    until(lambda: observer.look().queues[0].keys[0].key == ("flood",), 5, "the flood is first")


def test_a_key_that_waits_longest_is_found_and_not_lost_again(ranch: Ranch) -> None:
    many(ranch, 800)
    put(ranch, "old", 1, wait=500)
    ranch.engine.pause("q", ("old",))
    observer = Observer(ranch, top=2)
    until(lambda: "old" in shown(observer.look().queues[0]), 60, "the paused key is shown")
    for _ in range(3):
        [queue] = observer.look().queues
        assert shown(queue)["old"].is_paused
        assert 499 < (queue.oldest_wait or 0) < 560


def test_a_path_is_shown_with_what_is_above_it(ranch: Ranch) -> None:
    put(ranch, ("acme", "alice"), 3, wait=30)
    put(ranch, ("acme", "bob"), 2, wait=10)
    keys = shown(look(ranch))
    assert (keys["acme"].waiting, keys["acme"].children, keys["acme/bob"].waiting) == (5, 2, 2)
    assert keys["acme"].oldest_wait == keys["acme/alice"].oldest_wait


def test_a_key_that_is_served_as_fast_as_it_comes_is_shown(ranch: Ranch) -> None:
    put(ranch, "quick", 1)
    [lease] = ranch.engine.lease("w", ["q"], 1).leases
    ranch.engine.settle("w", [Outcome(OutcomeKind.COMPLETED, "q", lease.entry_id, lease.number)])
    report(ranch, ran("quick", 9))
    [quick] = look(ranch).keys
    assert (quick.key, quick.waiting, quick.flow.run.count) == (("quick",), 0, 9)


def test_levels_are_told_apart(ranch: Ranch) -> None:
    put(ranch, "a", 3, level=2)
    put(ranch, "a", 4, level=7)
    ranch.engine.lease("w", ["q"], 1)
    queue = look(ranch)
    assert [(each.level, each.waiting, each.leased, each.keys) for each in queue.levels] == [
        (2, 2, 1, 1),
        (7, 4, 0, 1),
    ]
    [a] = queue.keys
    assert [(each.level, each.waiting, each.lead) for each in a.levels] == [(2, 2, 1.0), (7, 4, 0)]


# -- rates and spreads ---------------------------------------------------------------


def test_what_ended_is_told_of_the_window_and_its_waits_and_runs(ranch: Ranch) -> None:
    put(ranch, "a", 5)
    report(ranch, ran("a", 1_000), seconds_ago=200)
    report(ranch, ran("a", 60), ran("b", 60, level=2), seconds_ago=20)
    queue = look(ranch)
    assert 120 / 70 <= (queue.flow.finished_per_second or 0) <= 120 / 60
    assert (queue.flow.wait.count, queue.flow.failed_per_second) == (120, 0)
    assert 0.2 < (queue.flow.wait.p50 or 0) < 0.3
    assert 0.8 < (queue.flow.run.p99 or 0) < 1.2
    assert [each.flow.run.count for each in queue.levels] == [60, 60]
    assert shown(queue)["a"].flow.run.count == 60


def test_what_came_is_told_by_what_workers_saw_or_an_earlier_look_saw(ranch: Ranch) -> None:
    put(ranch, "a", 10)
    assert look(ranch).flow.enqueued_per_second is None
    report(ranch, seconds_ago=20)
    put(ranch, "a", 100)
    assert 4 < (look(ranch).flow.enqueued_per_second or 0) < 5.1


def test_what_came_of_a_key_is_what_ended_and_what_waits_more(ranch: Ranch) -> None:
    put(ranch, "a", 10)
    observer = Observer(ranch)
    observer.look()
    put(ranch, "a", 30)

    def rate() -> float | None:
        [a] = observer.look().queues[0].keys
        return a.flow.enqueued_per_second

    # It is told when a second has passed.
    assert 0 < eventually(rate, 30, "a rate is known") <= 30


def test_a_long_window_tells_of_levels_and_not_of_keys(ranch: Ranch) -> None:
    put(ranch, "a", 5)
    report(ranch, ran("a", 60), seconds_ago=3_000)
    queue = look(ranch, window_seconds=7_200)
    [a] = queue.keys
    assert (queue.flow.run.count, a.flow, a.received, a.entitled) == (60, Flow(), None, 1.0)


def test_of_keys_that_were_not_told_apart_nothing_is_claimed(ranch: Ranch) -> None:
    for key in ("a", "b"):
        put(ranch, key, 5, wait=300)
    others = ran("others", 30)
    others.key = ()
    report(ranch, ran("a", 30), others, seconds_ago=20)
    queue = look(ranch)
    keys = shown(queue)
    assert (keys["a"].received, keys["b"].received) == (0.5, None)
    assert (keys["b"].flow, queue.evenness) == (Flow(), None)


# -- parts -----------------------------------------------------------------------------


def test_parts_are_those_of_the_shares_and_of_what_was_received(ranch: Ranch) -> None:
    ranch.set_share("a", 3, "q")
    put(ranch, "a", 5)
    put(ranch, "b", 5)
    report(ranch, ran("a", 10, cost=2 * SECOND), ran("b", 5))
    keys = shown(look(ranch))
    assert (keys["a"].entitled, keys["b"].entitled) == (0.75, 0.25)
    assert (keys["a"].received, keys["b"].received) == (0.8, 0.2)


def test_what_is_due_among_many_is_a_little_of_it(ranch: Ranch) -> None:
    many(ranch, 900)
    ranch.set_share("big", 100, "q")
    put(ranch, "big", 500)
    big = shown(look(ranch, top=2))["big"]
    assert big.entitled == pytest.approx(100 / 1_000, rel=0.01)


def test_parts_within_a_path_are_those_of_what_its_parent_received(ranch: Ranch) -> None:
    put(ranch, ("acme", "alice"), 3)
    put(ranch, ("acme", "bob"), 3)
    put(ranch, "bolt", 3)
    report(ranch, ran(("acme", "alice"), 6), ran(("acme", "bob"), 2), ran("bolt", 8))
    keys = shown(look(ranch))
    assert (keys["acme"].received, keys["acme"].entitled) == (0.5, 0.5)
    assert (keys["acme/alice"].received, keys["acme/alice"].entitled) == (0.75, 0.5)


def test_nothing_is_due_at_a_level_where_a_key_does_not_wait(ranch: Ranch) -> None:
    put(ranch, "urgent", 3, level=1)
    put(ranch, "patient", 3, level=9)
    report(ranch, ran("urgent", 9, level=1))
    keys = shown(look(ranch))
    assert (keys["urgent"].entitled, keys["patient"].entitled) == (1.0, 0.0)


def test_who_is_paused_is_due_nothing_now(ranch: Ranch) -> None:
    put(ranch, "a", 3)
    put(ranch, "b", 3)
    ranch.pause("a", "q")
    keys = shown(look(ranch))
    assert (keys["a"].entitled, keys["b"].entitled) == (None, 1.0)


# -- evenness --------------------------------------------------------------------------


def test_keys_that_waited_throughout_and_got_their_shares_are_served_evenly(ranch: Ranch) -> None:
    ranch.set_share("double", 2, "q")
    for key in ("a", "b", "double"):
        put(ranch, key, 9, wait=300)
    report(ranch, ran("a", 10), ran("b", 10), ran("double", 20), seconds_ago=20)
    assert look(ranch).evenness == pytest.approx(1.0)


def test_who_got_nothing_makes_service_uneven(ranch: Ranch) -> None:
    for key in ("a", "b"):
        put(ranch, key, 9, wait=300)
    report(ranch, ran("a", 10), seconds_ago=20)
    assert look(ranch).evenness == pytest.approx(0.5)


def test_evenness_is_not_told_of_who_came_lately_or_of_too_little(ranch: Ranch) -> None:
    put(ranch, "a", 9, wait=300)
    put(ranch, "b", 9, wait=5)
    report(ranch, ran("a", 10), seconds_ago=20)
    assert look(ranch).evenness is None
    put(ranch, "c", 9, wait=300)
    report(ranch, ran("c", 1), seconds_ago=200)
    assert look(ranch).evenness == pytest.approx(0.5)
    assert look(ranch, window_seconds=10).evenness is None


def test_levels_are_not_compared(ranch: Ranch) -> None:
    for key in ("a", "b"):
        put(ranch, key, 9, wait=300, level=1)
        put(ranch, f"{key}-low", 9, wait=300, level=9)
    report(ranch, ran("a", 10, level=1), ran("b", 10, level=1), seconds_ago=20)
    assert look(ranch).evenness == pytest.approx(1.0)


# -- limits and workers ----------------------------------------------------------------


def test_limits_are_told_with_how_full_they_are(ranch: Ranch) -> None:
    limits = limits_of(concurrency=2, rate="1/s", burst=4, backlog=5)
    ranch.engine.set_limits("q", ("a",), limits)
    put(ranch, "a", 5)
    ranch.engine.lease("w", ["q"], 5)
    [a] = look(ranch).keys
    concurrency, rate, backlog = a.limits
    assert (concurrency.kind, concurrency.used, concurrency.most) == ("concurrency", 2, 2)
    assert concurrency.is_reached
    assert (rate.kind, rate.most, rate.per_second, rate.is_reached) == ("rate", 4, 1.0, False)
    assert 1 < rate.used <= 2
    assert (backlog.kind, backlog.used, backlog.is_reached) == ("backlog", 3, False)


def test_workers_are_told_of_by_what_they_said(ranch: Ranch) -> None:
    put(ranch, "a", 5)
    ranch.engine.lease("w", ["q"], 2)
    ranch.engine.lease("dead", ["q"], 1, now_us=ago(100))
    report(ranch)
    status = Observer(ranch).look()
    dead, alive = status.workers
    assert (dead.worker, dead.is_alive, dead.leased, dead.capacity) == ("dead", False, 1, None)
    assert (alive.worker, alive.is_alive, alive.leased) == ("w", True, 2)
    assert (alive.host, alive.pid, alive.capacity, alive.queues) == ("here", 7, 4, ("q",))
    assert dead.beat_age > 60 > alive.beat_age


# -- the store ---------------------------------------------------------------------------


def test_a_look_asks_no_more_of_the_store_for_many_keys_than_for_few(
    redis_url: str, redis_prefix: str, own_redis: Any
) -> None:
    app = Celery("observed", set_as_current=False)
    app.conf.celery_ranch = {"url": own_redis.url, "redis_prefix": redis_prefix}
    ranch, asked = Ranch(app), []
    with own_redis.client() as client:
        for count in (500, 20_000):
            many(ranch, count)
            observer = Observer(ranch)
            for _ in range(2):
                client.config_resetstat()
                observer.look()
                stats = client.info("commandstats")
                asked.append(sum(each["calls"] for each in stats.values()))
    ranch.engine.close()
    assert max(asked[2:]) < 1.5 * max(asked[:2]) < 6_000


def test_what_is_of_another_type_is_replaced_by_the_next_report(
    redis_url: str, redis_prefix: str
) -> None:
    app = Celery("observed", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    ranch = Ranch(app)
    put(ranch, "a", 1)
    report(ranch, ran("a", 3))
    with redis.Redis.from_url(redis_url) as client:
        for pattern in ("*:service:*", "*reporters", "*worker:*"):
            for name in client.scan_iter(f"{redis_prefix}{pattern}"):
                client.delete(name)
                client.lpush(name, "a list")
    report(ranch, ran("a", 4))
    status = Observer(ranch).look()
    ranch.engine.close()
    assert status.queues[0].flow.run.count == 4
    assert [worker.worker for worker in status.workers] == ["w"]


# -- the forms ---------------------------------------------------------------------------


def test_a_status_is_a_line_of_json_with_all_its_names(ranch: Ranch) -> None:
    put(ranch, ("acme", "\N{COW}\n"), 5)
    text = Observer(ranch).look().to_json()
    [queue] = json.loads(text)["queues"]
    assert "\n" not in text
    assert queue["keys"][1]["key"] == ["acme", "\N{COW}\n"]
    assert queue["other"]["waiting"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"top": 0},
        {"top": 101},
        {"top": True},
        {"top": 2.5},
        {"window_seconds": 9},
        {"window_seconds": 21_601},
        {"window_seconds": float("nan")},
        {"window_seconds": "60"},
    ],
)
def test_what_cannot_be_looked_for_is_refused(options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}.*{value!r}|{name}"):
        Observer(Ranch(Celery("refused", set_as_current=False)), **options)


def test_an_alias_means_the_default_queue(ranch: Ranch) -> None:
    assert [each.queue for each in Observer(ranch).look("celery_ranch").queues] == ["celery"]

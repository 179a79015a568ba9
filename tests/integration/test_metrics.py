"""The metrics over real HTTP and a real Redis: what is told, where, and when the store is away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from celery_ranch.observing.metrics.catalogue import METRICS
from celery_ranch.observing.metrics.exporter import Exporter, Looks
from celery_ranch.observing.metrics.readings import View
from celery_ranch.observing.observer import Observer
from celery_ranch.observing.status import Status
from celery_ranch.scheduling.service import ServiceReport, Tally, WorkerFacts
from tests.dashboards import Dashboard
from tests.servers import RedisServer, eventually
from tests.workers import FairApp

TOKEN = "a token of some length"
HOSTILE = ("other", 'a"b\\c', "new\nline", "nul\0", "x" * 512, "x" * 511, "é🐎", "24/7", " ")


class Figures:
    """What was read: samples by name and labels, and the kinds of the families."""

    def __init__(self, text: bytes) -> None:
        self.kinds: dict[str, str] = {}
        self.samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text.decode()):
            self.kinds[family.name] = family.type
            for sample in family.samples:
                series = self.samples.setdefault(sample.name, {})
                labels = tuple(sorted(sample.labels.items()))
                assert labels not in series, f"{sample.name} {labels} is there twice"
                series[labels] = sample.value

    def value(self, name: str, **labels: str) -> float:
        return self.samples[f"celery_ranch_{name}"][tuple(sorted(labels.items()))]

    def labels(self, name: str, label: str) -> list[str]:
        return [dict(labels)[label] for labels in self.samples.get(f"celery_ranch_{name}", {})]


def read(exporter: Exporter) -> Figures:
    return Figures(exporter.text("")[0])


def ask(port: int, path: str = "/metrics") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Iterator[Any]:
    app = FairApp(tmp_path, redis_url)
    yield app
    app.close()


def report(app: Any, *levels: int) -> None:
    """Report, as a worker does, that tasks of levels ended."""
    facts = WorkerFacts((app.name,), "host", 1, "1.0", 4, 2, 3, 1, 0.5)
    tallies = []
    for level in levels:
        tally = Tally(level)
        tally.count(2_000_000, 500_000, 1, failed=True)
        tallies.append(tally)
    app.engine.report(f"w1@{app.name}:1", ServiceReport(facts, {app.name: tuple(tallies)}))


def test_figures_are_those_of_the_store(app: Any) -> None:
    for key, count in (("acme", 3), ("globex", 1)):
        for _ in range(count):
            app.send("work", lru_key=key)
    app.send("work", lru_key="acme", countdown=1_000)
    report(app, 0, 5)
    told = read(Exporter(app.ranch))
    queue = {"queue": app.name}
    assert told.value("up") == 1
    assert told.value("queue_waiting_entries", **queue) == 4
    assert told.value("queue_delayed_entries", **queue) == 1
    assert told.value("queue_leased_entries", **queue) == 0
    assert told.value("queue_dead_letters", **queue) == 0
    assert told.value("queue_stored_entries_total", **queue) == 5
    assert told.value("key_waiting_entries", key="acme", **queue) == 3
    assert told.value("key_waiting_entries", key="other", **queue) == 0
    assert told.value("key_share", key="globex", **queue) == 1
    for level in ("0", "5"):
        labels = {"level": level, **queue}
        assert told.value("level_finished_tasks_total", **labels) == 1
        assert told.value("level_failed_tasks_total", **labels) == 1
        assert told.value("level_wait_seconds_count", **labels) == 1
        assert told.value("level_wait_seconds_sum", **labels) == 2
        assert told.value("level_wait_seconds_bucket", le="1.048576", **labels) == 0
        assert told.value("level_wait_seconds_bucket", le="2.097152", **labels) == 1
        assert told.value("level_run_seconds_bucket", le="+Inf", **labels) == 1


def test_every_metric_is_one_of_the_catalogue_and_of_its_kind(app: Any) -> None:
    app.send("work", lru_key="acme")
    report(app, 5)
    kinds = {each.name.removesuffix("_total"): each.kind for each in METRICS}
    assert len(kinds) == len(METRICS)
    assert read(Exporter(app.ranch)).kinds == kinds


def test_whatever_keys_are_called_each_is_one_series_and_all_add_up(app: Any) -> None:
    for number, key in enumerate(HOSTILE, 1):
        for _ in range(number):
            app.send("work", lru_key=key)
    told = read(Exporter(app.ranch))
    keys = told.labels("key_waiting_entries", "key")
    assert len(keys) == len(HOSTILE) + 1
    assert max(map(len, keys)) == 117
    assert sum(told.samples["celery_ranch_key_waiting_entries"].values()) == sum(
        range(1, len(HOSTILE) + 1)
    )
    assert told.value("key_waiting_entries", queue=app.name, key=r"\x6fther") == 1
    assert told.value("key_waiting_entries", queue=app.name, key=r"24\/7") == 8


def test_keys_beyond_the_most_are_told_together(tmp_path: Path, redis_url: str) -> None:
    app = FairApp(tmp_path, redis_url, ranch={"metrics_keys": 2})
    for number in range(20):
        app.send("work", lru_key=f"key-{number}")
    told = read(Exporter(app.ranch))
    series = told.samples["celery_ranch_key_waiting_entries"]
    assert len(series) <= 4 * 2 + 1
    assert sum(series.values()) == 20
    assert told.value("key_waiting_entries", queue=app.name, key="other") == 21 - len(series)
    app.close()


def test_no_key_is_told_apart_where_the_setting_says_so(tmp_path: Path, redis_url: str) -> None:
    app = FairApp(tmp_path, redis_url, ranch={"metrics_keys": 0})
    app.send("work", lru_key="acme")
    told = read(Exporter(app.ranch))
    assert told.labels("key_waiting_entries", "key") == ["other"]
    assert told.value("key_waiting_entries", queue=app.name, key="other") == 1
    assert "celery_ranch_key_share" not in told.samples
    app.close()


def test_while_the_store_is_away_that_alone_is_told(tmp_path: Path, own_redis: RedisServer) -> None:
    app = FairApp(tmp_path, own_redis.url)
    app.send("work", lru_key="acme")
    server = Exporter(app.ranch, patience=1.0).serve("127.0.0.1", 0)
    try:
        port = server.server_port
        assert Figures(ask(port)[1]).value("up") == 1
        own_redis.stop()
        assert eventually(lambda: away(port), 20, "the store is told to be away")
        own_redis.start()
        eventually(lambda: Figures(ask(port)[1]).value("up") == 1, 20, "the store is back")
        own_redis.freeze()
        try:
            # It is not waited for until Prometheus gives up.
            assert eventually(lambda: away(port), 20, "a store that hangs is away")
        finally:
            own_redis.thaw()
        eventually(lambda: Figures(ask(port)[1]).value("up") == 1, 30, "the store is back")
    finally:
        server.shutdown()
        server.server_close()
    app.close()


def away(port: int) -> bool:
    status, text = ask(port)
    assert status == 200
    told = Figures(text)
    return told.value("up") == 0 and [*told.samples] == ["celery_ranch_up"]


def test_who_asks_within_a_second_of_a_look_or_during_it_shares_it() -> None:
    looks: list[int] = []
    may_end = threading.Event()

    def look() -> View:
        looks.append(1)
        may_end.wait(20)
        return View(Status(0.0, 60.0, (), ()), 0.0, {})

    shared = Looks(look, seconds=1_000.0)
    seen: list[View | None] = []
    asking = [threading.Thread(target=lambda: seen.append(shared.latest())) for _ in range(5)]
    for each in asking:
        each.start()
    may_end.set()
    for each in asking:
        each.join(20)
    assert len(looks) == 1
    assert [each is not None for each in (*seen, shared.latest())] == [True] * 6


def test_a_look_that_is_over_its_time_is_looked_at_again() -> None:
    looks: list[float] = []

    def look() -> View:
        looks.append(time.monotonic())
        return View(Status(0.0, 60.0, (), ()), 0.0, {})

    shared = Looks(look, seconds=0.0)
    assert shared.latest() is not shared.latest()
    assert len(looks) == 2


NOWHERE = """
from celery import Celery, signals
from celery.worker import state
from celery_ranch import configure

app = Celery("small", broker="memory://", set_as_current=False)
address = "192.0.2.1"  # for documents alone: no machine has it
app.conf.celery_ranch = {
    "url": "memory://", "metrics_enabled": True, "metrics_address": address
}
configure(app)

@signals.worker_ready.connect(weak=False)
def end(**kwargs):
    state.should_stop = 0

app.worker_main(["worker", "--pool=solo", "--loglevel=WARNING"])
"""


def test_a_worker_that_cannot_serve_metrics_where_it_should_warns_and_works() -> None:
    command = [sys.executable, "-c", NOWHERE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "No metrics are served by this worker at 192.0.2.1:5557" in done.stdout + done.stderr


def test_the_dashboard_tells_the_same_to_who_may_look(app: Any) -> None:
    app.send("work", lru_key="acme")
    with Dashboard(app.ranch, token=TOKEN) as page:
        assert page.ask("/metrics", headers={}).status == 401
        answer = page.ask("/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        told = Figures(answer.body)
        assert told.value("queue_waiting_entries", queue=app.name) == 1


def test_what_the_observer_sees_is_what_is_told(app: Any) -> None:
    app.send("work", lru_key=("acme", "alice"))
    observer = Observer(app.ranch)
    observer.look()
    seen = observer.look()
    told = read(Exporter(app.ranch, look=lambda: seen))
    [queue] = [each for each in seen.queues if each.queue == app.name]
    assert told.value("queue_waiting_entries", queue=app.name) == queue.waiting
    assert told.labels("key_share", "key") == [
        each.key[0] for each in queue.keys if len(each.key) == 1
    ]

"""What Prometheus reads, served by the command and by workers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from celery_ranch import submit
from tests.acceptance.pages import ROOT, blocks
from tests.prometheus import promtool, running_prometheus
from tests.servers import eventually, free_port, stop_group
from tests.workers import FairApp

MONITORING = ROOT / "monitoring"
RULES = MONITORING / "celery_ranch.rules.yml"
DASHBOARD = MONITORING / "celery_ranch.dashboard.json"

#: There are no limits, and what was received is told of when there is enough of it.
WITHOUT_SERIES = {"Limits, how full", "Evenness", "Received, by key", "Received, less what was due"}


@contextmanager
def exporter(app: FairApp, *options: str) -> Iterator[int]:
    """Run `celery -A app ranch metrics`; yield the port that it says."""
    command = [sys.executable, "-m", "celery", "-A", app.module, "ranch", "metrics", *options]
    log = app.tmp_path / "exporter.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=app.tmp_path,
            env=app.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def told() -> Any:
        assert process.poll() is None, log.read_text()
        return re.match(r"http://127\.0\.0\.1:(\d+)/metrics", log.read_text())

    try:
        yield int(eventually(told, 40, "the exporter says where it is")[1])
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    finally:
        stop_group(process, 5)


def read(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.status == 200
        return str(answer.read(), "utf-8")


def test_the_first_worker_of_a_machine_serves_metrics_and_all_work(
    tmp_path: Path, redis_url: str
) -> None:
    port = free_port()
    app = FairApp(tmp_path, redis_url, ranch={"metrics_enabled": True, "metrics_port": port})
    with app.worker("--max-tasks-per-child=1") as first:
        first.await_log(f"Metrics are served at http://127.0.0.1:{port}/metrics")
        assert f'celery_ranch_queue_waiting_entries{{queue="{app.name}"}}' not in read(port)
        with app.worker(name="w2") as second:
            assert f"No metrics are served by this worker at 127.0.0.1:{port}" in second.log
            for number in range(4):
                app.send("note", number, lru_key="acme")
            app.await_recorded("ended", 4)
            app.await_idle()
            assert second.stop() == 0
        assert f'celery_ranch_queue_stored_entries_total{{queue="{app.name}"}} 4.0' in read(port)
        assert first.stop() == 0
    with pytest.raises(OSError, match="refused"):
        read(port)
    app.close()


def test_the_command_serves_where_it_is_told(tmp_path: Path, redis_url: str) -> None:
    app = FairApp(tmp_path, redis_url)
    app.send("work", lru_key="acme")
    with exporter(app, "--port", "0") as port:
        told = read(port)
        assert "\ncelery_ranch_up 1.0\n" in told
        assert f'waiting_entries{{key="acme",queue="{app.name}"}} 1.0' in told
        options = ("-A", app.module, "ranch", "metrics", "--port", str(port))
        second = subprocess.run(
            [sys.executable, "-m", "celery", *options],
            cwd=app.tmp_path,
            env=app.env,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert (second.returncode, len(second.stderr.splitlines())) == (1, 1)
        assert "Address already in use" in second.stderr
    app.close()


def test_prometheus_reads_a_flood_and_an_alert_of_the_page_fires(
    tmp_path: Path, redis_url: str
) -> None:
    page = blocks((ROOT / "docs" / "how-to" / "be-alerted.md").read_text(encoding="utf-8"))
    config, of_dashboard = (block.code for block in page if block.language == "yaml")
    app = FairApp(tmp_path, redis_url)
    with exporter(app, "--port", "0") as port, app.worker(concurrency=1):
        # What the page says, but sooner.
        soon = re.sub(r"for: \d+\w", "for: 1s", RULES.read_text(encoding="utf-8"))
        (tmp_path / "celery_ranch.rules.yml").write_text(soon)
        often = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        path = tmp_path / "prometheus.yml"
        path.write_text(often + config.replace("127.0.0.1:5557", f"127.0.0.1:{port}"))
        for_dashboard = tmp_path / "dashboard.yml"
        for_dashboard.write_text(of_dashboard)
        promtool("check", "config", path)
        promtool("check", "config", for_dashboard)
        with running_prometheus(tmp_path, path) as prometheus:
            of_queue = f'{{queue="{app.name}"}}'
            app.send("note", 0, lru_key="quiet")
            stored = f"celery_ranch_queue_stored_entries_total{of_queue}"
            eventually(lambda: prometheus.value(stored) == 1, 30, "a task is told of")
            slow = [app.signature("note", at, 0.1).set(lru_key="flood") for at in range(2_000)]
            submit(app.client, slow)
            [alert] = eventually(
                lambda: prometheus.firing("CeleryRanchBacklogGrows"), 40, "the backlog grows"
            )
            assert alert == {
                "alertname": "CeleryRanchBacklogGrows",
                "severity": "warning",
                "job": "celery_ranch",
                "queue": app.name,
            }
            for other in ("ExporterGone", "StoreAway", "NoWorker", "WorkerGone", "DeadLetters"):
                assert prometheus.firing(f"CeleryRanch{other}") == []
            assert prometheus.value(stored) == 2_001
            assert prometheus.value(f"sum(celery_ranch_key_waiting_entries{of_queue})") == (
                prometheus.value(f"celery_ranch_queue_waiting_entries{of_queue}")
            )
            finished = f"sum(celery_ranch_level_finished_tasks_total{of_queue})"
            eventually(lambda: (prometheus.value(finished) or 0) > 0, 30, "tasks ended")
            for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
                for target in panel["targets"]:
                    query = target["expr"].replace("$__rate_interval", "1m")
                    query = query.replace("$job", "celery_ranch").replace("$queue", app.name)
                    found = prometheus.ask("query", query=query)["result"]
                    assert found or panel["title"] in WITHOUT_SERIES, panel["title"]
    app.ranch.purge(app.name)
    app.close()

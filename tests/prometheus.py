"""A real Prometheus, and promtool, which Debian's package `prometheus` has both."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.servers import eventually, free_port, stop_group, unavailable

__all__ = ["Prometheus", "promtool", "running_prometheus"]


def _program(name: str) -> str:
    return shutil.which(name) or unavailable(f"{name} is not installed (package prometheus)")


def promtool(*arguments: str | Path) -> str:
    """Run promtool, which has to find nothing wrong, and return what it printed."""
    done = subprocess.run(
        [_program("promtool"), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


class Prometheus:
    """Somebody who asks a Prometheus over its HTTP API."""

    def __init__(self, port: int) -> None:
        self._port = port

    def is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, what: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urlencode(query)}"
        with urlopen(url, timeout=20) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def value(self, expression: str) -> float | None:
        """Return the value of an expression that gives one series; None if it gives none."""
        result = self.ask("query", query=expression)["result"]
        if not result:
            return None
        [series] = result
        return float(series["value"][1])

    def firing(self, alert: str) -> list[dict[str, str]]:
        """Return the labels of an alert that fires, of each time it does."""
        return [
            each["labels"]
            for each in self.ask("alerts")["alerts"]
            if each["labels"]["alertname"] == alert and each["state"] == "firing"
        ]


@contextmanager
def running_prometheus(folder: Path, config: Path) -> Iterator[Prometheus]:
    """Run a Prometheus with a configuration, until the block is left."""
    port = free_port()
    log = folder / "prometheus.log"
    command = [
        _program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Prometheus(port)

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        return server.is_ready()

    try:
        eventually(is_ready, 40, "Prometheus is ready")
        yield server
    except BaseException:
        print(log.read_text(errors="replace"))  # noqa: T201
        raise
    finally:
        stop_group(process, 10)

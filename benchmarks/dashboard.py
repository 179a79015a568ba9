"""Measure the dashboard beside a full store: when its page is painted, what its process takes.

A store is filled with entries of many keys, the `celery-ranch dashboard` command is started
beside it, and a headless Chromium opens its page. Needs `chromium` and `chromedriver`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
from harness import PrivateRedis, machine, private_redis, told
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from celery_ranch.engines.redis import RedisEngine
from celery_ranch.scheduling.model import EngineSettings, Entry

PREFIX = "dashboard:"
QUEUE = "celery"
MESSAGE = bytes(range(32, 127)) * 10  # about what a small task takes with its headers
PAINTED = (
    "const one = performance.getEntriesByName('first-contentful-paint')[0];"
    "return [one ? one.startTime : null,"
    " document.querySelector('main td') ? performance.now() : null]"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured."""

    keys: int
    entries: int
    first_paint_ms: float
    """From the page's address until something is to be seen, the median."""
    first_figures_ms: float
    """Until figures are, the median; the next look may be a second away."""
    rss_mb: float
    """The most that the process of the dashboard took, while pages watched."""
    held_ms: float
    """The longest that one command held Redis meanwhile."""


def fill(server: PrivateRedis, keys: int, entries: int) -> None:
    """Store as many entries, spread over the keys in a skewed way."""
    chance = random.Random(1)
    engine = RedisEngine(server.url, PREFIX, EngineSettings(), connection_kwargs={})
    for first in range(0, entries, 1_000):
        batch = []
        for number in range(first, min(first + 1_000, entries)):
            tenant = number if number < keys else int(keys * chance.random() ** 3)
            batch.append(Entry(f"{number:012x}", (f"tenant-{tenant}",), QUEUE, MESSAGE))
        engine.enqueue(batch)
    engine.close()


@contextmanager
def dashboard(server: PrivateRedis) -> Iterator[tuple[str, psutil.Process]]:
    """Run the command; yield the page's address and the process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "celery-ranch"
    command = [str(program), "--store", server.url, "--prefix", PREFIX]
    process = subprocess.Popen([*command, "dashboard", "--read-only", "--port", str(port)])
    try:
        address = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 30
        while True:
            try:
                urlopen(f"{address}api/session").close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def browser() -> webdriver.Chrome:
    """Return a Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(each)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def measure(server: PrivateRedis, keys: int, entries: int, visits: int, seconds: float) -> Found:
    """Open the page as often, watch it for so many seconds, and return what was seen."""
    fill(server, keys, entries)
    client = server.client
    client.config_set("slowlog-log-slower-than", 500)
    client.slowlog_reset()
    paints, figures, most = [], [], 0
    with dashboard(server) as (address, process):
        chromium = browser()
        try:
            for _ in range(visits):
                chromium.get("about:blank")
                chromium.get(address)
                while None in (seen := chromium.execute_script(PAINTED)):
                    time.sleep(0.01)
                paints.append(seen[0])
                figures.append(seen[1])
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                most = max(most, process.memory_info().rss)
                time.sleep(0.5)
        finally:
            chromium.quit()
    held = max((each["duration"] for each in client.slowlog_get(128)), default=0)
    return Found(
        keys,
        entries,
        round(statistics.median(paints), 1),
        round(statistics.median(figures), 1),
        round(most / 1e6, 1),
        held / 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch")
    parser.add_argument("--json", type=Path, help="write what was measured there")
    asked = parser.parse_args()
    with private_redis() as server:
        found = measure(server, asked.keys, asked.entries, asked.visits, asked.seconds)
        facts = machine(server)
    print(told(facts))
    for name, value in asdict(found).items():
        print(f"{name.replace('_', ' '):<18}{value:>12,}")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": facts, "found": asdict(found)}))


if __name__ == "__main__":
    main()

"""An outage of the store is said once, and tries to end it are spread out."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_ranch.worker.outage import BackOff, Outage

GONE = ConnectionError("gone")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_an_outage_that_every_part_notices_is_said_once(said: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for part in ("leasing", "heartbeat", "leasing", "settling"):
        outage.begin(part, GONE)
    assert [record.levelname for record in said.records] == ["ERROR"]
    assert "Lost the store (gone)" in said.text
    assert "no fair task is leased until it is back" in said.text


def test_it_is_over_when_every_part_that_failed_has_succeeded(
    said: pytest.LogCaptureFixture,
) -> None:
    outage = Outage()
    outage.begin("leasing", GONE)
    outage.begin("heartbeat", GONE)
    outage.end("leasing")
    outage.end("settling")
    assert "answers again" not in said.text
    outage.end("heartbeat")
    outage.end("heartbeat")
    assert said.text.count("The store answers again") == 1


def test_the_next_outage_is_said_again(said: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    for _ in range(2):
        outage.begin("leasing", GONE)
        outage.end("leasing")
    assert said.text.count("Lost the store") == said.text.count("answers again") == 2


def test_parts_that_fail_at_the_same_moment_say_it_once(said: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: outage.begin(f"part {n}", GONE), range(200)))
    assert said.text.count("Lost the store") == 1


def test_tries_are_further_and_further_apart_up_to_ten_seconds() -> None:
    backoff = BackOff()
    due = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    for whole in due:
        assert whole / 2 <= backoff.next_seconds() <= whole
    backoff.reset()
    assert backoff.next_seconds() <= due[0]


def test_workers_that_lost_the_store_together_do_not_come_back_together() -> None:
    assert len({BackOff().next_seconds() for _ in range(20)}) > 1

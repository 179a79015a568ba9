"""What is said of where an entry is: a sentence that a person understands, and honest guesses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from celery_ranch import Blocker, BlockerKind, EntryState, Explanation, Precision

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
ACME = ("acme",)

PAUSED = Blocker(BlockerKind.PAUSED, ("acme", "alice"))
FULL = Blocker(BlockerKind.CONCURRENCY, ACME, running=4, limit=4)
PACED = Blocker(BlockerKind.RATE, ACME, until_us=NOW + 90 * SECOND)


def told(state: EntryState = EntryState.WAITING, **facts: Any) -> Explanation:
    base = Explanation("1", "celery", state, NOW, handed_over=1_000, workers=2, key=ACME, level=5)
    if state is EntryState.WAITING:
        base = replace(base, position=0, better=0, ahead=0)
    return replace(base, **facts)


SENTENCES = {
    "waiting: it is next": told(),
    "waiting: it is next; no worker serves its queue": told(workers=0),
    "waiting: 1 of its key's tasks goes first": told(position=1, ahead=1),
    "waiting: 2 of its key's tasks go first": told(position=2, ahead=2),
    "waiting: 120 of others go first": told(ahead=120),
    "waiting: 3 of its key's tasks and at most 7 of others go first": told(
        position=3, ahead=10, precision=Precision.AT_MOST
    ),
    "waiting: 3 of its key's tasks and about 120 of others go first;"
    " acme is at its concurrency limit (4 of 4 running)": told(
        position=3, ahead=123, precision=Precision.ABOUT, blockers=(FULL,)
    ),
    "waiting: 9 of others, 7 waiting with a better priority, go first": told(ahead=9, better=7),
    "waiting: about 79 of others, 1000 waiting with a better priority (its own is sure of some"
    " turns), go first": told(
        ahead=79, better=1_000, precision=Precision.ABOUT, is_level_sure=True
    ),
    "waiting: it would be next; acme/alice is paused; the rate of acme lets another start in"
    " 90 s": told(blockers=(PAUSED, PACED)),
    "waiting: it is next; it should start in about 12 s": told(starts_in_us=12 * SECOND),
    "waiting: it is next; it has expired and will not run": told(expires_at_us=NOW),
    "delayed: due in 5 min; acme/alice is paused": told(
        EntryState.DELAYED, due_at_us=NOW + 300 * SECOND, blockers=(PAUSED,)
    ),
    "delayed: due now": told(EntryState.DELAYED, due_at_us=NOW),
    "leased, not started: celery@h/12, for 3 s": told(
        EntryState.LEASED, worker="celery@h/12", leased_at_us=NOW - 3 * SECOND
    ),
    "running: celery@h/12": told(EntryState.ACKNOWLEDGED, worker="celery@h/12"),
    "finished, not acknowledged: w": told(EntryState.FINISHED, worker="w"),
    "dead: too many deliveries, 3 h ago": told(
        EntryState.DEAD, reason="too many deliveries", died_at_us=NOW - 10_800 * SECOND
    ),
    "dead: nobody said why, 0 s ago": told(EntryState.DEAD),
    "withdrawn: it was cancelled with its key, or is being moved": told(EntryState.WITHDRAWN),
    "unknown: no entry of this id waits, runs or is dead": told(EntryState.UNKNOWN),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_it_reads_as_a_sentence(sentence: str) -> None:
    assert str(SENTENCES[sentence]) == sentence


def test_every_state_has_a_sentence() -> None:
    assert {each.state for each in SENTENCES.values()} | {EntryState.STARTED} == set(EntryState)
    assert str(told(EntryState.STARTED, worker="w")) == "running: w"


# -- when it should start ----------------------------------------------------------------


def earlier(**facts: Any) -> Explanation:
    """A look ten seconds before, since when twenty entries were handed over."""
    return told(**{"at_us": NOW - 10 * SECOND, "handed_over": 980, **facts})


def test_it_starts_when_those_before_it_have_at_the_pace_since() -> None:
    assert told(ahead=9).expected_after(earlier()).starts_in_us == 5 * SECOND
    assert told(ahead=0).expected_after(earlier()).starts_in_us == SECOND // 2


def test_an_earlier_look_at_another_task_of_the_queue_will_do() -> None:
    other = earlier(state=EntryState.ACKNOWLEDGED, entry_id="2", ahead=None)
    assert told(ahead=9).expected_after(other).starts_in_us == 5 * SECOND


def test_it_does_not_start_before_a_rate_lets_it() -> None:
    assert told(ahead=9, blockers=(PACED,)).expected_after(earlier()).starts_in_us == 90 * SECOND


@pytest.mark.parametrize(
    "now, before",
    [
        (told(blockers=(PAUSED,)), earlier()),
        (told(blockers=(PACED, FULL)), earlier()),
        (told(), earlier(handed_over=1_000)),
        (told(), earlier(queue="other")),
        (told(), earlier(at_us=NOW)),
        (told(), earlier(at_us=NOW + 1)),
        (told(EntryState.DELAYED, due_at_us=NOW), earlier()),
        (told(EntryState.LEASED, worker="w"), earlier()),
        (told(EntryState.UNKNOWN), earlier()),
    ],
    ids=[
        "paused",
        "full",
        "standstill",
        "another queue",
        "the same moment",
        "later",
        "delayed",
        "leased",
        "unknown",
    ],
)
def test_when_it_starts_stays_unknown_where_nobody_knows(
    now: Explanation, before: Explanation
) -> None:
    assert now.expected_after(before).starts_in_us is None

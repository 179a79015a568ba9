"""What the engine in memory finds wrong with itself, once somebody has broken it."""

from __future__ import annotations

from typing import Any

import pytest

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.invariant import Violation, ViolationKind
from celery_ranch.scheduling.model import DEFAULT_LEVEL, OutcomeKind
from tests.conformance.histories import QUEUE, entries, lease, settle, store


@pytest.fixture
def engine() -> MemoryEngine:
    engine = MemoryEngine()
    store(engine, entries("work", 2))
    _, died = lease(engine, 2).leases
    settle(engine, died, OutcomeKind.DEAD, reason="why not")
    store(engine, entries("acme", 2), entries("bolt", 1, due_in_us=1_000_000))
    return engine


def found(engine: MemoryEngine) -> set[tuple[ViolationKind, str]]:
    return {(violation.kind, violation.name) for violation in engine.check(QUEUE)}


def queue_of(engine: MemoryEngine) -> Any:
    return engine._queues[QUEUE]


def test_an_entry_that_is_nowhere_is_found(engine: MemoryEngine) -> None:
    queue_of(engine).leases._held.clear()
    assert found(engine) == {
        (ViolationKind.NOWHERE, "work-0"),
        (ViolationKind.WRONG_COUNT, "leased"),
    }


def test_a_place_without_an_entry_is_found(engine: MemoryEngine) -> None:
    del queue_of(engine)._entries["acme-1"]
    assert found(engine) == {(ViolationKind.NO_ENTRY, "acme-1")}


def test_an_entry_in_two_places_is_found(engine: MemoryEngine) -> None:
    queue = queue_of(engine)
    queue.dead.add(queue._entries["work-0"], "why not", 0)
    assert found(engine) == {(ViolationKind.SEVERAL_PLACES, "work-0")}


def test_a_key_that_lost_its_turn_is_found(engine: MemoryEngine) -> None:
    tree = queue_of(engine).nodes.tree
    tree._leave(tree._nodes["acme",], DEFAULT_LEVEL)
    assert found(engine) == {(ViolationKind.NOT_IN_INDEX, "acme")}


def test_a_turn_without_work_is_found(engine: MemoryEngine) -> None:
    queue_of(engine).nodes.tree.add(("bolt",), DEFAULT_LEVEL)
    assert found(engine) == {(ViolationKind.STRAY_INDEX, "bolt")}


def test_a_backlog_without_a_key_is_found(engine: MemoryEngine) -> None:
    queue_of(engine).nodes.tree.forget(("bolt",))
    assert found(engine) == {(ViolationKind.UNKNOWN_KEY, "bolt")}


@pytest.mark.parametrize("name", ["waiting", "delayed"])
def test_a_wrong_count_is_found(engine: MemoryEngine, name: str) -> None:
    backlog = queue_of(engine)._backlog
    setattr(backlog, name, getattr(backlog, name) + 1)
    assert found(engine) == {(ViolationKind.WRONG_COUNT, name)}


@pytest.mark.parametrize("kind", ViolationKind)
def test_every_kind_of_violation_is_a_sentence_about_its_queue(kind: ViolationKind) -> None:
    sentence = str(Violation(QUEUE, kind, "its name", "what was found"))
    assert sentence.startswith(f"queue {QUEUE!r}: ")
    assert "{" not in sentence

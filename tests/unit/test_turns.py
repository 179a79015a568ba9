"""How many entries go before one, told without serving them, is how many do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.explanation import Explanation
from celery_ranch.scheduling.model import CHARGE_UNIT, EngineSettings, Entry, KeyPath, OutcomeKind
from celery_ranch.scheduling.turns import Ahead, Precision
from tests.conformance.histories import NOW, QUEUE, outcome

IS_LONG = bool(os.environ.get("RANCH_LONG"))
FLAT: tuple[KeyPath, ...] = (("a",), ("b",), ("c",), ("d",), ("e",))
PATHS: tuple[KeyPath, ...] = (
    *FLAT[:3],
    ("a", "x"),
    ("a", "y"),
    ("b", "x", "1"),
    ("b", "x", "2"),
    ("b", "x"),
)
SHARES = (1.0, 1.0, 0.5, 2.0, 3.0, 0.3)
#: The tags reach their end, and are shifted, after some twenty entries.
SMALL_TAG_LIMIT = 16 * CHARGE_UNIT


def batches(keys: Sequence[KeyPath], levels: Sequence[int]) -> st.SearchStrategy[list[Any]]:
    one = st.tuples(st.sampled_from(keys), st.sampled_from(levels), st.integers(1, 20))
    return st.lists(one, max_size=8)


class History:
    """An engine in memory, some way into a history of random turns."""

    def __init__(self, keys: Sequence[KeyPath], data: st.DataObject) -> None:
        tag_limit = data.draw(st.sampled_from([2**52, SMALL_TAG_LIMIT]), label="tag limit")
        self.engine = MemoryEngine(tag_limit=tag_limit)
        self.keys = keys
        self.draw = data.draw
        self.ids = 0

    def live(self, levels: Sequence[int]) -> None:
        """Store, lease and end entries, of whatever cost, and set shares."""
        for key in self.keys:
            self.engine.set_share(QUEUE, key, self.draw(st.sampled_from(SHARES)), now_us=NOW)
        for _ in range(self.draw(st.integers(0, 3), label="rounds")):
            cost = self.draw(st.sampled_from([CHARGE_UNIT, 2 * CHARGE_UNIT, 300_000]))
            self.store(levels, cost)
            self.serve(self.draw(st.integers(0, 20)), complete=self.draw(st.booleans()))
        # What waits from now on costs the same.
        while self.serve(50):
            pass
        self.store(levels, CHARGE_UNIT)
        self.serve(self.draw(st.integers(0, 60)))

    def store(self, levels: Sequence[int], cost: int) -> None:
        for key, level, count in self.draw(batches(self.keys, levels)):
            for _ in range(count):
                self.ids += 1
                entry = Entry(f"e{self.ids}", key, QUEUE, b"", level=level, cost=cost)
                self.engine.enqueue([entry], now_us=NOW)

    def serve(self, count: int, *, complete: bool = True) -> list[str]:
        """Let one worker lease so many, one by one, and complete each."""
        served = []
        for _ in range(count):
            leases = self.engine.lease("w", [QUEUE], 1, now_us=NOW).leases
            for lease in leases:
                served.append(lease.entry_id)
                if complete:
                    self.engine.settle("w", [outcome(lease, OutcomeKind.COMPLETED)], now_us=NOW)
            if not leases:
                break
        return served

    def waiting(self) -> list[str]:
        return [entry_id for key in self.keys for entry_id, _ in self.engine.pending(QUEUE, key)]

    def explained(self) -> dict[str, Explanation]:
        return {
            entry_id: self.engine.explain(QUEUE, entry_id, now_us=NOW)
            for entry_id in self.waiting()
        }


@settings(max_examples=1_000 if IS_LONG else 60, deadline=None)
@given(data=st.data())
def test_of_flat_keys_exactly_as_many_go_first_as_is_told(data: st.DataObject) -> None:
    history = History(FLAT, data)
    history.live(levels=[5, 5, 2, 8])
    told = history.explained()
    assert {each.precision for each in told.values()} <= {Precision.EXACT}
    for ahead, entry_id in enumerate(history.serve(len(told))):
        assert told[entry_id].ahead == ahead, entry_id


@settings(max_examples=1_000 if IS_LONG else 60, deadline=None)
@given(data=st.data())
def test_of_paths_exactly_as_many_go_first_as_is_told(data: st.DataObject) -> None:
    history = History(PATHS, data)
    history.live(levels=[5, 5, 2])
    told = history.explained()
    for ahead, entry_id in enumerate(history.serve(len(told))):
        assert told[entry_id].ahead == ahead, entry_id
        assert told[entry_id].precision is not Precision.ABOUT


@settings(max_examples=1_000 if IS_LONG else 60, deadline=None)
@given(data=st.data())
def test_what_is_paused_is_not_counted_or_the_count_says_at_most(data: st.DataObject) -> None:
    history = History(PATHS, data)
    history.live(levels=[5, 5, 2])
    for key in data.draw(st.sets(st.sampled_from(PATHS), max_size=3), label="paused"):
        history.engine.pause(QUEUE, key)
    told = history.explained()
    served = history.serve(len(told))
    for ahead, entry_id in enumerate(served):
        counted = told[entry_id].ahead
        assert counted is not None
        assert not told[entry_id].blockers
        if told[entry_id].precision is Precision.EXACT:
            assert counted == ahead, entry_id
        else:
            assert counted >= ahead, entry_id
    assert all(told[entry_id].blockers for entry_id in told.keys() - set(served))


@pytest.mark.parametrize("most", [10, 100])
def test_many_siblings_are_estimated_to_within_a_part(most: int) -> None:
    engine = MemoryEngine()
    for number in range(300):
        key = (f"key-{number}",)
        engine.set_share(QUEUE, key, 1.0 + number % 7, now_us=NOW)
        batch = [Entry(f"{number}-{n}", key, QUEUE, b"") for n in range(1 + number % 5)]
        engine.enqueue(batch, now_us=NOW)
    told = engine.explain(QUEUE, "0-0", most=1_000, now_us=NOW)
    assert told.precision is Precision.EXACT
    last = engine.explain(QUEUE, "294-4", most=1_000, now_us=NOW)
    about = engine.explain(QUEUE, "294-4", most=most, now_us=NOW)
    assert last.precision is Precision.EXACT
    assert about.precision is Precision.ABOUT
    assert about.ahead is not None
    assert last.ahead is not None
    assert abs(about.ahead - last.ahead) < last.ahead * 0.3


@pytest.mark.parametrize(
    "better, same, worse", [(1_000, 3, 0), (40, 30, 0), (0, 20, 2), (500, 10, 1), (5, 0, 3)]
)
@pytest.mark.parametrize("floor", [50_000, 90_000])
def test_with_a_floor_about_as_many_go_first_as_is_told(
    better: int, same: int, worse: int, floor: int
) -> None:
    engine = MemoryEngine(EngineSettings(level_floor=floor))
    stored = {0: better, 5: same + 1, **{6 + n: 2_000 for n in range(worse)}}
    for level, count in stored.items():
        batch = [
            Entry(f"{level}-{n}", (f"k{level}",), QUEUE, b"", level=level) for n in range(count)
        ]
        for at in range(0, count, 1_000):
            engine.enqueue(batch[at : at + 1_000], now_us=NOW)
    told = engine.explain(QUEUE, f"5-{same}", now_us=NOW)
    served: list[str] = []
    while f"5-{same}" not in served:
        served += [one.entry_id for one in engine.lease("w", [QUEUE], 1, now_us=NOW).leases]
    # A level gets floor * n - 2 of n at least.
    assert told.ahead is not None
    assert abs(told.ahead - (len(served) - 1)) <= 3 * 1_000_000 / floor
    assert told.is_level_sure == (told.ahead < better + same)


def test_without_a_floor_the_better_levels_go_first() -> None:
    assert Ahead(7, 3, 2, Precision.EXACT).total(0) == 10

"""What every engine promises of shares: proportion, at once, and to the end of the range."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from celery_ranch.errors import InvalidShareError
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Lease, OutcomeKind
from tests.conformance.histories import NOW, QUEUE, entries, entry, keys, lease, outcome, store


def test_a_key_of_share_two_is_leased_twice_as_often(engine: Engine) -> None:
    engine.set_share(QUEUE, ("double",), 2.0)
    store(engine, entries("single", 50), entries("double", 50))
    assert Counter(keys(lease(engine, 30))) == {"double": 20, "single": 10}


@pytest.mark.parametrize(
    "small, large", [(0.01, 0.09), (0.5, 4.5), (1.0, 9.0), (11.0, 99.0), (100 / 9, 100.0)]
)
def test_service_is_in_proportion_to_the_shares(engine: Engine, small: float, large: float) -> None:
    engine.set_share(QUEUE, ("small",), small)
    engine.set_share(QUEUE, ("large",), large)
    store(engine, entries("small", 300), entries("large", 300))
    served = Counter(keys(lease(engine, 300)))
    assert abs(served["large"] - 9 * served["small"]) <= 10


def test_a_share_holds_at_once_for_what_waits(engine: Engine) -> None:
    store(engine, entries("a", 50), entries("b", 50))
    lease(engine, 20)
    engine.set_share(QUEUE, ("a",), 4.0)
    assert Counter(keys(lease(engine, 10))) == {"a": 8, "b": 2}


def test_a_larger_share_rescales_a_lead_that_waits(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 0.1)
    store(engine, entries("a", 5), entries("b", 20))
    assert keys(lease(engine, 3)) == ["a", "b", "b"]
    engine.set_share(QUEUE, ("a",), 1.0)
    assert keys(lease(engine, 4)) == ["a", "b", "a", "b"]


def test_a_smaller_share_rescales_a_lead_that_waits(engine: Engine) -> None:
    store(engine, entries("a", 5), entries("b", 20))
    assert keys(lease(engine, 1)) == ["a"]
    engine.set_share(QUEUE, ("a",), 0.25)
    assert keys(lease(engine, 6)) == ["b", "b", "b", "b", "a", "b"]


def test_a_share_rescales_an_idle_keys_lead_as_well(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 0.1)
    store(engine, entries("a", 1), entries("b", 20))
    assert keys(lease(engine, 3)) == ["a", "b", "b"]
    engine.set_share(QUEUE, ("a",), 1.0)
    store(engine, [entry("a-1", "a")])
    assert keys(lease(engine, 3)) == ["a", "b", "b"]


def test_the_same_share_again_changes_no_turn(engine: Engine) -> None:
    store(engine, entries("a", 5), entries("b", 5), entries("c", 5))
    lease(engine, 4)
    for _ in range(3):
        engine.set_share(QUEUE, ("b",), 1.0)
    assert keys(lease(engine, 4)) == ["b", "c", "a", "b"]


def test_a_share_holds_in_its_queue_alone(engine: Engine) -> None:
    engine.set_share("one", ("a",), 9.0)
    store(engine, entries("a", 20, "two"), entries("b", 20, "two"))
    assert Counter(keys(lease(engine, 10, queues=["two"]))) == {"a": 5, "b": 5}


def test_a_share_given_before_any_entry_is_remembered(engine: Engine) -> None:
    engine.set_share(QUEUE, ("a",), 3.0)
    assert engine.queues() == frozenset()
    (snapshot,) = engine.keys(QUEUE)[1]
    assert (snapshot.key, snapshot.share) == (("a",), 3.0)


@pytest.mark.parametrize("share", [0.01, 0.1, 1 / 3, 1.0, 99.99, 100.0])
def test_a_share_comes_back_as_it_was_given(engine: Engine, share: float) -> None:
    engine.set_share(QUEUE, ("a",), share)
    assert engine.keys(QUEUE)[1][0].share == share


@pytest.mark.parametrize("share", [0, 0.0099, 100.1, -1, float("nan"), float("inf"), True, "2"])
def test_a_share_out_of_range_is_refused_and_changes_nothing(engine: Engine, share: Any) -> None:
    with pytest.raises(InvalidShareError):
        engine.set_share(QUEUE, ("a",), share)
    assert engine.keys(QUEUE) == (0, ())


# -- the end of the range ---------------------------------------------------------


class _Busy:
    """A queue that is never idle, driven through one random history."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._stored = 0
        self._held: list[Lease] = []
        self.turns: list[str] = []
        self.names = [f"k{i}" for i in range(8)]
        for name, share in zip(self.names, (0.1, 0.2, 0.5, 1.0, 0.1, 0.3, 1.0, 0.5), strict=True):
            engine.set_share(QUEUE, (name,), share)

    def store(self, names: list[str]) -> None:
        batch = [entry(f"e{self._stored + i}", name) for i, name in enumerate(names)]
        self._stored += len(batch)
        store(self._engine, batch)

    def step(self) -> None:
        """Lease some, and store again for most keys, some of them being away for long."""
        leased = lease(self._engine, self._random.randint(1, 8)).leases
        self.turns += [one.key[0] for one in leased]
        self._held += leased
        self.store([one.key[0] for one in leased if self._random.random() < 0.9])
        self.store(["k0"])
        if self._random.random() < 0.1:
            self.store([self._random.choice(self.names)] * 3)
        name = self._random.choice(self.names)
        act = self._random.random()
        if act < 0.05:
            self._engine.pause(QUEUE, (name,))
        elif act < 0.15:
            self._engine.resume(QUEUE, (name,))
        elif act < 0.20:
            self._engine.set_share(QUEUE, (name,), self._random.choice([0.1, 0.25, 0.7, 1.0]))
        self._random.shuffle(self._held)
        for one in self._held[20:]:
            kind = OutcomeKind.RELEASED if one.number % 7 == 0 else OutcomeKind.COMPLETED
            assert self._engine.settle("w1", [outcome(one, kind)], now_us=NOW) == ()
        del self._held[20:]


@pytest.mark.parametrize("seed", range(3))
def test_nobodys_turn_changes_at_the_end_of_the_range(
    open_engine: Callable[..., Engine], seed: int
) -> None:
    near = _Busy(open_engine(tag_limit=2**28), seed)
    far = _Busy(open_engine(), seed)
    for _ in range(400):
        near.step()
        far.step()
    assert near.turns == far.turns
    assert len(near.turns) > 1_000


def test_a_key_away_for_the_whole_range_comes_back_without_credit_or_debt(
    open_engine: Callable[..., Engine],
) -> None:
    engine = open_engine(tag_limit=2**28)
    store(engine, entries("away", 1), entries("a", 1_000), entries("b", 1_000))
    assert keys(lease(engine, 1)) == ["away"]
    for _ in range(120):
        lease(engine, 16)
    store(engine, [entry(f"w{i}", "away") for i in range(3)])
    turns = keys(lease(engine, 6))
    assert Counter(turns) == {"away": 2, "a": 2, "b": 2}
    assert turns[0] == "away"

"""What every engine says of where an entry is, what holds it back, and what goes before it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.explanation import Blocker, BlockerKind, EntryState, Explanation
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import (
    CHARGE_UNIT,
    DEFAULT_LEVEL,
    Entry,
    KeyPath,
    Outcome,
    OutcomeKind,
)
from celery_ranch.scheduling.turns import Precision
from tests.conformance.histories import (
    LEASE_US,
    NOW,
    QUEUE,
    SECOND,
    entries,
    entry,
    ids,
    lease,
    lease_one,
    reap_after_lease_time,
    settle,
    store,
)


def explain(engine: Engine, entry_id: str, now_us: int = NOW, most: int = 1_000) -> Explanation:
    return engine.explain(QUEUE, entry_id, most=most, now_us=now_us)


def of(key: KeyPath, count: int) -> list[Entry]:
    return [Entry(f"{'/'.join(key)}-{i}", key, QUEUE, b"") for i in range(count)]


# -- where it is -------------------------------------------------------------------------


def test_an_entry_that_waits_is_told_with_its_facts(engine: Engine) -> None:
    store(engine, entries("acme", 2, level=3, cost=2_500_000, expires_in_us=9 * SECOND))
    assert explain(engine, "acme-1", NOW + SECOND) == Explanation(
        "acme-1",
        QUEUE,
        EntryState.WAITING,
        at_us=NOW + SECOND,
        handed_over=0,
        workers=0,
        key=("acme",),
        level=3,
        cost=2_500_000,
        deliveries=0,
        since_us=NOW,
        expires_at_us=NOW + 9 * SECOND,
        position=1,
        better=0,
        ahead=1,
        precision=Precision.EXACT,
    )


def test_a_delayed_entry_says_when_it_is_due(engine: Engine) -> None:
    store(engine, [entry("1", due_in_us=7 * SECOND)])
    told = explain(engine, "1")
    assert (told.state, told.due_at_us, told.ahead) == (EntryState.DELAYED, NOW + 7 * SECOND, None)
    # Nobody has looked since.
    assert explain(engine, "1", NOW + 8 * SECOND).state is EntryState.DELAYED
    lease(engine, 0, now_us=NOW + 8 * SECOND)
    assert explain(engine, "1", NOW + 8 * SECOND).state is EntryState.WAITING


@pytest.mark.parametrize(
    "kinds, state",
    [
        ([], EntryState.LEASED),
        ([OutcomeKind.STARTED], EntryState.STARTED),
        ([OutcomeKind.FINISHED], EntryState.FINISHED),
    ],
)
def test_a_leased_entry_says_who_has_it_and_since_when(
    engine: Engine, kinds: list[OutcomeKind], state: EntryState
) -> None:
    store(engine, [entry("1"), entry("2", "bolt")])
    lease(engine, 1, "another", now_us=NOW)
    (leased,) = lease(engine, 1, "celery@h/12", now_us=NOW + SECOND).leases
    settle(engine, leased, *kinds, worker="celery@h/12", now_us=NOW + SECOND)
    told = explain(engine, "2", NOW + 2 * SECOND)
    assert (told.state, told.worker, told.workers) == (state, "celery@h/12", 2)
    assert told.leased_at_us == NOW + SECOND
    assert (told.key, told.deliveries, told.ahead) == (("bolt",), 0, None)


def test_an_acknowledged_entry_is_found_until_its_slot_is_free(engine: Engine) -> None:
    store(engine, [entry("1", level=2)])
    leased = lease_one(engine)
    settle(engine, leased, OutcomeKind.STARTED, OutcomeKind.ACKNOWLEDGED)
    told = explain(engine, "1")
    assert (told.state, told.worker) == (EntryState.ACKNOWLEDGED, "w1")
    assert (told.key, told.level, told.deliveries) == (("acme",), 2, None)
    settle(engine, leased, OutcomeKind.FINISHED)
    assert explain(engine, "1").state is EntryState.UNKNOWN


def test_an_entry_stored_again_while_the_first_one_runs_is_told_before_it(engine: Engine) -> None:
    store(engine, [entry("1")])
    settle(engine, lease_one(engine), OutcomeKind.ACKNOWLEDGED)
    store(engine, [entry("1")])
    assert explain(engine, "1").state is EntryState.WAITING


def test_of_entries_that_run_under_one_id_the_latest_is_told(engine: Engine) -> None:
    for worker in ("w2", "w3", "w1"):
        store(engine, [entry("1")])
        settle(engine, lease_one(engine, worker), OutcomeKind.ACKNOWLEDGED, worker=worker)
    assert explain(engine, "1").worker == "w1"


def test_when_an_entry_was_leased_is_unknown_once_its_key_was_served_again(engine: Engine) -> None:
    store(engine, entries("acme", 2))
    lease(engine, 2, now_us=NOW + SECOND)
    assert explain(engine, "acme-0").leased_at_us is None
    assert explain(engine, "acme-1").leased_at_us == NOW + SECOND


def test_a_dead_letter_says_why_and_when(engine: Engine) -> None:
    store(engine, [entry("1")])
    settle(engine, lease_one(engine), OutcomeKind.DEAD, reason="why not", now_us=NOW + SECOND)
    told = explain(engine, "1", NOW + 2 * SECOND)
    assert (told.state, told.reason, told.died_at_us) == (
        EntryState.DEAD,
        "why not",
        NOW + SECOND,
    )
    assert told.key == ("acme",)


def test_what_came_back_tells_how_often(engine: Engine) -> None:
    store(engine, [entry("1")])
    settle(engine, lease_one(engine), OutcomeKind.STARTED)
    reap_after_lease_time(engine)
    told = explain(engine, "1", NOW + LEASE_US)
    assert (told.state, told.deliveries, told.workers) == (EntryState.WAITING, 1, 0)


def test_an_entry_that_never_was_is_unknown(engine: Engine) -> None:
    assert explain(engine, "1") == Explanation("1", QUEUE, EntryState.UNKNOWN, NOW, 0, 0)
    store(engine, [entry("2")])
    lease(engine, 1)
    assert explain(engine, "1") == Explanation("1", QUEUE, EntryState.UNKNOWN, NOW, 1, 1)


def test_nothing_changes_by_it(engine: Engine) -> None:
    store(engine, entries("acme", 3), entries("bolt", 2), [entry("later", due_in_us=1)])
    engine.pause(QUEUE, ("bolt",))
    for entry_id in ("acme-2", "bolt-1", "later", "nobody"):
        explain(engine, entry_id)
    engine.resume(QUEUE, ("bolt",))
    assert ids(lease(engine, 9)) == ["acme-0", "bolt-0", "acme-1", "bolt-1", "acme-2"]
    assert list(engine.check(QUEUE)) == []


# -- what holds it back ------------------------------------------------------------------


def test_a_pause_of_each_node_on_the_path_is_told(engine: Engine) -> None:
    store(engine, of(("acme", "alice"), 1), of(("bolt",), 1))
    engine.pause(QUEUE, ("acme",))
    engine.pause(QUEUE, ("acme", "alice"))
    engine.pause(QUEUE, ("bolt",))
    assert explain(engine, "acme/alice-0").blockers == (
        Blocker(BlockerKind.PAUSED, ("acme",)),
        Blocker(BlockerKind.PAUSED, ("acme", "alice")),
    )


def test_a_concurrency_limit_is_told_with_how_many_run(engine: Engine) -> None:
    engine.set_limits(QUEUE, ("acme",), limits_of(concurrency=2), now_us=NOW)
    store(engine, of(("acme", "alice"), 4))
    assert explain(engine, "acme/alice-3").blockers == ()
    first, _ = lease(engine, 9).leases
    assert explain(engine, "acme/alice-3").blockers == (
        Blocker(BlockerKind.CONCURRENCY, ("acme",), running=2, limit=2),
    )
    settle(engine, first, OutcomeKind.COMPLETED)
    assert explain(engine, "acme/alice-3").blockers == ()


def test_a_rate_is_told_with_until_when_it_holds(engine: Engine) -> None:
    engine.set_limits(QUEUE, ("acme",), limits_of(rate="6/m"), now_us=NOW)
    store(engine, entries("acme", 3))
    lease(engine, 1)
    until_us = NOW + 10 * SECOND
    assert explain(engine, "acme-2").blockers == (
        Blocker(BlockerKind.RATE, ("acme",), until_us=until_us),
    )
    # The next lease lets it go.
    assert explain(engine, "acme-2", until_us).blockers == ()


def test_what_holds_a_delayed_entry_s_key_back_is_told_as_well(engine: Engine) -> None:
    store(engine, [entry("1", due_in_us=SECOND)])
    engine.pause(QUEUE, ("acme",))
    assert explain(engine, "1").blockers == (Blocker(BlockerKind.PAUSED, ("acme",)),)


def test_what_would_go_before_an_entry_that_is_held_back_is_told(engine: Engine) -> None:
    store(engine, entries("acme", 3), entries("bolt", 9))
    engine.pause(QUEUE, ("acme",))
    told = explain(engine, "acme-2")
    assert (told.position, told.ahead, told.precision) == (2, 4, Precision.ABOUT)


# -- what goes before it -----------------------------------------------------------------


def test_turns_of_other_keys_are_counted_by_their_shares(engine: Engine) -> None:
    engine.set_share(QUEUE, ("bolt",), 2.0, now_us=NOW)
    store(engine, entries("acme", 9), entries("bolt", 9), entries("coda", 1))
    told = explain(engine, "acme-3")
    assert (told.position, told.better, told.precision) == (3, 0, Precision.EXACT)
    assert told.ahead == ids(lease(engine, 19)).index("acme-3")


def test_better_levels_go_first(engine: Engine) -> None:
    store(engine, entries("acme", 2), entries("bolt", 7, level=2), entries("coda", 7, level=9))
    told = explain(engine, "acme-1")
    assert (told.position, told.better, told.ahead) == (1, 7, 8)
    assert not told.is_level_sure


def test_what_is_paused_in_a_better_level_does_not(engine: Engine) -> None:
    store(engine, entries("acme", 2), entries("bolt", 7, level=2))
    engine.pause(QUEUE, ("bolt",))
    assert explain(engine, "acme-1").ahead == 1


def test_a_floor_lets_a_level_go_before_better_ones(open_engine: Callable[..., Engine]) -> None:
    engine = open_engine(level_floor=50_000)
    store(engine, entries("acme", 2), entries("bolt", 900, level=2))
    told = explain(engine, "acme-1")
    assert (told.better, told.precision, told.is_level_sure) == (900, Precision.ABOUT, True)
    assert told.ahead is not None
    assert 30 <= told.ahead <= 60


def test_turns_of_all_nodes_on_a_path_are_counted(engine: Engine) -> None:
    store(engine, of(("acme", "alice"), 4), of(("acme", "bob"), 4), of(("bolt",), 9))
    store(engine, of(("acme",), 2))
    told = {one: explain(engine, one) for one in ("acme/alice-2", "acme/bob-3", "acme-1", "bolt-5")}
    order = ids(lease(engine, 19))
    assert {one: each.ahead for one, each in told.items()} == {
        one: order.index(one) for one in told
    }


def test_the_costs_that_keys_are_thought_to_have_decide_where_they_are_measured(
    engine: Engine,
) -> None:
    store(engine, entries("slow", 1, cost=None), entries("quick", 1, cost=None))
    for one in lease(engine, 2).leases:
        run_us = {"slow": 4 * SECOND, "quick": SECOND}[one.key[0]]
        reports = [OutcomeKind.STARTED, OutcomeKind.COMPLETED]
        for kind in reports:
            outcome = Outcome(kind, QUEUE, one.entry_id, one.number, run_us=run_us)
            assert engine.settle("w1", [outcome], now_us=NOW) == ()
    batch = [Entry(f"s{i}", ("slow",), QUEUE, b"", cost=None) for i in range(4)]
    store(engine, batch, [Entry(f"q{i}", ("quick",), QUEUE, b"", cost=None) for i in range(30)])
    told = explain(engine, "s2")
    assert (told.cost, told.precision) == (None, Precision.ABOUT)
    assert told.ahead is not None
    assert abs(told.ahead - ids(lease(engine, 34)).index("s2")) <= 1


def test_of_many_siblings_some_are_looked_at(engine: Engine) -> None:
    store(engine, [entry(f"e{n}", f"k{n}") for n in range(300)], entries("acme", 2))
    exact, about = explain(engine, "acme-1"), explain(engine, "acme-1", most=20)
    assert (exact.ahead, exact.precision) == (301, Precision.EXACT)
    assert about.precision is Precision.ABOUT
    assert about.ahead is not None
    assert abs(about.ahead - 301) <= 20


def test_an_entry_s_defaults_are_told(engine: Engine) -> None:
    store(engine, [entry("1")])
    told = explain(engine, "1")
    assert (told.level, told.cost, told.expires_at_us) == (DEFAULT_LEVEL, CHARGE_UNIT, None)

"""What every engine promises of keys that are paths: tenants, their users, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import Entry, KeyPath, KeySnapshot, Leased, OutcomeKind
from tests.conformance.histories import LEASE_US, NOW, QUEUE, SECOND, ids, lease, settle, store

ACME, BOLT = ("acme",), ("bolt",)
ALICE, BOB = ("acme", "alice"), ("acme", "bob")
IDLE_US = 100 * SECOND


def of(key: KeyPath, count: int, name: str = "", **facts: object) -> list[Entry]:
    """Return entries of a path, named after it."""
    name = name or "/".join(key)
    return [Entry(f"{name}-{i}", key, QUEUE, b"", **facts) for i in range(count)]  # type: ignore[arg-type]


def whose(leased: Leased) -> list[str]:
    return ["/".join(one.key) for one in leased.leases]


def snapshots(engine: Engine) -> dict[KeyPath, KeySnapshot]:
    return {snapshot.key: snapshot for snapshot in engine.keys(QUEUE)[1]}


# -- who gets how much -----------------------------------------------------------------


def test_a_tenant_that_splits_its_work_gets_no_more_than_one_that_does_not(engine: Engine) -> None:
    for user in range(20):
        store(engine, of(("acme", f"u{user}"), 10))
    store(engine, of(BOLT, 100))
    served = Counter(lease_.key[0] for lease_ in lease(engine, 100).leases)
    assert served == {"acme": 50, "bolt": 50}


def test_the_users_of_a_tenant_share_what_the_tenant_gets(engine: Engine) -> None:
    store(engine, of(ALICE, 50), of(BOB, 50), of(BOLT, 50))
    assert Counter(whose(lease(engine, 40))) == {"acme/alice": 10, "acme/bob": 10, "bolt": 20}


def test_a_user_who_comes_late_waits_for_the_tenants_turn_alone(engine: Engine) -> None:
    store(engine, of(ALICE, 50), of(BOLT, 50))
    lease(engine, 20)
    store(engine, of(BOB, 5))
    assert whose(lease(engine, 4)) == ["acme/bob", "bolt", "acme/alice", "bolt"]


def test_shares_hold_at_every_depth(engine: Engine) -> None:
    engine.set_share(QUEUE, ACME, 3.0)
    engine.set_share(QUEUE, ALICE, 2.0)
    store(engine, of(ALICE, 50), of(BOB, 50), of(BOLT, 50))
    assert Counter(whose(lease(engine, 40))) == {"acme/alice": 20, "acme/bob": 10, "bolt": 10}


def test_a_tenants_own_entries_take_turns_with_its_users(engine: Engine) -> None:
    store(engine, of(ALICE, 20), of(ACME, 20), of(BOB, 20), of(BOLT, 60))
    assert Counter(whose(lease(engine, 60))) == {
        **{"acme": 10, "acme/alice": 10, "acme/bob": 10},
        **{"bolt": 30},
    }


def test_entries_of_a_tenant_wait_on_in_order_when_its_first_user_comes(engine: Engine) -> None:
    store(engine, of(ACME, 4), of(BOLT, 1))
    assert ids(lease(engine, 2)) == ["acme-0", "bolt-0"]
    store(engine, of(ALICE, 2))
    assert ids(lease(engine, 5)) == ["acme-1", "acme/alice-0", "acme-2", "acme/alice-1", "acme-3"]


def test_what_was_leased_before_the_first_user_came_can_be_given_back(engine: Engine) -> None:
    store(engine, of(ACME, 2))
    (first,) = lease(engine, 1).leases
    store(engine, of(ALICE, 1))
    settle(engine, first, OutcomeKind.RELEASED)
    assert ids(lease(engine, 5)) == ["acme-0", "acme/alice-0", "acme-1"]
    assert [*engine.check(QUEUE)] == []


def test_eight_parts_are_eight_races(engine: Engine) -> None:
    deep = tuple("abcdefgh")
    store(engine, of(deep, 8))
    for size in range(1, 8):
        store(engine, of((*deep[:size], "other"), 4))
    store(engine, of(("z",), 4))
    assert whose(lease(engine, 5))[:3] == ["a/b/c/d/e/f/g/h", "z", "a/other"]


def test_parts_hold_any_text(engine: Engine) -> None:
    """No part is taken for a path, nor a path for a part."""
    paths = [("a/b",), ("a", "b"), ("a\x1f", "b"), ("a", "\x1fb"), ("a\x1fb",), ("a\x1e", "1")]
    for number, path in enumerate(paths):
        store(engine, of(path, 1, f"e{number}"))
    engine.set_share(QUEUE, ("a",), 0.5)
    assert {snapshot.key for snapshot in engine.keys(QUEUE)[1]} >= set(paths)
    assert {leased.key for leased in lease(engine, 10).leases} == set(paths)


# -- pausing -----------------------------------------------------------------------------


def test_pausing_a_tenant_stops_its_users(engine: Engine) -> None:
    store(engine, of(ALICE, 2), of(ACME, 2), of(("acme", "bob", "1"), 2), of(BOLT, 2))
    engine.pause(QUEUE, ACME)
    assert whose(lease(engine, 9)) == ["bolt", "bolt"]
    engine.resume(QUEUE, ACME)
    assert Counter(whose(lease(engine, 9))) == {"acme/alice": 2, "acme": 2, "acme/bob/1": 2}


def test_a_user_who_comes_while_the_tenant_is_paused_waits_as_well(engine: Engine) -> None:
    engine.pause(QUEUE, ACME)
    store(engine, of(ALICE, 1), of(("acme", "carol", "x"), 1))
    assert lease(engine, 9).leases == ()
    engine.resume(QUEUE, ACME)
    assert len(lease(engine, 9).leases) == 2


def test_pausing_a_user_leaves_the_tenants_turns_to_the_others(engine: Engine) -> None:
    store(engine, of(ALICE, 5), of(BOB, 5), of(BOLT, 5))
    engine.pause(QUEUE, ALICE)
    assert whose(lease(engine, 4)) == ["acme/bob", "bolt", "acme/bob", "bolt"]


def test_a_user_paused_in_a_paused_tenant_stays_so_when_the_tenant_is_resumed(
    engine: Engine,
) -> None:
    store(engine, of(ALICE, 2), of(BOB, 2))
    engine.pause(QUEUE, ALICE)
    engine.pause(QUEUE, ACME)
    engine.resume(QUEUE, ACME)
    assert whose(lease(engine, 9)) == ["acme/bob", "acme/bob"]


def test_pausing_a_tenant_does_not_show_its_users_as_paused(engine: Engine) -> None:
    store(engine, of(ALICE, 1))
    engine.pause(QUEUE, ACME)
    assert {key: shown.is_paused for key, shown in snapshots(engine).items()} == {
        ACME: True,
        ALICE: False,
    }


def test_a_pause_of_a_whole_tenant_earns_no_credit(engine: Engine) -> None:
    store(engine, of(ALICE, 20), of(BOLT, 40))
    lease(engine, 2)
    engine.pause(QUEUE, ACME)
    lease(engine, 10)
    engine.resume(QUEUE, ACME)
    assert Counter(whose(lease(engine, 10))) == {"acme/alice": 5, "bolt": 5}


# -- delayed, cancelled, given back, dead ------------------------------------------------


def test_what_comes_due_enters_at_its_place_in_the_tree(engine: Engine) -> None:
    store(engine, of(ALICE, 3), of(BOLT, 3), of(BOB, 1, due_in_us=SECOND))
    lease(engine, 2)
    leased = lease(engine, 4, now_us=NOW + SECOND)
    assert whose(leased) == ["acme/bob", "bolt", "acme/alice", "bolt"]


def test_cancelling_a_users_only_entry_takes_the_tenant_out_of_the_race(engine: Engine) -> None:
    store(engine, of(ALICE, 1), of(BOLT, 2))
    engine.cancel(QUEUE, "acme/alice-0", now_us=NOW)
    assert whose(lease(engine, 9)) == ["bolt", "bolt"]


def test_an_expired_entry_costs_neither_user_nor_tenant_a_turn(engine: Engine) -> None:
    store(engine, of(ALICE, 1, "late", expires_at_us=NOW), of(ALICE, 2), of(BOB, 2), of(BOLT, 3))
    leased = lease(engine, 4)
    assert whose(leased) == ["acme/alice", "acme/alice", "bolt", "acme/bob", "bolt"]
    assert [one.is_expired for one in leased.leases] == [True, False, False, False, False]


def test_a_dead_letter_that_is_retried_waits_at_its_path(engine: Engine) -> None:
    store(engine, of(ALICE, 1))
    (leased,) = lease(engine, 1).leases
    settle(engine, leased, OutcomeKind.DEAD, reason="no")
    assert engine.dead_letters(QUEUE)[0].key == ALICE
    engine.retry_dead(QUEUE, "acme/alice-0", now_us=NOW)
    assert lease(engine, 1).leases[0].key == ALICE


# -- what is shown -----------------------------------------------------------------------


def test_a_tenant_is_shown_beside_its_users_each_with_its_own_backlog(engine: Engine) -> None:
    store(engine, of(ALICE, 3), of(ACME, 2), of(BOB, 1, due_in_us=SECOND))
    shown = snapshots(engine)
    assert {key: (one.waiting, one.delayed) for key, one in shown.items()} == {
        **{ACME: (2, 0), ALICE: (3, 0), BOB: (0, 1)},
    }


def test_what_is_in_service_below_a_tenant_counts_as_the_tenants(engine: Engine) -> None:
    store(engine, of(ALICE, 2), of(ACME, 1), of(BOLT, 1))
    leased = lease(engine, 4).leases
    shown = snapshots(engine)
    assert {key: one.in_service for key, one in shown.items()} == {ACME: 3, ALICE: 2, BOLT: 1}
    for one in leased[:2]:
        settle(engine, one, OutcomeKind.COMPLETED)
    assert sum(one.in_service for key, one in snapshots(engine).items() if len(key) == 1) == 2


def test_a_tenant_was_last_leased_from_when_a_user_of_it_was(engine: Engine) -> None:
    store(engine, of(ALICE, 1), of(BOB, 1))
    lease(engine, 1)
    lease(engine, 1, now_us=NOW + SECOND)
    shown = snapshots(engine)
    assert [shown[key].last_leased_at_us for key in (ALICE, BOB, ACME)] == [
        *(NOW, NOW + SECOND, NOW + SECOND)
    ]


def test_pending_of_a_tenant_is_its_own_backlog(engine: Engine) -> None:
    store(engine, of(ALICE, 1), of(ACME, 1))
    assert [entry_id for entry_id, _ in engine.pending(QUEUE, ACME)] == ["acme-0"]
    assert [entry_id for entry_id, _ in engine.pending(QUEUE, ALICE)] == ["acme/alice-0"]


def test_naming_a_path_makes_all_of_it_known(engine: Engine) -> None:
    engine.set_share(QUEUE, ("acme", "alice", "x"), 2.0)
    assert set(snapshots(engine)) == {ACME, ALICE, ("acme", "alice", "x")}


# -- what is forgotten -------------------------------------------------------------------


@pytest.fixture
def idling(open_engine: Callable[..., Engine]) -> Engine:
    """An engine that forgets idle nodes after `IDLE_US`."""
    return open_engine(idle_key_us=IDLE_US)


def run_one(engine: Engine, now_us: int = NOW) -> str:
    """Lease an entry and complete it; return whose it was."""
    (leased,) = lease(engine, 1, now_us=now_us).leases
    settle(engine, leased, OutcomeKind.COMPLETED, now_us=now_us)
    return "/".join(leased.key)


def test_a_tenant_is_never_forgotten_before_its_users(idling: Engine) -> None:
    store(idling, of(ALICE, 1), of(BOLT, 1))
    run_one(idling)
    run_one(idling)
    idling.pause(QUEUE, ALICE)
    for _ in range(3):
        idling.reap(10, now_us=NOW + IDLE_US)
    assert set(snapshots(idling)) == {ACME, ALICE}
    idling.resume(QUEUE, ALICE)
    for _ in range(3):
        idling.reap(10, now_us=NOW + IDLE_US)
    assert snapshots(idling) == {}


def test_who_of_a_tenant_was_served_is_remembered_as_long_as_any_key(idling: Engine) -> None:
    """The tenant's own entries as well, which stand for nobody that is shown."""
    store(idling, of(ALICE, 1), of(ACME, 1))
    assert [run_one(idling), run_one(idling)] == ["acme/alice", "acme"]
    idling.reap(10, now_us=NOW + IDLE_US - 1)
    store(idling, of(ACME, 1, "x"), of(ALICE, 1, "y"), now_us=NOW + IDLE_US - 1)
    assert run_one(idling, NOW + IDLE_US - 1) == "acme/alice"


def test_a_tenant_whose_users_are_forgotten_goes_on_as_a_key(idling: Engine) -> None:
    store(idling, of(ALICE, 1))
    run_one(idling)
    idling.pause(QUEUE, ACME)
    idling.reap(10, now_us=NOW + IDLE_US)
    assert set(snapshots(idling)) == {ACME}
    idling.resume(QUEUE, ACME)
    store(idling, of(ACME, 2), of(BOLT, 2), now_us=NOW + IDLE_US)
    assert whose(lease(idling, 4, now_us=NOW + IDLE_US)) == ["bolt", "acme", "bolt", "acme"]
    assert [*idling.check(QUEUE)] == []


def test_reaped_entries_go_back_to_their_paths(engine: Engine) -> None:
    engine.set_limits(QUEUE, ACME, Limits(concurrency=2), now_us=NOW)
    store(engine, of(ALICE, 2), of(BOB, 1))
    assert len(lease(engine, 9).leases) == 2
    for now_us in range(NOW - LEASE_US, NOW + LEASE_US + 1, LEASE_US // 3):
        engine.reap(10, now_us=now_us)
    assert {key: shown.in_service for key, shown in snapshots(engine).items()} == {
        **{ACME: 0, ALICE: 0, BOB: 0},
    }
    assert len(lease(engine, 9, "w2", now_us=NOW + LEASE_US).leases) == 2

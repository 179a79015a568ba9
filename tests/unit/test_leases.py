"""The lease book: exactly one report of each start and end, and none is lost."""

import math
import threading

import pytest

from celery_ranch.scheduling.model import Lease, OutcomeKind
from celery_ranch.worker.leases import LeaseBook


def make_lease(number=1, *, is_expired=False):
    return Lease(f"entry-{number}", ("acme",), "celery", number, 0, b"", is_expired)


def make_lease_of(entry_id, number):
    return Lease(entry_id, ("acme",), "celery", number, 0, b"", False)


@pytest.fixture
def told():
    return []


@pytest.fixture
def book(told):
    return LeaseBook(lambda: told.append("outcome"))


@pytest.fixture
def holding(book):
    return book.take([make_lease()])[0]


def kinds(outcomes):
    return [outcome.kind for outcome in outcomes]


def test_a_lease_takes_a_slot_until_it_is_finished(book, holding):
    assert book.slots_taken == 1
    book.start(holding, 0.0, acknowledged=False)
    book.acknowledge(holding)
    assert book.slots_taken == 1
    book.finish(holding)
    assert book.slots_taken == 0
    assert book.holdings() == ()


def test_an_expired_lease_takes_no_slot(book):
    (expired,) = book.take([make_lease(is_expired=True)])
    assert book.slots_taken == 0
    book.finish(expired)
    assert book.slots_taken == 0


def test_each_report_is_said_once(book, holding, told):
    for _ in range(2):
        book.start(holding, 0.0, acknowledged=False)
        book.finish(holding)
        book.acknowledge(holding)

    assert kinds(book.drain()) == [OutcomeKind.COMPLETED]
    assert told == ["outcome"] * 3


def test_reports_drained_one_by_one_are_all_said(book, holding):
    said = []
    book.start(holding, 0.0, acknowledged=False)
    said += kinds(book.drain())
    book.finish(holding)
    said += kinds(book.drain())
    book.acknowledge(holding)
    said += kinds(book.drain())

    assert said == [OutcomeKind.STARTED, OutcomeKind.FINISHED, OutcomeKind.ACKNOWLEDGED]


def test_an_early_acknowledgement_is_said_with_the_start(book, holding):
    book.start(holding, 0.0, acknowledged=True)
    book.acknowledge(holding)

    assert kinds(book.drain()) == [OutcomeKind.ACKNOWLEDGED]
    assert not book.has_outcomes


@pytest.mark.parametrize("give_back", ["release", "requeue"])
def test_giving_back_what_was_acknowledged_only_frees_its_slot(book, holding, give_back):
    book.start(holding, 0.0, acknowledged=True)
    book.drain()
    getattr(book, give_back)(holding)

    assert kinds(book.drain()) == [OutcomeKind.FINISHED]
    assert book.slots_taken == 0


def test_what_finished_and_is_rejected_then_goes_back_once(book, holding):
    book.start(holding, 0.0, acknowledged=False)
    book.finish(holding)
    book.requeue(holding)
    book.requeue(holding)

    assert kinds(book.drain()) == [OutcomeKind.REQUEUED]
    assert book.slots_taken == 0


def test_what_was_given_back_says_no_more(book, holding):
    book.release(holding, 5)
    book.start(holding, 0.0, acknowledged=True)
    book.finish(holding)
    book.acknowledge(holding)

    (outcome,) = book.drain()
    assert (outcome.kind, outcome.due_in_us) == (OutcomeKind.RELEASED, 5)
    assert book.slots_taken == 0


def test_the_reason_of_a_dead_letter_is_said(book, holding):
    book.bury(holding, "unreadable")

    assert book.drain()[0].reason == "unreadable"


def test_a_lease_is_owned_until_the_store_has_confirmed_its_last_outcome(book, holding):
    key = ("celery", "entry-1", 1)
    book.release(holding)
    assert book.owned() == {key}
    outcomes = book.drain()
    assert book.owned() == {key}
    book.restore(outcomes)
    assert book.owned() == {key}
    again = book.drain()
    assert again == outcomes
    book.confirm(again)
    assert book.owned() == frozenset()


def test_what_may_not_have_arrived_is_said_again_before_the_rest(book):
    first, second = book.take([make_lease(1), make_lease(2)])
    book.release(first)
    lost = book.drain()
    book.release(second)
    book.restore(lost)

    assert book.has_outcomes
    assert [outcome.number for outcome in book.drain()] == [1, 2]


def test_threads_that_report_at_once_lose_no_slot(book):
    holdings = book.take(make_lease(number) for number in range(400))

    def run(share):
        for holding in share:
            book.start(holding, 0.0, acknowledged=True)
            book.finish(holding)

    # Each holding is reported by two threads, as by a hard time limit.
    threads = [threading.Thread(target=run, args=(holdings[n % 4 :: 4],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert book.slots_taken == 0
    assert book.holdings() == ()
    assert kinds(book.drain()) == [OutcomeKind.COMPLETED] * 400


def test_an_outcome_reported_within_a_report_is_not_a_deadlock():
    """A cold shutdown drains the pool in a signal's handler, wherever that strikes."""
    book = LeaseBook(lambda: None)
    (outer, inner) = book.take([make_lease(1), make_lease(2)])
    with book._lock:
        book.finish(inner)
    book.finish(outer)

    assert book.slots_taken == 0


def test_a_lease_with_a_number_that_a_failover_gave_out_again_is_held_beside_the_old_one(book):
    (old,) = book.take([make_lease_of("old", 7)])
    book.start(old, 1.0, acknowledged=True)
    book.take([make_lease_of("new", 7)])
    book.finish(old)

    assert [holding.lease.entry_id for holding in book.holdings()] == ["new"]


def test_a_lease_is_kept_for_sure_at_first_and_later_only_by_beats():
    book = LeaseBook(lambda: None, lease_seconds=0.0)
    (holding,) = book.take([make_lease()])
    assert not book.is_kept(holding)
    book.keep_until(math.inf)
    assert book.is_kept(holding)
    (young,) = LeaseBook(lambda: None, lease_seconds=1_000.0).take([make_lease()])
    assert LeaseBook(lambda: None, lease_seconds=1_000.0).is_kept(young)


def test_what_was_given_back_is_not_kept(book):
    released, requeued, kept = book.take([make_lease(1), make_lease(2), make_lease(3)])
    book.release(released)
    book.requeue(requeued)

    assert [book.is_kept(holding) for holding in (released, requeued, kept)] == [False, False, True]


def test_what_the_store_does_not_know_of_has_passed_on_unless_it_was_leased_since(book):
    known = book.take([make_lease(1), make_lease(2)])
    (later,) = book.take([make_lease(3)])
    book.keep({("celery", "entry-2", 2)}, known)

    assert [book.is_kept(holding) for holding in (*known, later)] == [False, True, True]

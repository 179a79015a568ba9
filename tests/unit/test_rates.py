"""What a worker gives to Celery's token buckets."""

from kombu.utils.limits import TokenBucket

from celery_ranch.scheduling.model import Lease
from celery_ranch.worker.leases import LeaseBook
from celery_ranch.worker.messages import FairMessage
from celery_ranch.worker.rates import RateLimits


class Request:
    """What a bucket knows of Celery's request."""

    def __init__(self, message):
        self.message = message


def test_an_entry_goes_to_a_new_bucket_only_when_it_is_out_of_the_old_one():
    book, rates = LeaseBook(lambda: None), RateLimits()
    (holding,) = book.take([Lease("entry", ("acme",), "celery", 1, 0, b"", False)])
    old, new = TokenBucket(1.0), TokenBucket(2.0)
    message = FairMessage(holding, {}, headers={"task": "limited"})
    assert rates.offer(message, old, 0.0) == 0.0
    book.park(holding)
    assert rates.next({"limited": old}) is message
    old.add((Request(message), 1))

    # A thread of Celery's timers looks whether it may run.
    in_hand = old.pop()
    assert rates.next({"limited": new}) is None
    old.add(in_hand)
    assert rates.next({"limited": new}) is message
    assert not old.contents
    assert rates.next({"limited": new}) is None

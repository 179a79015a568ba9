"""From leased entries to Celery's task handler, in order, as slots are free.

What was leased ahead of a free slot is the *stock*: it is still the
scheduler's to give to somebody else, so it is kept here and not in a pool's
own queue, and is given back when the tasks before it turn out to be long.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state
from kombu.serialization import prepare_accept_content

from celery_ranch.ranch.weights import Weights
from celery_ranch.worker.capacity import Capacity
from celery_ranch.worker.leases import Holding, LeaseBook
from celery_ranch.worker.messages import (
    FairMessage,
    UnfitMessageError,
    UnknownTaskError,
    build_message,
)
from celery_ranch.worker.rates import RateLimits
from celery_ranch.worker.requests import hear_errors, leave, watch
from celery_ranch.worker.service import ServiceCounts

__all__ = ["Feeder"]

logger = get_logger(__name__)

#: Stock older than this many lookaheads is given back.
_STALE_LOOKAHEADS = 4

#: In seconds: what was leased a moment ago is handed over, however short the lookahead.
_SHORTEST_STALE_SECONDS = 0.05


class Feeder:
    """Hands leases to Celery and hears what becomes of the requests.

    Args:
        consumer: Celery's consumer.
        book: Where leases and outcomes are kept.
        capacity: How much to lease.
        counts: Where runs are counted.
        before_run: Called when a pool has taken a request.
        say_now: Tells the store at once what is to be said of leases.
        accept_pickle: Whether entries may be pickled in the store.
        weights: Who wants to know which keys are leased from.
    """

    def __init__(
        self,
        consumer: Any,
        book: LeaseBook,
        capacity: Capacity,
        *,
        counts: ServiceCounts,
        before_run: Callable[[], None],
        say_now: Callable[[], None],
        accept_pickle: bool,
        weights: Weights,
    ) -> None:
        self._consumer = consumer
        self._book = book
        self._capacity = capacity
        self._counts = counts
        self._before_run = before_run
        self._say_now = say_now
        self.stale_seconds = max(
            capacity.lookahead_seconds * _STALE_LOOKAHEADS, _SHORTEST_STALE_SECONDS
        )
        self._accept_pickle = accept_pickle
        self._weights = weights
        self._accept = prepare_accept_content(consumer.app.conf.accept_content)
        self._stock: deque[Holding] = deque()
        self._stocked_slots = 0
        # What leases in a thread is stopped from another one.
        self._lock = threading.RLock()
        self._running_inline = threading.RLock()
        self._stocked_at = 0.0
        self._rates = RateLimits()
        self._is_admitting = False
        self._is_stopped = False
        self._execute = consumer.on_task_request
        self._handle: Any = None
        # The one door that every request goes through on its way to the
        # pool, whatever `Request` or `Strategy` a user has set. Strategies
        # pick it up when the consumer (re)starts, after this.
        consumer.on_task_request = self.on_task_request
        if not consumer.pool.uses_semaphore:
            hear_errors(consumer.pool)

    @property
    def room(self) -> int:
        """How many more entries to lease."""
        return self._capacity.room(self._book.slots_taken)

    @property
    def has_stock(self) -> bool:
        """Whether something was leased ahead."""
        return bool(self._stock)

    @property
    def stock_size(self) -> int:
        """How many entries were leased ahead."""
        return len(self._stock)

    @property
    def given_to_buckets(self) -> int:
        """How many entries Celery's token buckets were given, each of which may set a timer."""
        return self._rates.given

    @property
    def is_well_stocked(self) -> bool:
        """Whether most of the lookahead is at hand, so that leasing can wait."""
        return self.room < self._capacity.lookahead // 4

    @property
    def is_pool_well_fed(self) -> bool:
        """Whether the pool has enough for a while, or there is nothing at hand for it."""
        enough = (self._capacity.size + self._capacity.handed_over_at_most) / 2
        return not self._stock or self._in_pool > enough

    @property
    def is_stopping(self) -> bool:
        """Whether nothing is handed over any more, so nothing should be leased."""
        return self._is_stopped or _is_set(state.should_stop) or _is_set(state.should_terminate)

    def connect(self) -> None:
        """Take the consumer's present handler; call it at each (re)start."""
        self._is_stopped = False
        with self._lock:
            # What was parked has been given back.
            self._rates.clear()
        self._handle = self._consumer.create_task_handler()

    def take(self, holdings: Sequence[Holding]) -> None:
        """Accept what was newly leased and start what there is a slot for."""
        if self._weights.function is not None:
            for holding in holdings:
                self._weights.note(holding.lease.queue, holding.lease.key)
        if not self._stock:
            self._stocked_at = monotonic()
        with self._lock:
            self._stock.extend(holdings)
            self._stocked_slots += sum(holding.takes_a_slot for holding in holdings)
        self.feed()

    def feed(self) -> None:
        """Hand over what there is a slot for, and give back what got stale."""
        self._feed_stock()
        self._admit()

    def _feed_stock(self) -> None:
        while True:
            with self._lock:
                if self.is_stopping:
                    self._empty_stock()
                if not self._stock:
                    return
                if self._is_stale():
                    self._empty_stock()
                    return
                if not self._stock[0].lease.is_expired and not self._has_slot():
                    return
                holding = self._unstock()
            with self._running_inline:
                self._hand_over(holding)

    def stop(self) -> None:
        """Hand nothing over any more; what was leased ahead is given back.

        What a solo pool runs in another thread has ended then, but for a cold
        shutdown: such a pool has nothing that would wait for it.
        """
        self._is_stopped = True
        self._empty_stock()
        if self._capacity.runs_inline and not _is_set(state.should_terminate):
            with self._running_inline:
                self._empty_stock()

    def on_task_request(self, request: Any) -> None:
        """Pass a request on to Celery's pool; watch it if it is ours."""
        message = request.message
        if not isinstance(message, FairMessage):
            self._execute(request)
            return
        self._book.unpark(message.holding)
        if not self._book.is_kept(message.holding):
            # It waited with Celery, for its turn at a limited rate.
            leave(request, message.holding, self._book)
            return
        if message.holding.lease.is_suspect:
            # It can kill this worker within less time than it takes to say
            # that it started, so that is said first. If the store is away
            # just now, this time will not count.
            self._book.expect_start(message.holding)
            self._say_now()
        request.request_dict.update(message.moments)
        watch(
            request,
            message.holding,
            self._book,
            before_run=self._before_run,
            on_run=self._on_run,
            ends_unheard=not self._consumer.pool.uses_semaphore,
        )
        # A bucket lets go of requests in a thread of its own, where there is no
        # event loop.
        with self._running_inline:
            self._execute(request)
        # Not within the bucket's own timer, which would set another one for
        # each entry given to it meanwhile.
        self.admit_soon()

    def admit_soon(self) -> None:
        """Let a timer give Celery's buckets what is next; any thread may call this."""
        if self._rates.has_more and not self._is_admitting:
            self._consumer.timer.call_after(0.0, self._admit)

    def stocked_messages(self) -> list[FairMessage]:
        """Return the messages of what was leased ahead, as far as they can be read."""
        with self._lock:
            stock = tuple(self._stock)
            messages = self._rates.messages()
        for holding in stock:
            try:
                messages.append(self._message(holding))
            except Exception as error:
                # Its turn will come, and with it what is to be said of it.
                logger.debug("Entry %s is not shown: %s", holding.lease.entry_id, error)
        return messages

    def _empty_stock(self) -> None:
        with self._lock:
            while self._stock:
                self._book.release(self._unstock())
            if self.is_stopping:
                for holding in self._rates.clear():
                    self._book.release(holding)

    def _unstock(self) -> Holding:
        holding = self._stock.popleft()
        self._stocked_slots -= holding.takes_a_slot
        return holding

    @property
    def _in_pool(self) -> int:
        return self._book.slots_taken - self._stocked_slots

    def _has_slot(self) -> bool:
        return self._in_pool < self._capacity.handed_over_at_most

    def _is_stale(self) -> bool:
        is_old = monotonic() - self._stocked_at > self.stale_seconds
        return is_old or not self._book.is_kept(self._stock[0])

    def _hand_over(self, holding: Holding) -> None:
        self._stocked_at = monotonic()
        try:
            message = self._message(holding)
        except Exception as error:
            is_expected = isinstance(error, UnfitMessageError)
            reason = str(error) if is_expected else f"unreadable message: {error!r}"
            logger.error("Entry %s goes to the dead letters: %s", holding.lease.entry_id, reason)
            self._book.bury(holding, reason)
            if isinstance(error, UnknownTaskError):
                self._announce_unknown(error.message)
            return
        if self._limited(message):
            self._admit()
        else:
            self._give(message)

    def _on_run(self, holding: Holding, run_seconds: float, failed: bool) -> None:
        self._capacity.learn(run_seconds)
        self._counts.count(holding, run_seconds, failed=failed)

    def _message(self, holding: Holding) -> FairMessage:
        return build_message(
            self._book,
            holding,
            accept=self._accept,
            known_tasks=self._consumer.strategies,
            accept_pickle=self._accept_pickle,
            is_for_processes=self._consumer.pool.uses_semaphore,
        )

    def _announce_unknown(self, message: FairMessage) -> None:
        """Let Celery tell of an unknown task: its state, its signal, its event.

        Celery also rejects the message, which changes nothing any more.
        """
        try:
            self._handle(message)
        except Exception:
            logger.exception("An unknown task could not be told of")

    def _limited(self, message: FairMessage) -> bool:
        """Leave an entry to its type's rate limit, if there is one."""
        holding = message.holding
        bucket = self._consumer.task_buckets[message.headers.get("task", "")]
        if bucket is None or self._consumer.disable_rate_limits or holding.lease.is_expired:
            return False
        with self._lock:
            seconds = self._rates.offer(message, bucket, monotonic())
            if seconds:
                self._book.release(holding, math.ceil(seconds * 1_000_000))
            else:
                self._book.park(holding)
        return True

    def _admit(self) -> None:
        """Give Celery's buckets what they are to let go of next."""
        with self._lock:
            if self._is_admitting:
                return
            self._is_admitting = True
        try:
            while not self.is_stopping and self._has_slot():
                with self._lock:
                    message = self._rates.next(self._consumer.task_buckets)
                if message is None:
                    return
                with self._running_inline:
                    self._give(message)
        finally:
            self._is_admitting = False

    def _give(self, message: FairMessage) -> None:
        """Hand a message to Celery's handler."""
        try:
            self._handle(message)
        except Exception:
            # One bad entry must not strand the rest of the batch; this one
            # comes back, and ends in the dead letters if it stays bad.
            logger.exception("Entry %s could not be handed over", message.holding.lease.entry_id)
            if not message.holding.is_finished:  # a solo pool has run it by now
                self._book.requeue(message.holding)


def _is_set(flag: Any) -> bool:
    # Celery keeps the exit code here, and zero is one.
    return flag is not None and flag is not False

"""Leasing on Celery's event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery.utils.log import get_logger

from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Leased, Outcome
from celery_ranch.worker.capacity import Capacity
from celery_ranch.worker.feeding import Feeder
from celery_ranch.worker.leases import LeaseBook
from celery_ranch.worker.links import DirectLink, Link, Listener
from celery_ranch.worker.outage import Outage
from celery_ranch.worker.signals import LoopSignal

__all__ = ["LoopDriver"]

logger = get_logger(__name__)

#: How long a turn may be put off so that it carries more, in seconds.
_HOLD_SECONDS = 0.01


class LoopDriver:
    """Settles and leases at the end of each tick of the loop.

    Nothing here may raise into the loop: an error in a callback would end
    the worker, one in a timer would restart its consumer.

    Args:
        hub: Celery's event loop.
        engine: Where entries are.
        worker: The name leases are taken under.
        book: What is held and what is to be said of it.
        feeder: Where leased entries go.
        capacity: Whether the pool runs tasks inline, and for how long.
        queues: Tells the fair queues served, read at each lease.
        wait_seconds: How long to listen for a wake-up before looking anyway.
        outage: Whom to tell that the store is away, and that it is back.
    """

    def __init__(
        self,
        hub: Any,
        engine: Engine,
        worker: str,
        book: LeaseBook,
        feeder: Feeder,
        capacity: Capacity,
        queues: Callable[[], Sequence[str]],
        wait_seconds: float,
        outage: Outage,
    ) -> None:
        self._hub = hub
        self._book = book
        self._feeder = feeder
        self._capacity = capacity
        self._queues = queues
        self._wait_seconds = wait_seconds
        self._has_news = True
        self._may_lease = True
        self._is_leasing = True
        self._listen_seconds = wait_seconds
        self._listening_to: tuple[str, ...] = ()
        self._owed_wakes: set[str] = set()
        self._stale_timer: Any = None
        self._hold_timer: Any = None
        self._is_overdue = False
        self._loop_thread = threading.get_ident()
        self._signal = LoopSignal(hub, self.tick)
        listener = Listener(
            self._on_leased, self._on_woken, self._on_settled, self._on_lost, self._on_ready
        )
        self._link = _open_link(hub, engine, worker, listener, outage)
        self._check_timer = hub.call_repeatedly(1.0, self._check)
        # Runs when callbacks of a tick are done: one turn says all of it.
        hub.on_tick.add(self.tick)

    def on_outcome(self) -> None:
        """Make sure an outcome is sent soon; any thread may call this."""
        self._has_news = True
        # What happens on the loop is followed by a tick in any case. While a
        # turn is held back a timer will tick, unless something runs low.
        if threading.get_ident() == self._loop_thread or self._signal.is_set:
            return
        feeder, is_held_back = self._feeder, self._hold_timer is not None
        if not (is_held_back and feeder.is_pool_well_fed and feeder.is_well_stocked):
            self._signal.set()

    def before_run(self) -> None:
        """Say at once what was said of leases, if a task is to block the loop for long.

        For one that was expected to be short the heartbeat's thread says it.
        """
        estimate = self._capacity.run_seconds
        if estimate is not None and estimate < self._capacity.lookahead_seconds:
            return
        self.say_now()

    def say_now(self) -> None:
        """Tell the store at once what is to be said of leases, if it can be reached."""
        outcomes = self._book.drain()
        if not outcomes:
            return
        if self._link.settle_now(outcomes):
            self._book.confirm(outcomes)
        else:
            self._book.restore(outcomes)

    def tick(self) -> None:
        """Do what there is to do now; without news that is nothing."""
        if not self._has_news:
            return
        try:
            given = self._feeder.given_to_buckets
            self._feeder.feed()
            self._watch_stock()
            if self._feeder.given_to_buckets != given:
                # As in `_call_later`: Celery may have set a timer for it.
                self._signal.set()
            if self._link.is_idle:
                self._has_news = False
                self._turn()
                self._pass_wakes_on()
                self._listen()
        except Exception:
            logger.exception("Could not lease; trying again")

    def stop_leasing(self) -> None:
        """Take nothing new; outcomes are still sent."""
        self._is_leasing = False
        self._feeder.stop()
        self._link.stop_listening(tuple({*self._queues(), *self._listening_to}))

    def close(self) -> None:
        """Say what is left to be said and let go of the loop."""
        self._hub.on_tick.discard(self.tick)
        self._check_timer.cancel()
        for timer in (self._stale_timer, self._hold_timer):
            if timer is not None:
                timer.cancel()
        self.say_now()
        self._link.close()
        self._signal.close()

    def _turn(self) -> None:
        wants = self._is_leasing and self._may_lease and not self._feeder.is_stopping
        if not (wants or self._book.has_outcomes):
            return
        room = self._feeder.room if wants else 0
        if self._may_hold_back(room):
            return
        queues = self._queues()
        limit = room if queues else 0
        outcomes = self._book.drain()
        if limit or outcomes:
            self._book.is_leasing = limit > 0
            self._link.turn(outcomes, queues, limit)

    def _may_hold_back(self, room: int) -> bool:
        """Whether a larger turn, a moment later, serves as well.

        While most of the lookahead is still at hand the pool is not waiting,
        and a turn costs the same for one entry as for many.
        """
        if room >= self._capacity.lookahead // 4 or self._is_overdue or not self._may_lease:
            self._is_overdue = False
            return False
        if self._hold_timer is None:
            self._hold_timer = self._call_later(_HOLD_SECONDS, self._on_held_back)
        return True

    def _on_held_back(self) -> None:
        self._hold_timer = None
        self._is_overdue = True
        self._look()

    def _listen(self) -> None:
        if self._may_lease or not self._is_leasing or self._link.is_listening:
            return
        queues = self._queues()
        # Who has no room does not take tokens from those who have.
        if queues and self._feeder.room:
            self._listening_to = tuple(queues)
            self._link.listen(queues, self._listen_seconds)

    def _pass_wakes_on(self) -> None:
        if self._owed_wakes and self._link.is_idle:
            self._link.wake(tuple(self._owed_wakes))
            self._owed_wakes.clear()

    def _watch_stock(self) -> None:
        # A loop with nothing to do sleeps longer than stock may wait.
        if self._feeder.has_stock and self._stale_timer is None:
            self._stale_timer = self._call_later(self._feeder.stale_seconds, self._on_stale)

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = self._hub.call_later(seconds, callback)
        # The loop has settled how long to sleep before its ticks are run.
        self._signal.set()
        return timer

    def _on_stale(self) -> None:
        self._stale_timer = None
        self._look()

    def _look(self) -> None:
        """Tick whether there is news or not."""
        self._has_news = True
        self.tick()

    def _check(self) -> None:
        try:
            self._link.check()
        except Exception:
            logger.exception("Could not reach the store; trying again")
        # Pools grow and queues are added without a word to us, and while a
        # pool drains only timers run. No wake-up of a queue that was added
        # since is listened for yet.
        if self._link.is_listening and {*self._queues()} != {*self._listening_to}:
            self._may_lease = True
            self._link.cease_listening()
        self._look()

    def _on_leased(self, leased: Leased, limit: int) -> None:
        self._has_news = True
        # What runs inline is owned by then, and may take long.
        holdings = self._book.take(leased.leases)
        self._book.is_leasing = False
        due = sum(not lease.is_expired for lease in leased.leases)
        self._may_lease = leased.has_more or due >= limit
        self._listen_seconds = self._wait_seconds
        if leased.next_due_in_us is not None:
            self._listen_seconds = min(self._wait_seconds, leased.next_due_in_us / 1_000_000)
        self._feeder.take(holdings)

    def _on_woken(self) -> None:
        self._has_news = True
        self._may_lease = True
        heard, served = set(self._listening_to), self._queues()
        if not self._is_leasing or not self._feeder.room:
            self._owed_wakes |= heard
        else:
            # One that this worker served when it began to listen may be cancelled.
            self._owed_wakes |= heard.difference(served)

    def _on_settled(self, outcomes: list[Outcome]) -> None:
        self._has_news = True
        self._book.confirm(outcomes)

    def _on_lost(self, outcomes: list[Outcome]) -> None:
        self._has_news = True
        self._book.is_leasing = False
        self._book.restore(outcomes)
        self._may_lease = True

    def _on_ready(self) -> None:
        self._has_news = True
        self._may_lease = True


def _open_link(hub: Any, engine: Engine, worker: str, listener: Listener, outage: Outage) -> Link:
    if isinstance(engine, MemoryEngine):
        return DirectLink(hub, engine, worker, listener)
    # Imported here, because without a Redis store there need be no redis-py.
    from celery_ranch.engines.redis import RedisEngine
    from celery_ranch.worker.redis_link import RedisLink

    assert isinstance(engine, RedisEngine)
    return RedisLink(hub, engine, worker, listener, outage)

"""What every engine promises, whatever it keeps its entries in.

An engine is the only thing that moves entries. At every instant an accepted
entry is in exactly one place: waiting, delayed, leased, acknowledged and
running, dead, or gone because it is done. All verbs are atomic, all may be
called by many workers and threads at once, and each takes the time as `now_us`
(microseconds since the epoch) so that tests can set it; None means the
store's own clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from celery_ranch.scheduling.bulk import Bulk
from celery_ranch.scheduling.explanation import Explanation
from celery_ranch.scheduling.figures import NodeFigures, Survey, WorkerFigures
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import (
    DeadLetter,
    Enqueued,
    Entry,
    KeyDetails,
    KeyPath,
    KeySnapshot,
    Leased,
    Outcome,
    Publish,
    QueueSnapshot,
    Reaped,
)
from celery_ranch.scheduling.policies import ShareTarget, Target
from celery_ranch.scheduling.service import Bucket, Service, ServiceReport
from celery_ranch.scheduling.turns import MOST_SIBLINGS

__all__ = ["Engine"]


class Engine(Bulk, Protocol):
    """The verbs. `engines.memory` is the reference for what each one means."""

    # -- data ---------------------------------------------------------------

    def enqueue(
        self,
        entries: Sequence[Entry],
        *,
        publish: Publish | None = None,
        now_us: int | None = None,
    ) -> Enqueued:
        """Store a batch, all of it or nothing.

        If an id is in use, in the store or earlier in the batch, nothing is
        stored and the reply names it under `taken`.

        A call with a `publish` may be repeated when its reply was lost, with
        the same queues in the same order: it stores once, whatever became of
        the entries meanwhile, also if an attempt arrives after a later one.
        This holds for 15 minutes after the publisher's last stored batch. An
        attempt that was answered with `taken` used its number up for
        nothing else: it may be repeated with other ids.

        If a node may have fewer entries waiting than it would have with the
        batch, nothing is stored and the reply names it under `full`; entries
        that are exempt are counted and never refused.

        Raises:
            BatchTooLargeError: More than 1,000 entries.
            StoreError, StoreUnavailableError: The store refused or is away.
        """
        ...

    def lease(
        self, worker: str, queues: Sequence[str], limit: int, *, now_us: int | None = None
    ) -> Leased:
        """Move up to `limit` entries, in the rule's order, to that worker.

        Levels are compared across the queues. Between queues at one level,
        the queue least recently leased from goes first, ties in the order
        given. First, what came due is made eligible, delayed entries and
        nodes that a rate held back, at most 256 in (due, sequence) order over
        all the queues (the queues in the order given). An expired entry at
        the head of the key whose turn it is is handed over as well, outside
        `limit` and uncharged; it takes of the same 256. When that budget is
        used up and there is more to do, the reply says `has_more`.

        A worker that leases without having beaten is registered as if it had.
        """
        ...

    def settle(
        self, worker: str, outcomes: Sequence[Outcome], *, now_us: int | None = None
    ) -> tuple[Outcome, ...]:
        """Record what became of leases; return those that had passed on.

        started: the entry was handed to a process; from now on a dead worker
            costs it a delivery. acknowledged: the message is done with and
            forgotten, the slot is still taken. finished: the slot is free;
            an entry leaves when it is both. completed: both at once.
            The end of a run says how long it took (`run_us`), by which a measured
        cost is corrected; what started and was not measured keeps its charge.
        released: back to the place of its number, not counted as a
            delivery, after `due_in_us`. requeued: delivery count + 1 and back
            to the place of its number after `requeue_delay_us`; beyond
            `max_deliveries` to the dead letters instead. dead: to the dead
            letters with the reason; counts as finished.

        Outcomes apply in order. One whose lease (worker, entry, number) is
        not held changes nothing and is returned. Releasing, requeueing or
        burying what was acknowledged only frees its slot.
        """
        ...

    def heartbeat(self, worker: str, *, now_us: int | None = None) -> bool:
        """Keep all of the worker's leases for another `lease_us`.

        Returns False if no queue knows the worker: it never leased, or it was
        reaped, in which case its leases have passed on.
        """
        ...

    def held(self, worker: str) -> frozenset[tuple[str, str, int]]:
        """Return (queue, entry id, lease number) of all the worker's leases."""
        ...

    def reap(self, limit: int, *, now_us: int | None = None) -> Reaped:
        """Take back at most `limit` entries of workers that stopped beating.

        An acknowledged entry only frees its slot. One never started is
        released. Any other goes back to the place of its number at once with
        delivery count + 1, beyond `max_deliveries` to the dead letters. What
        goes back is suspect until it is delayed or dead: its leases say so. When
        reaping itself paused for more than a third of `lease_us` (or never
        ran), nothing is reaped for one `lease_us`: the store was away, and
        live workers beat first.

        It also forgets the bookkeeping of keys idle for `idle_key_us`, at
        most `limit` looked at per call, and, while it does not hold back,
        tells of withdrawals that whoever began them does not carry out.
        """
        ...

    def wait(self, queues: Sequence[str], seconds: float) -> bool:
        """Sleep until something may be leasable; return whether it may be.

        Wake-ups are tokens, at most one per queue: each wakes one waiter. A
        waiter that then does not lease must call `wake`.
        """
        ...

    def wake(self, queues: Sequence[str]) -> None:
        """Leave a token in each queue with something leasable or delayed."""
        ...

    # -- control ------------------------------------------------------------

    def set_share(
        self, queue: str, target: ShareTarget, share: float | None, *, now_us: int | None = None
    ) -> None:
        """Give a node a share, by its path, by a tag or by default; None takes it back.

        What is set of a path holds at once, for what waits as well; the rest
        for each node from the next time that something of it is stored,
        leased or ended. What a weight function says of a path goes over all
        of these, until one is set of the path itself, and is forgotten with
        an idle node.
        """
        ...

    def set_limits(
        self, queue: str, target: Target, limits: Limits, *, now_us: int | None = None
    ) -> None:
        """Set all limits of a node, by its path, by a tag or by default.

        They hold when a share does. A node that has as many entries leased
        and not finished as it may, or whose rate does not let another start
        yet, is not served, at any level; it comes back when that ends.
        """
        ...

    def add_tag(self, queue: str, key: KeyPath, tag: str, *, is_only: bool = False) -> None:
        """Give a node a tag; if it is to be the only one of its name, take the others."""
        ...

    def remove_tag(self, queue: str, key: KeyPath, tag: str) -> None:
        """Take a tag from a node, if it has it."""
        ...

    def tagged(self, queue: str, tag: str) -> frozenset[KeyPath]:
        """Return the nodes that have a tag, or with `tags_named` any of a name.

        A node that has it all the time is among them.
        """
        ...

    def set_data(self, queue: str, key: KeyPath, name: str, text: str | None) -> bool:
        """Note something about a node, None to note it no longer.

        Returns False, and nothing changed, if what is noted of the node,
        names included, would come to more than `MAX_DATA_BYTES`.
        """
        ...

    def pause(self, queue: str, key: KeyPath) -> None:
        """Take a node out of circulation, with all below it; its entries keep their places."""
        ...

    def resume(self, queue: str, key: KeyPath) -> None:
        """Let a paused key be served again."""
        ...

    def cancel(self, queue: str, entry_id: str, *, now_us: int | None = None) -> bytes | None:
        """Drop a waiting or delayed entry; return its message.

        None means that no entry of that id waits: it is unknown, leased or
        dead, and nothing changed.
        """
        ...

    def dead_letters(self, queue: str, offset: int = 0, limit: int = 100) -> tuple[DeadLetter, ...]:
        """Return dead letters, the latest first."""
        ...

    def retry_dead(self, queue: str, entry_id: str, *, now_us: int | None = None) -> bool:
        """Put a dead letter back as if just stored, with no deliveries."""
        ...

    def delete_dead(self, queue: str, entry_id: str) -> bool:
        """Drop a dead letter for good."""
        ...

    # -- look ---------------------------------------------------------------

    def queues(self) -> frozenset[str]:
        """Return the names of all queues that ever held an entry."""
        ...

    def snapshot(self, queue: str, *, now_us: int | None = None) -> QueueSnapshot:
        """Return a queue's counts."""
        ...

    def keys(
        self, queue: str, cursor: int = 0, count: int = 100
    ) -> tuple[int, tuple[KeySnapshot, ...]]:
        """Return some keys and the cursor to go on from; 0 means the end.

        As with Redis' SCAN, a key present all the time is returned at least
        once, and `count` is a wish: a hundred hold Redis for a few milliseconds.
        Idle keys still remembered are included.
        """
        ...

    def details(self, queue: str, key: KeyPath) -> KeyDetails:
        """Return all that is remembered of one key."""
        ...

    def survey(self, queue: str, cursor: int = 0, *, now_us: int | None = None) -> Survey:
        """Return what a queue has at each level, and some of its keys.

        Keys are those that may be worth measuring, found without looking at
        all of them: who has much waiting is likely to be among them. A part of all
        nodes is looked at from the cursor on, so that everybody is in the end.
        """
        ...

    def measure(self, queue: str, keys: Sequence[KeyPath]) -> tuple[NodeFigures, ...]:
        """Return how nodes stand, of the first hundred those that are known."""
        ...

    def report(self, worker: str, report: ServiceReport, *, now_us: int | None = None) -> None:
        """Keep what a worker counted, and what it says of itself, for whoever looks.

        Counts of keys are kept for a quarter of an hour, in buckets of 10
        seconds, those of levels for 6 hours, in such of 60, and ever. After its
        last report a worker that has no leases is not known any more.
        """
        ...

    def service(self, queue: str, bucket: Bucket | None = None) -> Service:
        """Return what was counted of a queue in a bucket of time; None: ever."""
        ...

    def watched(self, limit: int = 200) -> tuple[tuple[WorkerFigures, ...], int]:
        """Return up to `limit` workers, and how many there are besides, at least."""
        ...

    def pending(
        self, queue: str, key: KeyPath, offset: int = 0, limit: int = 1_000
    ) -> tuple[tuple[str, bytes], ...]:
        """Return (entry id, message) of a key's backlog.

        Waiting entries come first, by their numbers, then delayed ones by
        due time and number.
        """
        ...

    def explain(
        self,
        queue: str,
        entry_id: str,
        *,
        most: int = MOST_SIBLINGS,
        now_us: int | None = None,
    ) -> Explanation:
        """Say where an entry is, what holds it back, and how many go before it.

        All of it is of one instant, but for who has an entry that is leased,
        if workers have thousands of leases. Nothing changes by it.

        How many go before it is what the rule does if nothing else is stored,
        ends, is set or paused meanwhile, what is held back stays so, and each
        entry costs what this one does. It is exact as long as no more than
        `most` siblings matter, in all races on its way together, and estimated
        from so many of them beyond that.
        """
        ...

    def check(self, queue: str, count: int = 100) -> Iterator[Violation]:
        """Yield what is wrong with a queue; nothing where all is well.

        Each entry is to be in exactly one place, each key in the index and
        with a timer exactly when it should be, each counter right. The queue
        may be in use meanwhile: it is looked at in slices of about `count`
        entries or keys, and what is yielded was wrong at one instant. It may
        be yielded more than once.
        """
        ...

    def warnings(self) -> tuple[str, ...]:
        """Return what about the store should worry who starts a worker on it."""
        ...

    def close(self) -> None:
        """Let go of connections; other engines on the same store go on."""
        ...

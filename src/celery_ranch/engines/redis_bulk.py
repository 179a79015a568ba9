"""Taking away, moving and bringing back many entries, of the engine in Redis."""

from __future__ import annotations

from collections.abc import Sequence

from celery_ranch.engines import wire, wire_bulk
from celery_ranch.engines.redis_control import RedisControl
from celery_ranch.engines.scripts import load_script
from celery_ranch.engines.wire import Request
from celery_ranch.scheduling.bulk import FIRST
from celery_ranch.scheduling.model import KeyPath, Withdrawal
from celery_ranch.scheduling.withdrawals import (
    Aside,
    CarriedOut,
    DeadCursor,
    DeadSwept,
    Move,
    Moved,
)

__all__ = ["VERBS", "RedisBulk"]

VERBS = ("withdraw", "carry_out", "move_entry", "arrive", "sweep_dead")

#: For how long a queue remembers at least which of moved entries have come.
_ARRIVAL_MS = 86_400_000


class RedisBulk(RedisControl):
    """The verbs of `RedisEngine` that go through a backlog, or dead letters, in slices."""

    def withdraw(
        self,
        queue: str,
        key: KeyPath,
        helper: str,
        *,
        move: Move | None = None,
        now_us: int | None = None,
    ) -> Withdrawal | None:
        """As `Engine.withdraw`."""
        named = wire_bulk.move_arguments(queue, move)
        request = self._on_queue(
            "withdraw",
            queue,
            lambda reply: wire_bulk.read_withdrawal(reply, queue),
            now_us,
            key=wire.key_text(key),
            helper=helper,
            **named,
        )
        return self._run(request)

    def carry_out(
        self,
        withdrawal: Withdrawal,
        helper: str,
        limit: int,
        *,
        done: Sequence[str] = (),
        now_us: int | None = None,
    ) -> CarriedOut:
        """As `Engine.carry_out`."""
        script = load_script("carry_out")
        base = self._base(withdrawal.queue)
        named = self._named(now_us, base=base, number=withdrawal.number, helper=helper, limit=limit)
        request = Request("carry_out", script.command(named, (), done), wire_bulk.read_carried_out)
        return self._run(request)

    def move_entry(
        self, queue: str, entry_id: str, helper: str, move: Move, *, now_us: int | None = None
    ) -> Withdrawal | Moved:
        """As `Engine.move_entry`."""
        request = self._on_queue(
            "move_entry",
            queue,
            lambda reply: wire_bulk.read_moved(reply, queue),
            now_us,
            entry_id=entry_id,
            helper=helper,
            **wire_bulk.move_arguments(queue, move),
        )
        return self._run(request)

    def arrive(
        self,
        queue: str,
        token: str,
        entries: Sequence[Aside],
        *,
        key: KeyPath | None = None,
        now_us: int | None = None,
    ) -> tuple[str, ...]:
        """As `Engine.arrive`."""
        named = self._named(
            now_us,
            base=self._base(queue),
            token=token,
            arrival_ms=_ARRIVAL_MS,
            key="" if key is None else wire.key_text(key),
        )
        values = [value for entry in entries for value in wire_bulk.arrival_arguments(entry)]
        command = load_script("arrive").command(named, (), values)
        return self._run(Request("arrive", command, wire_bulk.read_arrived))

    def sweep_dead(
        self,
        queue: str,
        key: KeyPath | None,
        limit: int,
        *,
        is_retried: bool,
        cursor: DeadCursor = FIRST,
        now_us: int | None = None,
    ) -> DeadSwept:
        """As `Engine.sweep_dead`."""
        request = self._on_queue(
            "sweep_dead",
            queue,
            wire_bulk.read_dead_swept,
            now_us,
            key="" if key is None else wire.key_text(key),
            is_retried=int(is_retried),
            after=cursor.after,
            till=cursor.till,
            limit=limit,
        )
        return self._run(request)

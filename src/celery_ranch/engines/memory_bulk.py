"""Taking away, moving and bringing back many entries, of the engine in this process's memory."""

from __future__ import annotations

from collections.abc import Sequence

from celery_ranch.engines.memory_control import MemoryControl
from celery_ranch.scheduling.bulk import FIRST
from celery_ranch.scheduling.model import KeyPath, Withdrawal
from celery_ranch.scheduling.withdrawals import (
    Aside,
    CarriedOut,
    DeadCursor,
    DeadSwept,
    Move,
    Moved,
    Progress,
)

__all__ = ["MemoryBulk"]


class MemoryBulk(MemoryControl):
    """The verbs of `MemoryEngine` that go through a backlog, or dead letters, in slices."""

    def withdraw(
        self,
        queue: str,
        key: KeyPath,
        helper: str,
        *,
        move: Move | None = None,
        now_us: int | None = None,
    ) -> Withdrawal | None:
        with self._changed:
            state = self._queues.get(queue)
            if state is None:
                return None
            number = state.withdrawals.withdraw(key, helper, move, self._now_us(now_us))
            return None if number is None else Withdrawal(queue, number)

    def carry_out(
        self,
        withdrawal: Withdrawal,
        helper: str,
        limit: int,
        *,
        done: Sequence[str] = (),
        now_us: int | None = None,
    ) -> CarriedOut:
        with self._changed:
            state = self._queues.get(withdrawal.queue)
            if state is None:
                return CarriedOut(Progress.ELSEWHERE)
            due_at_us = state.next_due_at_us()
            is_sweeping = state.withdrawals.is_sweeping(withdrawal.number)
            carried_out = state.withdrawals.carry_out(
                withdrawal.number, helper, limit, done, self._now_us(now_us)
            )
            if is_sweeping and carried_out.progress is not Progress.ELSEWHERE:
                self._leave_token(state, due_at_us)
            return carried_out

    def move_entry(
        self, queue: str, entry_id: str, helper: str, move: Move, *, now_us: int | None = None
    ) -> Withdrawal | Moved:
        with self._changed:
            state = self._queues.get(queue)
            if state is None:
                return Moved.ELSEWHERE
            due_at_us = state.next_due_at_us()
            moved = state.move(entry_id, helper, move, self._now_us(now_us))
            if moved is Moved.FILED or isinstance(moved, int):
                self._leave_token(state, due_at_us)
            return moved if isinstance(moved, Moved) else Withdrawal(queue, moved)

    def arrive(
        self,
        queue: str,
        token: str,
        entries: Sequence[Aside],
        *,
        key: KeyPath | None = None,
        now_us: int | None = None,
    ) -> tuple[str, ...]:
        with self._changed:
            state = self._open(queue)
            due_at_us = state.next_due_at_us()
            taken = state.arrive(token, entries, key, self._now_us(now_us))
            if not taken:
                self._leave_token(state, due_at_us)
            return taken

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
        with self._changed:
            state = self._queues.get(queue)
            if state is None:
                return DeadSwept(0, None)
            swept = state.sweep_dead(
                key, limit, cursor, self._now_us(now_us), is_retried=is_retried
            )
            if is_retried:
                self._leave_token(state, state.next_due_at_us())
            return swept

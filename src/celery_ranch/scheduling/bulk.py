"""What every engine promises of many entries at once: taken away, moved, brought back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celery_ranch.scheduling.model import KeyPath, Withdrawal
from celery_ranch.scheduling.withdrawals import (
    Aside,
    CarriedOut,
    DeadCursor,
    DeadSwept,
    Move,
    Moved,
)

__all__ = ["Bulk"]

FIRST = DeadCursor()


class Bulk(Protocol):
    """The verbs of an `Engine` that go through a backlog, or dead letters, in slices."""

    def withdraw(
        self,
        queue: str,
        key: KeyPath,
        helper: str,
        *,
        move: Move | None = None,
        now_us: int | None = None,
    ) -> Withdrawal | None:
        """Take away all that waits at a node and below it, delayed entries included.

        This is one instant: from then on nothing of it is leased. What was
        leased then is not withdrawn, also if it comes back, and what is
        stored later is not; both wait until `carry_out` has taken aside what
        is. Returns None if nothing waits there.

        Args:
            queue: Where.
            key: The node.
            helper: Who carries it out: a name that nobody else has.
            move: Where entries go; None: they are cancelled.
            now_us: The time.
        """
        ...

    def carry_out(
        self,
        withdrawal: Withdrawal,
        helper: str,
        limit: int,
        *,
        done: Sequence[str] = (),
        now_us: int | None = None,
    ) -> CarriedOut:
        """Bring a withdrawal a slice further; call it until nothing is left.

        While it says `SWEEPING` it takes up to `limit` entries: those that
        move within the queue are filed under their new key, at the place of
        their number; all others are taken aside. Withdrawals of a queue are
        swept in the order in which they began. Then the node races again.

        While it says `ASIDE` it returns up to `limit` of what is aside, by
        number: those of moved entries are to be given to `arrive`, those of
        cancelled ones to be announced. They are returned again until a call
        names them as `done`, which drops them.

        Each call renews the helper's claim for `lease_us`; meanwhile another
        helper hears `ELSEWHERE`.
        """
        ...

    def move_entry(
        self, queue: str, entry_id: str, helper: str, move: Move, *, now_us: int | None = None
    ) -> Withdrawal | Moved:
        """Let one entry that waits, or is delayed, wait elsewhere.

        Within its queue this is done at once, and it keeps its number. For
        another queue it is taken aside: returned is what is to be carried
        out.

        Args:
            queue: Where it waits.
            entry_id: The entry's id.
            helper: Who carries it out: a name that nobody else has.
            move: Where it goes.
            now_us: The time.
        """
        ...

    def arrive(
        self,
        queue: str,
        token: str,
        entries: Sequence[Aside],
        *,
        key: KeyPath | None = None,
        now_us: int | None = None,
    ) -> tuple[str, ...]:
        """Store what was taken aside in another queue, all of it or nothing; return ids in use.

        Those that arrived before, with an earlier call of the same token, are
        not stored again: this is remembered for a day. Where ids are in use
        nothing is stored; it may be called again with other ids. Entries keep
        their level, cost, due time, expiry and deliveries, and wait in the
        order of their numbers behind what waits. No backlog is too full.

        Args:
            queue: Where they go.
            token: Of their withdrawal.
            entries: As `carry_out` returned them.
            key: Whose they are there; None: each stays its own key's.
            now_us: The time.
        """
        ...

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
        """Put dead letters back as if just stored, or drop them for good.

        Looked at are at most `limit` of them, the first to die first, and
        none that died after the first call.

        Args:
            queue: Where.
            key: Those of this node and below it; None: all.
            limit: How many to look at.
            is_retried: Whether they are put back.
            cursor: Where the last call ended.
            now_us: The time.
        """
        ...

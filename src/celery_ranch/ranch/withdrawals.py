"""Taking away what waits: a key's tasks, a tag's, a queue's."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from celery.app.task import Context
from celery.utils.log import get_logger
from kombu.common import Broadcast

from celery_ranch.envelope import request_facts, unpack
from celery_ranch.errors import InvalidKeyError, InvalidMoveError, InvalidTagError
from celery_ranch.ranch.look import Look
from celery_ranch.scheduling.bulk import FIRST
from celery_ranch.scheduling.model import KeyPath, Withdrawal, key_path
from celery_ranch.scheduling.policies import tag_text
from celery_ranch.scheduling.withdrawals import CarriedOut, Move, Moved, Progress

__all__ = ["SLICE", "Withdrawing"]

logger = get_logger(__name__)

#: How many entries one call to the store takes, or returns: it holds Redis
#: for a few milliseconds at most.
SLICE = 80

#: How many withdrawals are begun before the first is carried out.
_MOST_AT_ONCE = 1_000


class Withdrawing(Look):
    """Cancelling and moving what waits: at one instant for each key, and slice by slice.

    Whoever begins it may die: then workers finish it, `lease_seconds` after
    they heard of it last.
    """

    def cancel(
        self,
        task_id: str | None = None,
        queue: str | None = None,
        *,
        key: Any = None,
        tag: tuple[str, str] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Drop tasks that wait; their state becomes REVOKED, and chords hear of it.

        What is dropped of a key is what waited at one instant, delayed tasks
        and those of keys below it included. Nothing of it is started from
        then on. What workers had then, leased ahead included, runs on, and
        what is sent later waits until all of it is aside.

        Args:
            task_id: The task's id, or the entry's where a task has been
                published again under the same id.
            queue: Where it waits; None means all queues for a task, the
                default one for a key and a tag.
            key: Instead of a task: all that waits at a key and below it.
            tag: Instead of a task: all of each key with this tag, (name,
                value), each at an instant of its own.
            on_progress: Called now and then with how many have been told of.

        Returns:
            How many waited. Of a task this is True or False; one that runs or
            is done is left alone.

        Raises:
            InvalidKeyError, InvalidTagError, StoreError: Nothing changed.
        """
        _check_one_is_given(task_id, key, tag)
        if task_id is not None:
            return self._cancel_task(task_id, queue)
        name = self._queue(queue)
        return self._cancel_all(name, self._meant(name, key, tag), on_progress)

    def purge(
        self, queue: str | None = None, *, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Drop what waits in a queue, and return how many tasks that were.

        It goes from key to key, and does with each what `cancel` does.

        Args:
            queue: Which; None means the default one.
            on_progress: Called now and then with how many have been told of.
        """
        name = self._queue(queue)
        outermost = dict.fromkeys(snapshot.key[:1] for snapshot in self.keys(name))
        return self._cancel_all(name, outermost, on_progress)

    def move(
        self,
        task_id: str | None = None,
        queue: str | None = None,
        *,
        key: Any = None,
        to_key: Any = None,
        to_queue: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Let tasks that wait wait under another key, in another queue, or both.

        What is moved of a key is what waited at one instant, as with
        `cancel`: delayed tasks and those of keys below it included. Within
        its queue a task keeps its place: it waits where it would had it been
        sent for the other key. In another queue it waits behind what waits
        there. Priority, cost, due time and expiry go along, and so does the
        key for what it calls; what was named before (the next steps of a
        chain, callbacks, a chord's body) keeps the key and queue it has.

        Args:
            task_id: The task's id, or the entry's where a task has been
                published again under the same id.
            queue: Where it waits; None means all queues for a task, the
                default one for a key.
            key: Instead of a task: all that waits at a key and below it.
            to_key: Whose they are from now on; None: each stays its own key's.
            to_queue: Where they wait from now on; None: where they are.
            on_progress: Called now and then with how many are there, of a key's.

        Returns:
            How many waited. Of a task this is True or False; one that runs or
            is done is left alone.

        Raises:
            InvalidKeyError, InvalidMoveError, StoreError: Nothing moved. A
                queue must be declared, or have had tasks.
        """
        _check_one_is_given(task_id, key)
        path = None if key is None else key_path(key)
        target = None if to_key is None else key_path(to_key)
        to_name = None if to_queue is None else self._target_queue(to_queue)
        if target is None and to_name is None:
            raise InvalidMoveError(None, "a key, a queue, or both")
        if path is None:
            return self._move_task(str(task_id), queue, target, to_name)
        name = self._queue(queue)
        move = Move(to_name or name, target)
        if move.queue == name and target in (None, path):
            raise InvalidMoveError(to_queue if target is None else to_key, "another place")
        return self._withdraw_all(name, [path], move, on_progress)

    def retry_all_dead(self, key: Any = None, queue: str | None = None) -> int:
        """Put dead letters back as if just stored; return how many.

        Args:
            key: Those of this key and below it; None means all.
            queue: The queue they are in; None means the default one.

        Raises:
            InvalidKeyError, StoreError: Of those before some may be back.
        """
        return self._sweep_dead(key, queue, is_retried=True)

    def delete_all_dead(self, key: Any = None, queue: str | None = None) -> int:
        """Drop dead letters for good; return how many. As `retry_all_dead`."""
        return self._sweep_dead(key, queue, is_retried=False)

    def finish(
        self,
        withdrawal: Withdrawal,
        helper: str | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Carry out what was begun, here or elsewhere; return how many entries it took.

        Tasks are announced at least once: if this is cut off in a slice, all
        of that slice are announced again. It ends early where another helper
        is at work.

        Args:
            withdrawal: What was begun.
            helper: Who began it; None: a new helper.
            is_stopping: Asked before each slice whether to leave it at that.
            on_progress: Called after each slice with how many it has done with.
        """
        helper = helper or new_helper()
        taken = dealt_with = 0
        done: Sequence[str] = ()
        while not is_stopping():
            reply = self.engine.carry_out(withdrawal, helper, SLICE, done=done)
            taken = max(taken, reply.taken)
            if reply.progress in (Progress.OVER, Progress.ELSEWHERE):
                break
            done = self._deal_with(reply)
            dealt_with += len(done)
            if on_progress is not None:
                on_progress(dealt_with)
        return taken

    # -- inside ---------------------------------------------------------------

    def _cancel_task(self, task_id: str, queue: str | None) -> bool:
        engine = self.engine
        queues = sorted(engine.queues()) if queue is None else [self._queue(queue)]
        for name in queues:
            message = engine.cancel(name, task_id)
            if message is not None:
                self._announce_cancelled(message)
                return True
        return False

    def _meant(self, queue: str, key: Any, tag: tuple[str, str] | None) -> list[KeyPath]:
        """Return the keys that are meant by one, or by a tag."""
        if tag is None:
            return [key_path(key)]
        if not isinstance(tag, tuple) or len(tag) != 2:
            raise InvalidTagError(tag, "a tuple of a name and a value")
        return sorted(self.engine.tagged(queue, tag_text(*tag)))

    def _cancel_all(
        self, queue: str, keys: Iterable[KeyPath], on_progress: Callable[[int], None] | None
    ) -> int:
        taken, left = 0, iter(keys)
        while page := list(islice(left, _MOST_AT_ONCE)):
            taken += self._withdraw_all(queue, page, None, _from(taken, on_progress))
        return taken

    def _withdraw_all(
        self,
        queue: str,
        keys: Sequence[KeyPath],
        move: Move | None,
        on_progress: Callable[[int], None] | None,
    ) -> int:
        """Begin with each, take all of it aside, and only then tell of it, which takes long."""
        helper = new_helper()
        begun = [self.engine.withdraw(queue, key, helper, move=move) for key in keys]
        begun_with_some = [withdrawal for withdrawal in begun if withdrawal is not None]
        taken = [self._sweep(withdrawal, helper) for withdrawal in begun_with_some]
        before = 0
        for withdrawal, count in zip(begun_with_some, taken, strict=True):
            self.finish(withdrawal, helper, on_progress=_from(before, on_progress))
            before += count
        return sum(taken)

    def _sweep(self, withdrawal: Withdrawal, helper: str) -> int:
        """Take all of a withdrawal aside; return how many entries that are."""
        taken = 0
        while True:
            reply = self.engine.carry_out(withdrawal, helper, SLICE)
            taken = max(taken, reply.taken)
            if reply.progress is not Progress.SWEEPING:
                return taken

    def _move_task(
        self, task_id: str, queue: str | None, to_key: KeyPath | None, to_queue: str | None
    ) -> bool:
        engine, helper = self.engine, new_helper()
        queues = sorted(engine.queues()) if queue is None else [self._queue(queue)]
        for name in queues:
            moved = engine.move_entry(name, task_id, helper, Move(to_queue or name, to_key))
            if moved is Moved.SAME:
                raise InvalidMoveError(to_queue if to_key is None else to_key, "another place")
            if isinstance(moved, Withdrawal):
                self.finish(moved, helper)
            if moved is not Moved.ELSEWHERE:
                return True
        return False

    def _target_queue(self, name: Any) -> str:
        """Return the fair side that a queue's name stands for, which must be known."""
        known = self.app.amqp.queues
        if isinstance(name, str) and name:
            fair_name = self.fair_queue(name)
            is_broadcast = fair_name in known and isinstance(known[fair_name], Broadcast)
            if not is_broadcast and (fair_name in known or fair_name in self.engine.queues()):
                return fair_name
        raise InvalidMoveError(name, "a queue that is declared, or has had tasks with a key")

    def _sweep_dead(self, key: Any, queue: str | None, *, is_retried: bool) -> int:
        path, name = None if key is None else key_path(key), self._queue(queue)
        count, cursor = 0, FIRST
        while True:
            swept = self.engine.sweep_dead(name, path, SLICE, is_retried=is_retried, cursor=cursor)
            count += swept.count
            if swept.cursor is None:
                return count
            cursor = swept.cursor

    def _deal_with(self, reply: CarriedOut) -> list[str]:
        """Do with entries what is to be done; return the ids of those with whom it was."""
        if reply.move is not None:
            return self._deliver(reply, reply.move)
        done: list[str] = []
        failure: Exception | None = None
        for entry in reply.entries:
            try:
                self._announce_cancelled(entry.message)
            except Exception as error:  # a result backend may raise anything
                failure = error
            else:
                done.append(entry.entry_id)
        if failure is not None and not done:
            raise failure
        return done

    def _deliver(self, reply: CarriedOut, move: Move) -> list[str]:
        """Store moved entries where they belong, under other ids where theirs are in use."""
        entries = list(reply.entries)
        while taken := self.engine.arrive(move.queue, reply.token, entries, key=move.key):
            entries = [
                replace(entry, entry_id=f"{entry.entry_id}.{new_helper()}")
                if entry.entry_id in taken
                else entry
                for entry in entries
            ]
        return [entry.entry_id for entry in reply.entries]

    def _announce_cancelled(self, message: bytes) -> None:
        try:
            envelope = unpack(message, accept_pickle=self._accepts_pickle())
        except ValueError as error:
            logger.error("A cancelled task cannot be told from its message: %s", error)
            return
        request = request_facts(envelope, self.app.conf.accept_content)
        self.app.backend.mark_as_revoked(
            request["id"],
            reason="cancelled",
            request=Context(request),
            store_result=not request.get("ignore_result"),
        )


def _from(count: int, on_progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Return what is told of progress beyond what was done before."""
    return None if on_progress is None else lambda more: on_progress(count + more)


def new_helper() -> str:
    """Return a name that nobody else has, for who carries out withdrawals."""
    return secrets.token_hex(8)


def _check_one_is_given(task_id: Any, key: Any, tag: Any = None) -> None:
    if sum(each is not None for each in (task_id, key, tag)) != 1:
        raise InvalidKeyError(key, "exactly one of a task's id, a key and, to cancel, a tag")

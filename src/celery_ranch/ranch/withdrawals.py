"""Taking away what waits: a key's tasks, a tag's, a queue's."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from celery.app.task import Context
from celery.utils.log import get_logger

from celery_ranch.envelope import request_facts, unpack
from celery_ranch.errors import InvalidKeyError, InvalidTagError
from celery_ranch.ranch.look import Look
from celery_ranch.scheduling.model import KeyPath, Withdrawal, key_path
from celery_ranch.scheduling.policies import tag_text
from celery_ranch.scheduling.withdrawals import CarriedOut, Progress

__all__ = ["Withdrawing"]

logger = get_logger(__name__)

#: How many entries one call to the store takes, or returns: it holds Redis
#: for a few milliseconds at most.
_SLICE = 250

#: How many withdrawals are begun before the first is carried out.
_MOST_AT_ONCE = 1_000


class Withdrawing(Look):
    """Cancelling what waits: at one instant for each key, and told slice by slice.

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
        return self._cancel_all(name, self._meant(name, key, tag))

    def purge(self, queue: str | None = None) -> int:
        """Drop what waits in a queue, and return how many tasks that were.

        It goes from key to key, and does with each what `cancel` does.
        """
        name = self._queue(queue)
        outermost = dict.fromkeys(snapshot.key[:1] for snapshot in self.keys(name))
        return self._cancel_all(name, outermost)

    def finish(
        self,
        withdrawal: Withdrawal,
        helper: str | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> int:
        """Carry out what was begun, here or elsewhere; return how many entries it took.

        Tasks are announced at least once: if this is cut off in a slice, all
        of that slice are announced again. It ends early where another helper
        is at work.

        Args:
            withdrawal: What was begun.
            helper: Who began it; None: a new helper.
            is_stopping: Asked before each slice whether to leave it at that.
        """
        helper = helper or new_helper()
        taken = 0
        done: Sequence[str] = ()
        while not is_stopping():
            reply = self.engine.carry_out(withdrawal, helper, _SLICE, done=done)
            taken = max(taken, reply.taken)
            if reply.progress in (Progress.OVER, Progress.ELSEWHERE):
                break
            done = self._deal_with(reply)
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

    def _cancel_all(self, queue: str, keys: Iterable[KeyPath]) -> int:
        taken, left = 0, iter(keys)
        while page := list(islice(left, _MOST_AT_ONCE)):
            taken += self._withdraw_all(queue, page)
        return taken

    def _withdraw_all(self, queue: str, keys: Sequence[KeyPath]) -> int:
        """Begin with each, take all of it aside, and only then tell of it, which takes long."""
        helper = new_helper()
        begun = [self.engine.withdraw(queue, key, helper) for key in keys]
        taken = 0
        for withdrawal in begun:
            if withdrawal is not None:
                taken += self._sweep(withdrawal, helper)
        for withdrawal in begun:
            if withdrawal is not None:
                self.finish(withdrawal, helper)
        return taken

    def _sweep(self, withdrawal: Withdrawal, helper: str) -> int:
        """Take all of a withdrawal aside; return how many entries that are."""
        taken = 0
        while True:
            reply = self.engine.carry_out(withdrawal, helper, _SLICE)
            taken = max(taken, reply.taken)
            if reply.progress is not Progress.SWEEPING:
                return taken

    def _deal_with(self, reply: CarriedOut) -> list[str]:
        """Do with entries what is to be done; return the ids of those with whom it was."""
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


def new_helper() -> str:
    """Return a name that nobody else has, for who carries out withdrawals."""
    return secrets.token_hex(8)


def _check_one_is_given(*given: Any) -> None:
    if sum(each is not None for each in given) != 1:
        raise InvalidKeyError(given[1], "exactly one of a task's id, a key and a tag")

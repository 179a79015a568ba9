"""Messages that are sent together are stored together, a thousand at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from celery import Celery, signals
from celery.canvas import group
from celery.signals import after_task_publish

from celery_ranch.publishing.entries import EntryFacts
from celery_ranch.publishing.producer import LazyProducer
from celery_ranch.publishing.storing import OfKey, Retries, store, written
from celery_ranch.publishing.terms import KeyTerms
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import MAX_BATCH, Entry

__all__ = ["Batch", "BatchPool", "BatchProducer", "is_asked_by_group", "submission"]

#: How many bytes of messages are stored by one call, unless one alone has
#: more: the store does nothing else meanwhile, and takes no call of a gigabyte.
_MAX_BYTES = 8_000_000

_NOTHING = KeyTerms()

#: Acquires one producer for all members of a group, two to four calls above
#: `producer_pool` (checked on Celery 5.4.0, 5.5.3, 5.6.3 and 5.7.0). Where it
#: does so no longer, members are stored one by one.
_SENDS_GROUP: Any = group._apply_tasks.__code__
_CALLS_BETWEEN = 4


def is_asked_by_group() -> bool:
    """Return whether a group asks the calling function for its members' producer."""
    frame = sys._getframe(2)
    for _ in range(_CALLS_BETWEEN):
        if frame.f_code is _SENDS_GROUP:
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


class _Recorded(BaseException):
    """Leaves Celery's function between its two halves; never seen outside.

    Not an `Exception`, because Celery 5.7 warns of those.
    """


class _Recorder:
    """The broker's producer, but for one message, whose `publish` is recorded."""

    def __init__(self, producer: Any, body: Any) -> None:
        self._producer = producer
        self._body = body
        self.options: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        if body is not self._body:
            return self._producer.publish(body, **options)
        self.options = options
        raise _Recorded


@dataclass(frozen=True, slots=True)
class _Announcement:
    """What is said of a message once it is stored."""

    name: str
    body: Any
    options: dict[str, Any]
    """What Celery passed to `publish`."""
    queue: str
    is_retried: bool
    event: dict[str, Any] | None
    dispatcher: Any
    context: Context
    """What the receivers of its signals see: an own one, as each may open
    something before the publish that it closes after."""


class _Run:
    """What one call stores: messages of the same retries, not too many, not too large."""

    def __init__(self, policy: Any, retries: Retries) -> None:
        self.policy = policy
        self.retries = retries
        self.entries: list[Entry] = []
        self.of_keys: dict[OfKey, None] = {}
        """In the order in which they are to be set."""
        self.announcements: list[_Announcement] = []
        self.bytes = 0

    def takes(self, size: int, policy: Any) -> bool:
        """Return whether a message of so many bytes may be stored by the same call."""
        fits = len(self.entries) < MAX_BATCH and self.bytes + size <= _MAX_BYTES
        return (fits or not self.entries) and self.policy == policy


class Batch:
    """Holds an application's messages with a key until they are stored.

    What precedes a publish happens to each when it is held, and what follows
    one when it is stored, in the same order. For one thread.

    Args:
        amqp: The application's AMQP object.
        is_stored_early: Whether to store when there are a thousand, or
            nothing before `store`.
    """

    def __init__(self, amqp: Any, *, is_stored_early: bool) -> None:
        self.app: Celery = amqp.app
        self._amqp = amqp
        self._ranch = Ranch.of(amqp.app)
        self._serializer = self._ranch.settings.redis_serializer
        self._is_retried = bool(self.app.conf.task_publish_retry)
        self._is_stored_early = is_stored_early
        self._runs: list[_Run] = []

    def hold(
        self,
        plain: Callable[..., Any],
        producer: Any,
        name: str,
        message: Any,
        facts: EntryFacts,
        of_key: KeyTerms,
        options: dict[str, Any],
    ) -> Any:
        """Run the first half of Celery's `send_task_message`, and hold what it publishes.

        Args:
            plain: Celery's function.
            producer: The broker's producer.
            name: The task's name, as Celery passes it on.
            message: The message, likewise.
            facts: What is known of its entry.
            of_key: What to set of its key before storing it.
            options: The further arguments of Celery's function.

        Raises:
            kombu.exceptions.OperationalError: As `store`, once there are a thousand.
        """
        _, _, body, event = message
        recorder = _Recorder(producer, body)
        context = copy_context()
        try:
            return context.run(plain, recorder, name, message, **options)
        except _Recorded:
            recorded = recorder.options
        entry = facts.entry(written(body, recorded, self._serializer))
        is_retried = options.get("retry")
        if is_retried is None:
            is_retried = self._is_retried
        run = self._run(recorded, is_retried, len(entry.message), producer)
        run.entries.append(entry)
        run.bytes += len(entry.message)
        if of_key != _NOTHING:
            run.of_keys.pop((entry.queue, entry.key, of_key), None)
            run.of_keys[entry.queue, entry.key, of_key] = None
        if event or after_task_publish.receivers or _task_sent_receivers():
            dispatcher = options.get("event_dispatcher")
            run.announcements.append(
                _Announcement(
                    name, body, recorded, entry.queue, is_retried, event, dispatcher, context
                )
            )
        return None

    def _run(self, options: dict[str, Any], is_retried: bool, size: int, producer: Any) -> _Run:
        """Return what a message of these options of `publish` is stored with."""
        policy = (is_retried, options["retry"], options["retry_policy"])
        if self._runs and self._runs[-1].takes(size, policy):
            return self._runs[-1]
        if self._is_stored_early:
            self.store(producer)
        # Where Celery 5.7 would retry by itself, it tells the producer not
        # to, and does not retry for ever.
        is_bounded = is_retried and not options["retry"]
        retries = Retries.of({**options, "retry": is_retried}, is_bounded=is_bounded)
        self._runs.append(_Run(policy, retries))
        return self._runs[-1]

    def store(self, producer: Any) -> None:
        """Store what is held, a thousand at a time, and say so of each.

        Args:
            producer: The broker's producer, for events.

        Raises:
            kombu.exceptions.OperationalError: The store refused a thousand,
                or did not answer through all retries. None of those and of
                what was held after them is stored, unless an answer was lost.
        """
        runs, self._runs = self._runs, []
        for run in runs:
            store(self._ranch, run.entries, run.of_keys, run.retries)
            for each in run.announcements:
                each.context.run(self._announce, each, producer)

    def _announce(self, said: _Announcement, producer: Any) -> None:
        """Do what Celery's `send_task_message` does after the publish.

        So it is in Celery 5.4.0, 5.5.3, 5.6.3 and 5.7.0.
        """
        options, body = said.options, said.body
        headers, exchange = options["headers"], options["exchange"]
        routing_key = options["routing_key"]
        after_task_publish.send(
            sender=said.name, body=body, headers=headers, exchange=exchange, routing_key=routing_key
        )
        if _task_sent_receivers():
            _send_task_sent(said.name, body, headers)
        if said.event:
            dispatcher = said.dispatcher or self._amqp._event_dispatcher
            said.event.update(queue=said.queue, exchange=exchange, routing_key=routing_key)
            dispatcher.publish(
                "task-sent",
                said.event,
                producer,
                retry=said.is_retried,
                retry_policy=options["retry_policy"],
            )


def _task_sent_receivers() -> Any:
    """Return who hears Celery's older signal, which is to go with 6.0."""
    return getattr(getattr(signals, "task_sent", None), "receivers", None)


def _send_task_sent(name: str, body: Any, headers: dict[str, Any]) -> None:
    is_first_protocol = isinstance(body, dict)
    facts = body if is_first_protocol else headers
    args, kwargs = (body["args"], body["kwargs"]) if is_first_protocol else body[:2]
    signals.task_sent.send(
        sender=name,
        task_id=facts["id"],
        task=name,
        args=args,
        kwargs=kwargs,
        eta=facts["eta"],
        taskset=facts["taskset" if is_first_protocol else "group"],
    )


class BatchProducer:
    """The broker's producer, whose context stores a batch when it ends.

    Messages with a key that come through it are held; all else is the
    broker's at once. A context that an exception ends stores nothing of what
    it still holds.
    """

    def __init__(self, producer: Any, batch: Batch) -> None:
        self.producer = producer
        self.batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.producer, name)

    def __enter__(self) -> BatchProducer:
        self.producer.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        try:
            if exc_info[0] is None:
                self.batch.store(self.producer)
        finally:
            self.producer.__exit__(*exc_info)


class BatchPool:
    """Celery's pool of producers, each with a batch of its own."""

    def __init__(self, pool: Any, amqp: Any) -> None:
        self._pool = pool
        self._amqp = amqp

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def acquire(self, *args: Any, **kwargs: Any) -> BatchProducer:
        """Return a producer that stores what it is given when its context ends."""
        batch = Batch(self._amqp, is_stored_early=True)
        return BatchProducer(self._pool.acquire(*args, **kwargs), batch)


def submission(app: Celery) -> BatchProducer:
    """Return a producer whose context stores nothing before it ends."""
    lazy = LazyProducer(app, Ranch.of(app).broker_connection)
    return BatchProducer(lazy, Batch(app.amqp, is_stored_early=False))

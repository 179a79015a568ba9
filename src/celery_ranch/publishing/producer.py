"""A producer that stores a task's message instead of publishing it."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_ranch.engines.publishers import UnderWay
from celery_ranch.publishing.entries import EntryFacts
from celery_ranch.publishing.storing import Retries, store, written
from celery_ranch.publishing.terms import KeyTerms
from celery_ranch.ranch import Ranch

__all__ = ["FairProducer", "LazyProducer"]


class FairProducer:
    """The broker's producer, but for one message.

    That message's `publish` stores an entry. Everything else is the broker's:
    events that Celery publishes through the same producer, the channel that
    result backends declare queues on, the connection whose errors it reads.

    Args:
        producer: The broker's producer.
        ranch: The application's fair scheduling.
        body: The body of the message to store, by identity.
        facts: What is known of its entry.
        of_key: What to set of its key before storing it.
    """

    def __init__(
        self, producer: Any, ranch: Ranch, body: Any, facts: EntryFacts, of_key: KeyTerms
    ) -> None:
        self._producer = producer
        self._ranch = ranch
        self._body = body
        self._facts = facts
        self._of_key = of_key
        self._under_way: UnderWay | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Store the message as an entry; publish any other one.

        Celery 5.7 repeats the call by itself for a callback: until one has
        succeeded they are attempts at one publish.

        Raises:
            kombu.exceptions.OperationalError: The store refused it, or did
                not answer through all retries. It is not stored then, unless
                an answer was lost; in no case is it stored twice.
        """
        if body is not self._body:
            return self._producer.publish(body, **options)
        entry = self._facts.entry(written(body, options, self._ranch.settings.redis_serializer))
        of_keys = [(entry.queue, entry.key, self._of_key)]
        if self._under_way is None:
            self._under_way = self._ranch.publishers.publish()
        store(self._ranch, [entry], of_keys, Retries.of(options), self._under_way.publish)
        self._under_way.end()
        self._under_way = None
        return None


class LazyProducer:
    """The broker's producer, taken from its pool when something asks for it.

    A task that is stored asks for nothing but the errors of a connection, and
    taking a producer costs a good part of what storing the task does.

    Args:
        app: Whose broker it is.
        connection: A connection to that broker; it is never connected here.
    """

    def __init__(self, app: Celery, connection: Any) -> None:
        self._app = app
        self._taken: Any = None
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        if self._taken is None:
            self._taken = self._app.amqp.producer_pool.acquire(block=True)
            self.connection = self._taken.connection
        return getattr(self._taken, name)

    def __enter__(self) -> LazyProducer:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._taken is not None:
            self._taken.release()

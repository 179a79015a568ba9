"""A producer that stores a task's message instead of publishing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu.compression import compress
from kombu.entity import maybe_delivery_mode
from kombu.exceptions import OperationalError
from kombu.serialization import dumps
from kombu.utils.functional import retry_over_time

from celery_ranch.envelope import Envelope, pack
from celery_ranch.errors import StoreError, StoreUnavailableError
from celery_ranch.publishing.entries import EntryFacts, another_id
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Entry

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
        share: What to set its key's share to before storing it, if anything.
    """

    def __init__(
        self, producer: Any, ranch: Ranch, body: Any, facts: EntryFacts, share: float | None
    ) -> None:
        self._producer = producer
        self._ranch = ranch
        self._body = body
        self._facts = facts
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Store the message as an entry; publish any other one.

        Raises:
            kombu.exceptions.OperationalError: The store refused it, or did
                not answer through all retries. It is not stored then, unless
                an answer was lost.
        """
        if body is not self._body:
            return self._producer.publish(body, **options)
        message = pack(_envelope(body, options), self._ranch.settings.redis_serializer)
        entry = self._facts.entry(message)
        engine = self._ranch.engine
        policy = options.get("retry_policy") or {}
        max_retries = policy.get("max_retries", 3)
        try:
            if not options.get("retry") or max_retries == 0:
                self._store(engine, entry)
            else:
                retry_over_time(
                    self._store,
                    StoreUnavailableError,
                    args=(engine, entry),
                    max_retries=max_retries,
                    interval_start=policy.get("interval_start", 0),
                    interval_step=policy.get("interval_step", 0.2),
                    interval_max=policy.get("interval_max", 0.2),
                )
        except StoreError as error:
            raise OperationalError(str(error)) from error
        return None

    def _store(self, engine: Engine, entry: Entry) -> None:
        if self._share is not None:
            engine.set_share(entry.queue, entry.key, self._share)
        task_id = entry.entry_id
        while engine.enqueue((entry,)).taken:
            entry = another_id(entry, task_id)


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


def _envelope(body: Any, options: Mapping[str, Any]) -> Envelope:
    """Return a message as kombu's own producer would have made it."""
    headers = dict(options.get("headers") or {})
    content_type, content_encoding, written = dumps(body, serializer=options.get("serializer"))
    if options.get("compression"):
        written, headers["compression"] = compress(written, options["compression"])
    properties = {name: value for name, value in options.items() if name not in _NOT_PROPERTIES}
    properties["delivery_mode"] = maybe_delivery_mode(options.get("delivery_mode"))
    if options.get("priority") is not None:
        properties["priority"] = options["priority"]
    if options.get("expiration") is not None:
        properties["expiration"] = str(int(options["expiration"] * 1_000))
    return Envelope(written, content_type, content_encoding, headers, properties)


#: What kombu's `Producer.publish` takes that is no property of the message,
#: or is one under conditions of its own.
_NOT_PROPERTIES = frozenset(
    (
        *("routing_key", "exchange", "mandatory", "immediate", "declare"),
        *("delivery_mode", "priority", "expiration", "headers"),
        *("content_type", "content_encoding", "serializer", "compression"),
        *("retry", "retry_policy", "timeout", "confirm_timeout"),
    )
)

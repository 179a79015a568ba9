"""The one point that every send of an application reaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.app.amqp import AMQP, Queues
from kombu.utils.imports import symbol_by_name

from celery_ranch.errors import RoutingError
from celery_ranch.publishing.batches import BatchPool, BatchProducer, is_asked_by_group
from celery_ranch.publishing.entries import facts_of, message_facts, short_repr, timed
from celery_ranch.publishing.inheritance import signature_with_key, write_key
from celery_ranch.publishing.keys import (
    CHORD_UNLOCK,
    KEY_HEADER,
    Call,
    chosen_key,
    key_to_header,
    running_request,
)
from celery_ranch.publishing.producer import FairProducer
from celery_ranch.publishing.queues import adopt_queues, fair_destination
from celery_ranch.publishing.storing import DEFAULT_MAX_RETRIES
from celery_ranch.publishing.terms import COST_HEADER, KeyTerms, chosen_priority, chosen_terms
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import KeyPath

__all__ = ["FairAMQP", "install_publishing"]


_NO_TERMS = KeyTerms()

# To a type checker it is an `AMQP`; it becomes one only beside an app's own.
_Base: Any = AMQP if TYPE_CHECKING else object


class FairPublishing(_Base):
    """What an application's AMQP class gains: messages with a key become entries."""

    app: Celery

    def Queues(self, *args: Any, **kwargs: Any) -> Queues:
        """Return Celery's queues, which also know the aliases."""
        return adopt_queues(super().Queues(*args, **kwargs), Ranch.of(self.app))

    @property
    def producer_pool(self) -> Any:
        """Return Celery's pool; to a group, one that stores its members in batches."""
        pool = super().producer_pool
        return BatchPool(pool, self) if is_asked_by_group() else pool

    publisher_pool = producer_pool

    def as_task_v2(self, *args: Any, **kwargs: Any) -> Any:
        """Return Celery's message, which also knows what was given in seconds."""
        # Celery takes no arguments for an empty tuple and an empty dict.
        if quick := short_repr((args[2] if len(args) > 2 else kwargs.get("args")) or ()):
            kwargs.setdefault("argsrepr", quick)
        if quick := short_repr((args[3] if len(args) > 3 else kwargs.get("kwargs")) or {}):
            kwargs.setdefault("kwargsrepr", quick)
        message = super().as_task_v2(*args, **kwargs)
        return timed(message, *_given_times(args, kwargs))

    def as_task_v1(self, *args: Any, **kwargs: Any) -> Any:
        """As `as_task_v2`, in the older protocol."""
        message = super().as_task_v1(*args, **kwargs)
        return timed(message, *_given_times(args, kwargs))

    def _create_task_sender(self) -> Callable[..., Any]:
        return _Sender(self, super()._create_task_sender())


class FairAMQP(FairPublishing, AMQP):
    """Celery's own AMQP class, whose messages with a key become entries."""


class _Sender:
    """Stands in for Celery's `send_task_message`, and calls it."""

    def __init__(self, amqp: Any, plain: Callable[..., Any]) -> None:
        self._amqp = amqp
        self._app = amqp.app
        self._plain = plain
        self._ranch = Ranch.of(amqp.app)

    def __call__(
        self,
        producer: Any,
        name: str,
        message: Any,
        lru_key: Any = None,
        lru_terms: KeyTerms = _NO_TERMS,
        cost: Any = None,
        **options: Any,
    ) -> Any:
        """Send a message Celery's way, which stores it if it has a key.

        Raises:
            InvalidKeyError, InvalidLevelError, InvalidCostError: What is given
                as a key, priority or cost is none.
            BacklogFullError: The key's backlog has no room.
            RoutingError: The call has a key and goes where there is no fair side.
        """
        request = running_request()
        key = self._key(name, message, lru_key, options.get("headers"), request)
        if key is None:
            return self._plain(producer, name, message, **options)
        message = self._marked(name, message, key, cost, options)
        queue, queues = None, self._amqp.queues
        if name != CHORD_UNLOCK:
            # Its polling would cost its key turns: it goes Celery's way.
            queue = fair_destination(options, queues, self._ranch)
            if queue is None and lru_key is not None:
                raise RoutingError(name, "its route does not lead to exactly one declared queue")
        if queue is None:
            return self._plain(producer, name, message, **options)
        cost = message[0].get(COST_HEADER)
        priority = chosen_priority(self._ranch.settings, queue, options.get("priority"))
        terms = chosen_terms(
            self._ranch.settings, queue, priority, cost, facts_of(message), request
        )
        if self._ranch.inherits_priority:
            # Celery tells children what the parent's message says.
            options["priority"] = priority
        running_id = request.id if request is not None else None
        facts = message_facts(message, key, queue, terms, running_id, self._app.timezone)
        for option in ("exchange", "routing_key"):
            options.pop(option, None)
        declared = queues.get(queue)
        if declared is None or options.get("queue") is not declared:
            options["queue"] = queue
        self._set_retries(options)
        if isinstance(producer, BatchProducer) and producer.batch.app is self._app:
            return producer.batch.hold(
                self._plain, producer.producer, name, message, facts, lru_terms, options
            )
        ours = FairProducer(producer, self._ranch, message[2], facts, lru_terms)
        return self._plain(ours, name, message, **options)

    def _key(
        self, name: str, message: Any, given: Any, headers: Any, request: Any
    ) -> KeyPath | None:
        body = message[2]
        if isinstance(body, dict):
            args, kwargs = body["args"], body["kwargs"]
        else:
            args, kwargs, _ = body
        header = headers.get(KEY_HEADER) if headers else None
        call = Call(name, args, kwargs, given, header)
        return chosen_key(call, self._ranch.settings, request)

    def _marked(
        self, name: str, message: Any, key: KeyPath, cost: Any, options: dict[str, Any]
    ) -> Any:
        """Write the key into the message and what it will call later; the cost for its retries."""
        text = key_to_header(key)
        headers, _, body, _ = message
        headers[KEY_HEADER] = text
        if cost is not None:
            headers[COST_HEADER] = cost
        if options.get("headers"):
            options["headers"] = {**options["headers"], KEY_HEADER: text}
            if cost is not None:
                options["headers"][COST_HEADER] = cost
            elif COST_HEADER in options["headers"]:
                headers[COST_HEADER] = options["headers"][COST_HEADER]
        is_first_protocol = isinstance(body, dict)
        write_key(body if is_first_protocol else body[2], text)
        if name != CHORD_UNLOCK:
            return message
        args = list(body["args"] if is_first_protocol else body[0])
        if len(args) > 1:
            args[1] = signature_with_key(args[1], text)
        body = {**body, "args": args} if is_first_protocol else (args, *body[1:])
        return message._replace(body=body)

    def _set_retries(self, options: dict[str, Any]) -> None:
        """Let `redis_max_retries` count where nobody said anything else."""
        ours = self._ranch.settings.redis_max_retries
        if ours == DEFAULT_MAX_RETRIES:
            return
        policy = options.get("retry_policy") or {}
        apps = self._app.conf.task_publish_retry_policy.get("max_retries", DEFAULT_MAX_RETRIES)
        if "max_retries" not in policy and apps == DEFAULT_MAX_RETRIES:
            options["retry_policy"] = {**policy, "max_retries": ours}


def _given_times(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return countdown and expires from the arguments of a message's maker."""
    countdown = args[4] if len(args) > 4 else kwargs.get("countdown")
    expires = args[8] if len(args) > 8 else kwargs.get("expires")
    return countdown, expires


@cache
def _fair_class(amqp_class: Any) -> Any:
    if amqp_class is AMQP:
        return FairAMQP
    return type(amqp_class.__name__, (FairPublishing, amqp_class), {"__module__": __name__})


def install_publishing(app: Celery) -> None:
    """Let an application's messages with a key become entries.

    Its AMQP class is replaced by a subclass; an AMQP object that is there
    already changes its class and stays the same object. Nothing is read from
    the configuration yet, and a second call changes nothing.
    """
    amqp_class = symbol_by_name(app.amqp_cls)
    if not issubclass(amqp_class, FairPublishing):
        app.amqp_cls = _fair_class(amqp_class)
    amqp = vars(app).get("amqp")
    if amqp is None or isinstance(amqp, FairPublishing):
        return
    made_class: Any = type(amqp)
    amqp.__class__ = _fair_class(made_class)
    for protocol, create in ((1, amqp.as_task_v1), (2, amqp.as_task_v2)):
        amqp.task_protocols[protocol] = create
    for made in ("create_task_message", "send_task_message"):
        vars(amqp).pop(made, None)
    if "queues" in vars(amqp):
        adopt_queues(amqp.queues, Ranch.of(app))

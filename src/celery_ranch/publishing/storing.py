"""How messages are written, and stored so that a store that is away is asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from kombu.compression import compress
from kombu.entity import maybe_delivery_mode
from kombu.exceptions import OperationalError
from kombu.serialization import dumps, registry
from kombu.utils.functional import retry_over_time
from kombu.utils.json import dumps as kombu_json_dumps

from celery_ranch.config import SerializerType
from celery_ranch.envelope import Envelope, dump_json, pack
from celery_ranch.errors import BacklogFullError, StoreError, StoreUnavailableError
from celery_ranch.publishing.entries import another_id
from celery_ranch.publishing.terms import KeyTerms
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.model import Entry, KeyPath, Publish

__all__ = ["DEFAULT_MAX_RETRIES", "OfKey", "Retries", "store", "written"]

#: A queue, a key, and what is to be set of it there.
OfKey: TypeAlias = "tuple[str, KeyPath, KeyTerms]"

#: The retries in Celery's default `task_publish_retry_policy`.
DEFAULT_MAX_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a store that is away is asked again, and after how many seconds."""

    most: int | None
    """None means for ever."""
    start: float = 0
    step: float = 0.2
    longest: float = 0.2

    @classmethod
    def of(cls, options: Mapping[str, Any], *, is_bounded: bool = False) -> Retries:
        """Return what the options of Celery's `publish` say.

        Args:
            options: The options.
            is_bounded: Whether "for ever" means Celery's default.
        """
        policy = options.get("retry_policy") or {}
        if not options.get("retry"):
            return _NO_RETRIES
        most = policy.get("max_retries", DEFAULT_MAX_RETRIES)
        return cls(
            most=DEFAULT_MAX_RETRIES if most is None and is_bounded else most,
            start=policy.get("interval_start", 0),
            step=policy.get("interval_step", 0.2),
            longest=policy.get("interval_max", 0.2),
        )


_NO_RETRIES = Retries(0)


def store(
    ranch: Ranch,
    entries: list[Entry],
    of_keys: Iterable[OfKey],
    retries: Retries,
    publish: Publish | None = None,
) -> None:
    """Store entries, all or none, and once; those whose id is taken under another one.

    Args:
        ranch: Whose entries they are.
        entries: At most 1,000; one that is stored under another id is replaced here.
        of_keys: What to set of keys before.
        retries: How often to ask a store that is away again.
        publish: By which the store knows this again, if the caller may repeat
            it; by default this is one of its own.

    Raises:
        BacklogFullError: A key has no room for them. None is stored.
        kombu.exceptions.OperationalError: The store refused them, or did not
            answer through all retries. None is stored then, unless an answer
            was lost; in no case is any stored twice.
    """
    engine = ranch.engine
    task_ids = [entry.entry_id for entry in entries]

    def ask(publish: Publish) -> None:
        for of_key in of_keys:
            _set(engine, *of_key)
        while True:
            reply = engine.enqueue(entries, publish=publish)
            if reply.full is not None:
                key = reply.full
                raise BacklogFullError(key[0] if len(key) == 1 else key, reply.limit)
            if not reply.taken:
                return
            _rename(entries, reply.taken, task_ids)

    try:
        with nullcontext(publish) if publish else ranch.publishers.publish() as known_by:
            if retries.most == 0:
                ask(known_by)
            else:
                retry_over_time(
                    ask,
                    StoreUnavailableError,
                    args=(known_by,),
                    max_retries=retries.most,
                    interval_start=retries.start,
                    interval_step=retries.step,
                    interval_max=retries.longest,
                )
    except StoreError as error:
        raise OperationalError(str(error)) from error
    if ranch.weights.function is not None:
        for entry in entries:
            ranch.weights.note(entry.queue, entry.key)


def _set(engine: Engine, queue: str, key: KeyPath, terms: KeyTerms) -> None:
    if terms.share is not None:
        engine.set_share(queue, key, terms.share)
    for tag in terms.tags:
        engine.add_tag(queue, key, tag, is_only=True)


def _rename(entries: list[Entry], taken: Sequence[str], task_ids: Sequence[str]) -> None:
    """Give other ids to those that were refused: of equal ones the last."""
    refused = Counter(taken)
    for at in range(len(entries) - 1, -1, -1):
        if refused[entries[at].entry_id] > 0:
            refused[entries[at].entry_id] -= 1
            entries[at] = another_id(entries[at], task_ids[at])


def written(body: Any, options: Mapping[str, Any], serializer: SerializerType) -> bytes:
    """Return a message's bytes in the store, as kombu's own producer would have made it.

    Args:
        body: The message's body.
        options: What Celery passes to `publish`.
        serializer: Of its headers and properties.

    Raises:
        kombu.exceptions.EncodeError: The body cannot be written.
        TypeError, ValueError, pickle.PicklingError: A header or property cannot.
    """
    headers = dict(options.get("headers") or {})
    if options.get("compression"):
        # Compressing takes no lone surrogates, which kombu writes in ASCII.
        content_type, content_encoding, text = dumps(body, serializer=options.get("serializer"))
        text, headers["compression"] = compress(text, options["compression"])
    else:
        content_type, content_encoding, text = _serialized(body, options.get("serializer"))
    properties = {name: value for name, value in options.items() if name not in _NOT_PROPERTIES}
    properties["delivery_mode"] = maybe_delivery_mode(options.get("delivery_mode"))
    if options.get("priority") is not None:
        properties["priority"] = options["priority"]
    if options.get("expiration") is not None:
        properties["expiration"] = str(int(options["expiration"] * 1_000))
    envelope = Envelope(text, content_type, content_encoding, headers, properties)
    return pack(envelope, serializer)


def _serialized(body: Any, serializer: str | None) -> tuple[str, str, Any]:
    """Return content type, content encoding and text of a body, as kombu's registry would.

    Its encoders are private to kombu (checked on 5.3 to 5.7); without them
    this is merely slower.
    """
    encoder = getattr(registry, "_encoders", {}).get("json")
    if serializer == "json" and encoder is not None and encoder[2] is kombu_json_dumps:
        # What cannot be written, kombu finds out again, and says so its way.
        with suppress(TypeError, ValueError, RecursionError):
            return "application/json", "utf-8", dump_json(body)
    content_type, content_encoding, text = dumps(body, serializer=serializer)
    return content_type, content_encoding, text


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

"""A lease as a kombu message, so that Celery's own handler can take it."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from typing import Any

from kombu.message import Message
from kombu.serialization import registry
from kombu.utils.json import loads as kombu_json_loads

from celery_ranch.envelope import Envelope, load_json, unpack
from celery_ranch.errors import InvalidKeyError
from celery_ranch.scheduling.model import KeyPath, key_path
from celery_ranch.worker.leases import Holding, LeaseBook

__all__ = ["FairMessage", "UnfitMessageError", "UnknownTaskError", "build_message"]

_JSON = "application/json"

#: With fewer brackets than this, nothing is nested too deep for a pickle.
_FEW_BRACKETS = 200

#: How many levels less than here may be left where Celery pickles a request.
_SPARE_LEVELS = 50

#: An expiry that every clock agrees has passed.
_LONG_AGO = "1970-01-01T00:00:00+00:00"


class UnfitMessageError(Exception):
    """An entry that no handler should see; it belongs to the dead letters."""


class UnknownTaskError(UnfitMessageError):
    """An entry that names a task which this worker does not know."""

    def __init__(self, name: str, message: FairMessage) -> None:
        super().__init__(name, message)
        self.message = message

    def __str__(self) -> str:
        return f"unknown task {self.args[0]!r}"


class _LeaseChannel:
    """What kombu's message calls to acknowledge or reject: the lease book."""

    #: kombu asks a channel for consumers that need no acknowledgement.
    no_ack_consumers = None

    def __init__(self, book: LeaseBook, holding: Holding) -> None:
        self._book = book
        self._holding = holding

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge; if no pool ever took it, the request ended here."""
        self._book.acknowledge(self._holding)
        if not self._holding.is_started:
            self._holding.run_us = 0
            self._book.finish(self._holding)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give the entry back, or drop it for good."""
        if not requeue:
            self.basic_ack(delivery_tag)
        elif self._holding.is_started:
            self._book.requeue(self._holding)
        else:
            self._book.release(self._holding)


class FairMessage(Message):
    """A message that is acknowledged to the store instead of a broker."""

    def __init__(self, holding: Holding, moments: dict[str, Any], **fields: Any) -> None:
        super().__init__(**fields)  # type: ignore[no-untyped-call]
        self.holding = holding
        #: The eta and expiry headers as published. The store has waited and
        #: checked already, so Celery's handler does not see them, but the
        #: task's own request shows them.
        self.moments = moments
        self._decoded: tuple[Any] | None = None

    def decode(self) -> Any:
        """Return the deserialized body, as kombu would; it is decoded once."""
        if self._decoded is None:
            self._decoded = (load_json(self.body) if self._is_json else super().decode(),)  # type: ignore[no-untyped-call]
        return self._decoded[0]

    @property
    def _is_json(self) -> bool:
        """Whether kombu's own JSON is meant, which can be had at less cost.

        The registry's decoders are private to kombu (checked on 5.4 to 5.7);
        without them this is merely slower.
        """
        decoders = getattr(registry, "_decoders", {})
        return (
            self.content_type == _JSON
            and self.content_encoding == "utf-8"
            and isinstance(self.body, str)
            and self.accept is not None
            and _JSON in self.accept
            and decoders.get(_JSON) is kombu_json_loads
        )


def build_message(
    book: LeaseBook,
    holding: Holding,
    *,
    accept: Collection[str],
    known_tasks: Collection[str],
    accept_pickle: bool,
    is_for_processes: bool,
) -> FairMessage:
    """Return the message of a lease.

    Raises:
        UnfitMessageError: It cannot be decoded, or its content type is not
            accepted: Celery's own handler would acknowledge it. Or it is for
            a pool of processes, and nested too deep to get there.
        UnknownTaskError: It names a task this worker does not know. Celery's
            own handler would reject it.
    """
    lease = holding.lease
    envelope = _opened(lease.message, accept_pickle)
    headers = dict(envelope.headers)
    moments = {name: headers.pop(name) for name in ("eta", "expires") if headers.get(name)}
    if lease.is_expired:
        headers["expires"] = _LONG_AGO
    message = FairMessage(
        holding,
        moments,
        body=envelope.body,
        delivery_tag=f"{lease.queue}:{lease.number}",
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
        delivery_info={
            "exchange": "",
            "routing_key": lease.queue,
            # A worker may die between the start of a task and telling the store of it.
            "redelivered": lease.deliveries > 0 or lease.is_suspect,
        },
        properties=dict(envelope.properties),
        headers=headers,
        accept=accept,
        channel=_LeaseChannel(book, holding),
    )
    _adopt_key(headers, lease.key)
    _check_limits(headers.get("timelimit"))
    _check(message, known_tasks)
    if is_for_processes and _may_be_deep(lease.message, message):
        body = message.payload
        # What is embedded gets there as it is: as text.
        args = body if isinstance(body, dict) else body[:2]
        _check_depth([envelope.headers, envelope.properties, args])
    return message


def _opened(data: bytes, accept_pickle: bool) -> Envelope:
    try:
        return unpack(data, accept_pickle=accept_pickle)
    except ValueError as error:
        raise UnfitMessageError(f"unreadable message: {error}") from error


def _adopt_key(headers: dict[str, Any], key: KeyPath) -> None:
    """Let a task run on behalf of the key that its entry waited under: it may have been moved."""
    header = headers.get("lru_key")
    if header is None or (header == key[0] and len(key) == 1):
        return
    try:
        named = key_path(tuple(header) if isinstance(header, list) else header)
    except InvalidKeyError as error:
        # What the task calls would inherit it, and fail.
        raise UnfitMessageError(f"the header lru_key: {error}") from error
    if named != key:
        headers["lru_key"] = key[0] if len(key) == 1 else list(key)


def _check_limits(header: Any) -> None:
    # Celery would find out when it has taken a slot of the pool for it, and
    # never give that back (seen on 5.7.0).
    if not header:
        return
    is_pair = isinstance(header, (list, tuple)) and len(header) == 2
    if not is_pair or not all(each is None or isinstance(each, (int, float)) for each in header):
        raise UnfitMessageError(f"the header timelimit is not two numbers: {header!r:.100}")


def _check(message: FairMessage, known_tasks: Collection[str]) -> None:
    if message.errors:
        raise UnfitMessageError(f"cannot be decompressed: {message.errors[0][1]!r}")
    try:
        # Celery's request decodes it next and finds it cached.
        payload = message.payload
    except Exception as error:  # any serializer may raise anything
        raise UnfitMessageError(f"cannot be decoded: {error!r}") from error
    name = message.headers.get("task")
    if name is None:
        name = payload.get("task") if isinstance(payload, dict) else None
    elif not isinstance(message.headers.get("id"), str):
        raise UnfitMessageError("the header id is not text")
    elif not _is_body(payload):
        raise UnfitMessageError("the body is not (args, kwargs, embed)")
    if not isinstance(name, str):
        raise UnfitMessageError(f"unknown task {name!r}")
    if name not in known_tasks:
        raise UnknownTaskError(name, message)


def _may_be_deep(data: bytes, message: FairMessage) -> bool:
    is_json = data[:1] == b"{" and message._is_json
    return not is_json or data.count(b"[") + data.count(b"{") >= _FEW_BRACKETS


def _check_depth(parts: Any) -> None:
    # Celery pickles them with the request, when it has taken a slot of the
    # pool for it, which it would never give back. A plain task ends its worker
    # (seen on 5.7.0).
    for _ in range(_SPARE_LEVELS):
        parts = [parts]
    try:
        pickle.dumps(parts, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # what was decoded may raise anything
        raise UnfitMessageError(f"cannot be given to a process: {error!r}") from error


def _is_body(payload: Any) -> bool:
    # What a pool of threads cannot call, nobody would hear of again.
    if not isinstance(payload, (list, tuple)) or len(payload) != 3:
        return False
    args, kwargs, embed = payload
    return (
        isinstance(args, (list, tuple))
        and isinstance(kwargs, dict)
        and (embed is None or isinstance(embed, dict))
    )

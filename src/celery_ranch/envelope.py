"""A task message as the store keeps it: a short line of facts, then the body.

The first byte tells how the facts are written: ``{`` begins one line of
JSON, ``P`` is followed by the length of a pickle (4 bytes, big-endian) and
the pickle. The body follows as it is, neither encoded nor escaped.

What can be restored exactly is left out: header fields of Celery's task
protocol 2 that have their default, the root id and the correlation id where
they equal the task's id, the usual properties and content type.
"""

from __future__ import annotations

import json as plain_json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.serialization import loads, prepare_accept_content
from kombu.utils import json

from celery_ranch.config import SerializerType

__all__ = ["Envelope", "dump_json", "load_json", "pack", "request_facts", "unpack"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as kombu hands it to a broker."""

    body: bytes | str
    content_type: str
    content_encoding: str
    headers: dict[str, Any]
    properties: dict[str, Any]


class _SameAsId:
    """The default of a field that usually repeats the task's id."""


class _Absent:
    """The default of a field that is usually not there."""


#: The header fields of protocol 2, what they are called in the store, and
#: their defaults. Other headers are kept under "h" as they are.
_HEADERS: tuple[tuple[str, str, Any], ...] = (
    ("lang", "L", "py"),
    ("shadow", "s", None),
    ("eta", "e", None),
    ("expires", "x", None),
    ("group", "g", None),
    ("group_index", "j", None),
    ("retries", "n", 0),
    ("timelimit", "l", [None, None]),
    ("root_id", "r", _SameAsId),
    ("parent_id", "p", None),
    ("argsrepr", "a", "()"),
    ("kwargsrepr", "k", "{}"),
    ("origin", "o", None),
    ("ignore_result", "v", False),
    ("replaced_task_nesting", "z", 0),
    ("stamped_headers", "S", None),
    ("stamps", "M", {}),
    ("lru_key", "y", _Absent),
)
_PROPERTIES: tuple[tuple[str, str, Any], ...] = (
    ("correlation_id", "C", _SameAsId),
    ("reply_to", "R", ""),
    ("delivery_mode", "D", 2),
    ("priority", "P", _Absent),
)
_HEADER_NAMES = frozenset({"task", "id"} | {name for name, _, _ in _HEADERS})
_PROPERTY_NAMES = frozenset(name for name, _, _ in _PROPERTIES)
_JSON = "application/json"
_encode_json = plain_json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_KNOWN = frozenset(
    {"t", "i", "-", "h", "q", "c", "E", "b"}
    | {short for _, short, _ in _HEADERS}
    | {short for _, short, _ in _PROPERTIES}
)


def pack(envelope: Envelope, serializer: SerializerType) -> bytes:
    """Return the bytes of a message.

    JSON turns tuples into lists, as a broker's message does; what else JSON
    does not know must be known to kombu (dates, UUIDs, decimals, bytes).

    Raises:
        TypeError, ValueError, pickle.PicklingError: A header or property
            cannot be written.
    """
    facts = _facts(envelope)
    body = envelope.body
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if serializer is SerializerType.PICKLE:
        pickled = pickle.dumps(facts, protocol=4)
        return b"P" + len(pickled).to_bytes(4, "big") + pickled + body
    return dump_json(facts).encode("utf-8", "surrogatepass") + b"\n" + body


def unpack(data: bytes, accept_pickle: bool = False) -> Envelope:
    """Return the message that was packed.

    Args:
        data: What `pack` returned.
        accept_pickle: Whether facts written as a pickle may be read. Whoever
            can write to the store can then run code here.

    Raises:
        ValueError: It cannot be decoded, with the reason.
    """
    facts, body = _split(data, accept_pickle)
    if not isinstance(facts, dict):
        raise ValueError("the facts are not an object")
    unknown = facts.keys() - _KNOWN
    if unknown:
        raise ValueError(f"unknown facts: {', '.join(sorted(map(str, unknown)))}")
    try:
        return _envelope(facts, body)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"the facts are incomplete: {error!r}") from error


def request_facts(envelope: Envelope, accept: Iterable[str]) -> dict[str, Any]:
    """Return what Celery's request would say of a message, as far as it can be read.

    Where the body cannot be, `args` and `kwargs` are their representations.

    Args:
        envelope: A message of either task protocol.
        accept: The content types that may be decoded, as `accept_content` has them.
    """
    facts = dict(envelope.headers)
    facts.setdefault("id", envelope.properties.get("correlation_id"))
    facts.setdefault("task", "")
    args, kwargs = facts.get("argsrepr"), facts.get("kwargsrepr")
    embed: Mapping[str, Any] = {}
    if "compression" not in facts:
        try:
            body = loads(
                envelope.body,
                envelope.content_type,
                envelope.content_encoding,
                accept=prepare_accept_content(accept),
            )
        except (ContentDisallowed, DecodeError):
            body = None
        if isinstance(body, (list, tuple)) and len(body) == 3:
            args, kwargs, embed = body
        elif isinstance(body, Mapping):  # task protocol 1
            facts.update(body)
            args, kwargs = body.get("args"), body.get("kwargs")
    facts.update(embed)
    facts.update(args=args, kwargs=kwargs)
    return facts


def load_json(text: str) -> Any:
    """Return what kombu's JSON means, without its cost where nothing needs it.

    kombu marks what JSON does not know (times, UUIDs, decimals) by a
    ``__type__``, and decodes several times slower for the sake of it.
    """
    return json.loads(text) if "__type__" in text else plain_json.loads(text)


def dump_json(value: Any) -> str:
    """Return what kombu's JSON means, without its cost where nothing needs it.

    kombu makes an encoder anew for each value.

    Raises:
        TypeError, ValueError: It cannot be written.
    """
    try:
        return _encode_json(value)
    except TypeError:
        text: str = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text


def _split(data: bytes, accept_pickle: bool) -> tuple[Any, bytes]:
    if data[:1] == b"{":
        line, newline, body = data.partition(b"\n")
        if not newline:
            raise ValueError("the body is missing")
        try:
            return load_json(line.decode("utf-8", "surrogatepass")), body
        except Exception as error:  # kombu's types may raise anything
            raise ValueError(f"the facts are not JSON: {error!r}") from error
    if data[:1] == b"P":
        if not accept_pickle:
            raise ValueError("the facts are a pickle, which is not accepted here")
        size = int.from_bytes(data[1:5], "big")
        if len(data) < 5 + size or not size:
            raise ValueError("the pickle is cut off")
        try:
            return pickle.loads(data[5 : 5 + size]), data[5 + size :]
        except Exception as error:  # a pickle may raise anything
            raise ValueError(f"the facts are not a pickle: {error!r}") from error
    raise ValueError(f"unknown format {data[:1]!r}")


def _facts(envelope: Envelope) -> dict[str, Any]:
    headers, properties = envelope.headers, envelope.properties
    facts: dict[str, Any] = {}
    task_id = headers.get("id")
    if isinstance(headers.get("task"), str) and isinstance(task_id, str):
        facts["t"] = headers["task"]
        facts["i"] = task_id
        missing = _shorten(headers, _HEADERS, task_id, facts)
        others = {name: headers[name] for name in headers.keys() - _HEADER_NAMES}
    else:
        task_id = properties.get("correlation_id")
        task_id = task_id if isinstance(task_id, str) else None
        if task_id is not None:
            facts["i"] = task_id
        missing, others = [], headers
    missing += _shorten(properties, _PROPERTIES, task_id, facts)
    if missing:
        facts["-"] = "".join(missing)
    if others:
        facts["h"] = others
    others = {name: properties[name] for name in properties.keys() - _PROPERTY_NAMES}
    if others:
        facts["q"] = others
    if envelope.content_type != _JSON:
        facts["c"] = envelope.content_type
    if envelope.content_encoding != "utf-8":
        facts["E"] = envelope.content_encoding
    if isinstance(envelope.body, str) != (envelope.content_type == _JSON):
        facts["b"] = "t" if isinstance(envelope.body, str) else "b"
    return facts


def _shorten(
    values: dict[str, Any],
    table: tuple[tuple[str, str, Any], ...],
    task_id: str | None,
    facts: dict[str, Any],
) -> list[str]:
    """Add what is not the default to the facts; return what is missing."""
    missing = []
    for name, short, default in table:
        try:
            value = values[name]
        except KeyError:
            if default is not _Absent:
                missing.append(short)
            continue
        if default is _SameAsId:
            default = task_id
        if value is not default and (value != default or type(value) is not type(default)):
            facts[short] = value
    return missing


def _envelope(facts: dict[str, Any], body: bytes) -> Envelope:
    task_id = facts.get("i")
    missing = facts.get("-", "")
    headers: dict[str, Any] = {}
    if "t" in facts:
        headers["task"] = facts["t"]
        headers["id"] = task_id
        if not isinstance(facts["t"], str) or not isinstance(task_id, str):
            raise ValueError("the task's name or id is not text")
        _restore(headers, _HEADERS, task_id, missing, facts)
    headers.update(facts.get("h", {}))
    properties: dict[str, Any] = {}
    _restore(properties, _PROPERTIES, task_id, missing, facts)
    properties.update(facts.get("q", {}))
    content_type = facts.get("c", _JSON)
    is_text = facts.get("b", "t" if content_type == _JSON else "b") == "t"
    return Envelope(
        body=body.decode("utf-8", "surrogatepass") if is_text else body,
        content_type=content_type,
        content_encoding=facts.get("E", "utf-8"),
        headers=headers,
        properties=properties,
    )


def _restore(
    values: dict[str, Any],
    table: tuple[tuple[str, str, Any], ...],
    task_id: str | None,
    missing: str,
    facts: dict[str, Any],
) -> None:
    for name, short, default in table:
        if short in facts:
            values[name] = facts[short]
        elif short not in missing and default is not _Absent:
            if default is _SameAsId:
                default = task_id
            # Lists and dicts of the table must not be shared between messages.
            values[name] = default.copy() if isinstance(default, (list, dict)) else default

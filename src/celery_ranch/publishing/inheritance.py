"""What a task calls later waits on behalf of the same key.

Links, errbacks, chain steps and chord bodies may be published where no task
is running: after a hard time limit, at an expiry, by a chord's last part. So
the key is written into each that has none when the first task is published.
Signatures are the caller's, who may use them again: they are copied, and only
as far as they change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from celery_ranch.publishing.keys import KEY_HEADER, key_of_signature

__all__ = ["signature_with_key", "write_key"]

#: Where a message of task protocol 2 (or the body of one of protocol 1)
#: carries signatures in a list.
_LISTS = ("callbacks", "errbacks", "chain")

#: Canvas tasks whose own options would override those of their parts.
_PARTS = {"celery.chain": "tasks", "celery.group": "tasks", "celery.chord": "header"}


def write_key(embed: MutableMapping[str, Any], key: Any) -> None:
    """Write a key into what a message calls later, where there is none.

    Args:
        embed: The third part of a body of protocol 2, or a body of protocol 1.
        key: The key as messages carry it.
    """
    for name in _LISTS:
        signatures = embed.get(name)
        if signatures:
            embed[name] = [signature_with_key(each, key) for each in signatures]
    if embed.get("chord"):
        embed["chord"] = signature_with_key(embed["chord"], key)


def signature_with_key(signature: Any, key: Any) -> Any:
    """Return a signature that has a key: its own, or else this one.

    A chain, group or chord passes it on to its parts, so that those which
    have a key keep it.
    """
    if not isinstance(signature, Mapping):
        return signature
    own = key_of_signature(signature)
    parts = _PARTS.get(signature.get("task") or "")
    if parts is not None:
        return _composite_with_key(signature, parts, key if own is None else own)
    if own is not None:
        return signature
    options = {**(signature.get("options") or {}), KEY_HEADER: key}
    return {**signature, "options": options}


def _composite_with_key(signature: Mapping[str, Any], parts: str, key: Any) -> dict[str, Any]:
    kwargs = dict(signature.get("kwargs") or {})
    inner = kwargs.get(parts)
    if isinstance(inner, Mapping):
        kwargs[parts] = signature_with_key(inner, key)
    elif isinstance(inner, Iterable):
        kwargs[parts] = [signature_with_key(each, key) for each in inner]
    if kwargs.get("body"):
        kwargs["body"] = signature_with_key(kwargs["body"], key)
    return {**signature, "kwargs": kwargs}

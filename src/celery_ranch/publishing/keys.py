"""On whose behalf a task waits: which of the keys that are given counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery._state import _task_stack

from celery_ranch.config import Settings
from celery_ranch.scheduling.model import KeyPath, key_path

__all__ = [
    "CHORD_UNLOCK",
    "KEY_HEADER",
    "Call",
    "chosen_key",
    "current_key",
    "key_from_header",
    "key_of_signature",
    "key_to_header",
    "running_request",
]

#: The message header that tells a running task on whose behalf it runs.
KEY_HEADER = "lru_key"

CHORD_UNLOCK = "celery.chord_unlock"

#: Built-in tasks that run another task for every item they are given.
_MAPS = frozenset({"celery.map", "celery.starmap", "celery.chunks"})


@dataclass(frozen=True, slots=True)
class Call:
    """A task call, as far as its key depends on it."""

    task: str
    args: Any
    kwargs: Any
    given: Any = None
    """What the call or signature says: `lru_key=`."""
    header: Any = None
    """What the message that is sent again says."""


def chosen_key(call: Call, settings: Settings, running: Any) -> KeyPath | None:
    """Return on whose behalf a task waits, or None for nobody's.

    The first that is given: the call's own key · the key of the message being
    retried · for a built-in canvas task the key of what it serves · the
    `lru_key` setting · the key of the task that is running now.

    Args:
        call: The call.
        settings: The application's settings.
        running: The request of the task that is running in this thread, or
            None.

    Raises:
        InvalidKeyError: What is given is not a key.
    """
    if call.given is not None:
        return key_from_header(call.given)
    if call.header is not None:
        return key_from_header(call.header)
    if call.task.startswith("celery."):
        served = _served(call)
        if served is None:
            return _inherited(settings, running)
        if served.given is not None:
            return key_from_header(served.given)
        call = served
    setting = settings.lru_key
    if setting is not None:
        key = setting(call.task, call.args, call.kwargs) if callable(setting) else setting
        if key is not None:
            return key_path(key)
    return _inherited(settings, running)


def current_key() -> str | tuple[str, ...] | None:
    """Return on whose behalf the task runs that is running in this thread.

    It is the key that the task's message carries, in the form in which a call
    takes it; None in a task that has none, which Celery's ordinary way took,
    and outside of any task.

    Example:
        >>> current_key() is None
        True
    """
    header = getattr(running_request(), KEY_HEADER, None)
    if header is None:
        return None
    key = key_from_header(header)
    return key[0] if len(key) == 1 else key


def running_request() -> Any:
    """Return the request of the task that a worker runs in this thread, or None.

    What that task calls as a function or runs eagerly is a part of it.
    Celery's own `current_worker_task` would name the eager one, which has no
    message and so no key. The stacks are private to Celery (checked on 5.4.0,
    5.5.3, 5.6.3 and 5.7.0).
    """
    for task in reversed(_task_stack.stack):
        for request in reversed(task.request_stack.stack):
            if not request.called_directly and not request.is_eager:
                return request
    return None


def key_to_header(key: KeyPath) -> str | list[str]:
    """Return a key as messages and signatures carry it."""
    return key[0] if len(key) == 1 else list(key)


def key_from_header(value: Any) -> KeyPath:
    """Return the key that a message, signature or call carries.

    Raises:
        InvalidKeyError: It is not one.
    """
    return key_path(tuple(value) if isinstance(value, list) else value)


def key_of_signature(signature: Mapping[str, Any]) -> Any:
    """Return what a signature says of its key; None if nothing."""
    options = signature.get("options") or {}
    key = options.get(KEY_HEADER)
    return key if key is not None else (options.get("headers") or {}).get(KEY_HEADER)


def _inherited(settings: Settings, running: Any) -> KeyPath | None:
    if running is None or not settings.inherit_key:
        return None
    key = getattr(running, KEY_HEADER, None)
    return None if key is None else key_from_header(key)


def _served(call: Call) -> Call | None:
    """Return the call that a built-in canvas task stands for, if it is known."""
    try:
        if call.task == CHORD_UNLOCK:
            return _call_of(call.args[1])
        if call.task not in _MAPS:
            return None
        items = list(call.kwargs["it"])[:1]
        first = items[0] if items else ()
        return _call_of(call.kwargs["task"], (first,) if call.task == "celery.map" else first)
    except (IndexError, KeyError, TypeError):
        return None


def _call_of(signature: Any, args: Any = None) -> Call | None:
    if not isinstance(signature, Mapping):
        return None
    return Call(
        task=signature.get("task") or "",
        args=signature.get("args") or () if args is None else args,
        kwargs=signature.get("kwargs") or {},
        given=key_of_signature(signature),
    )

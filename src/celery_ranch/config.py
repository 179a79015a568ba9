"""Every setting: its name, unit, default, meaning and limits.

Settings live in one dict, ``app.conf.celery_ranch``; ``app.conf.ranch`` is
accepted as well, because Django's ``CELERY_RANCH`` arrives there. They are
read once, when the application's fair scheduling is first needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from kombu.serialization import prepare_accept_content
from kombu.utils.imports import symbol_by_name

from celery_ranch.errors import ConfigurationError, InvalidKeyError
from celery_ranch.scheduling.levels import PriorityOrder
from celery_ranch.scheduling.model import DEFAULT_LEVEL, LEVELS, key_path

if TYPE_CHECKING:
    from celery import Celery

__all__ = [
    "CostMode",
    "KeySetting",
    "QueueSettings",
    "SerializerType",
    "Settings",
    "read_settings",
]

_PICKLE = "application/x-python-serialize"

KeyFunction: TypeAlias = "Callable[[str, Any, Any], Any]"
KeySetting: TypeAlias = "tuple[str, ...] | KeyFunction | None"


class SerializerType(str, Enum):
    """How the facts about a message are written in the store."""

    JSON = "json"
    PICKLE = "pickle"


class CostMode(str, Enum):
    """What running a task costs its key, if the call does not say."""

    TASKS = "tasks"
    """Each costs 1."""
    SECONDS = "seconds"
    """Each costs the seconds it takes."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What is set of one queue; None: as for all."""

    default_priority: int | None = None
    cost: CostMode | None = None


class _Refused(Exception):
    """A value that a setting does not take."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a setting takes: in words, and as a function that converts."""

    allowed: str
    read: Callable[[Any], Any]


def _text() -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if not isinstance(value, str) or not value:
            raise _Refused
        return value

    return {"limits": _Limits("a non-empty str", read)}


def _text_or_none(allowed: str) -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if value is not None and (not isinstance(value, str) or not value):
            raise _Refused
        return value

    return {"limits": _Limits(allowed, read)}


def _flag() -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if not isinstance(value, bool):
            raise _Refused
        return value

    return {"limits": _Limits("True or False", read)}


def _whole(least: int, most: int) -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _Refused
        return value

    return {"limits": _Limits(f"a whole number from {least} to {most}", read)}


def _number(least: float, most: float, of: str = "") -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _Refused
        if not math.isfinite(value) or not least <= value <= most:
            raise _Refused
        return float(value)

    return {"limits": _Limits(f"a number{of} from {least:g} to {most:g}", read)}


def _seconds(least: float, most: float) -> dict[str, _Limits]:
    return _number(least, most, " of seconds")


def _ssl() -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise _Refused
            return dict(value)
        if not isinstance(value, bool):
            raise _Refused
        return value

    return {"limits": _Limits("True, False or a dict as in Celery's redis_backend_use_ssl", read)}


def _options_or_none(allowed: str) -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise _Refused
        return dict(value)

    return {"limits": _Limits(allowed, read)}


def _choice(kind: type[Enum], allowed: str) -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise _Refused from None

    return {"limits": _Limits(allowed, read)}


def _queues() -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Refused
        queues = {}
        for name, given in value.items():
            is_named = isinstance(name, str) and name and isinstance(given, Mapping)
            if not is_named or not {*given} <= {*_OF_A_QUEUE}:
                raise _Refused
            queues[name] = QueueSettings(**{n: _OF_A_QUEUE[n].read(v) for n, v in given.items()})
        return queues

    each = "; ".join(f"{name}: {limits.allowed}" for name, limits in _OF_A_QUEUE.items())
    return {"limits": _Limits(f"a dict from the names of queues to dicts of {each}", read)}


def _key() -> dict[str, _Limits]:
    def read(value: Any) -> Any:
        if isinstance(value, str) and ":" in value:
            try:
                value = symbol_by_name(value)
            except (ImportError, AttributeError, ValueError):
                raise _Refused from None
            if not callable(value):
                raise _Refused
        if value is None or callable(value):
            return value
        try:
            return key_path(value)
        except InvalidKeyError:
            raise _Refused from None

    allowed = (
        "None, a key, a callable (task_name, args, kwargs) -> key or None, or the"
        " path 'module:name' of one (any str with a colon is such a path; write a"
        " constant key with a colon as a tuple of one)"
    )
    return {"limits": _Limits(allowed, read)}


_PRIORITY = _whole(LEVELS[0], LEVELS[-1])
_COST = _choice(CostMode, "'tasks' or 'seconds'")
_ORDER = _choice(PriorityOrder, "'low-first' (0 goes first) or 'high-first' (10 goes first)")

#: What may be set of one queue.
_OF_A_QUEUE: dict[str, _Limits] = {
    "default_priority": _PRIORITY["limits"],
    "cost": _COST["limits"],
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one application, all of them valid.

    Each setting stands here with its default and its limits; what is said
    below it is its meaning.
    """

    url: str | None = field(
        default=None, metadata=_text_or_none("None or the URL of a Redis, or embedded://PATH")
    )
    """Where entries are stored; None: see `engines.opening`."""
    sentinel_master: str | None = field(
        default=None, metadata=_text_or_none("None or the name that sentinels know the master by")
    )
    """Which master a sentinel:// URL means; None: the broker's or backend's `master_name`
    where the store is theirs."""
    sentinel_kwargs: dict[str, Any] | None = field(
        default=None,
        metadata=_options_or_none("None or a dict as in Celery's option sentinel_kwargs"),
    )
    """How sentinels are reached and logged in to; None: as the broker or backend does
    where the store is theirs."""
    queue: str | None = field(default=None, metadata=_text_or_none("None or the name of a queue"))
    """The queue whose fair side takes the entries of the default queue."""
    lru_key: KeySetting = field(default=None, metadata=_key())
    """Whose task it is when the call does not say."""
    inherit_key: bool = field(default=True, metadata=_flag())
    """Whether a task called by a running task waits on behalf of its key."""
    redis_prefix: str = field(default="celery_ranch:", metadata=_text())
    """What the names of all keys in Redis begin with."""
    redis_serializer: SerializerType = field(
        default=SerializerType.JSON,
        metadata=_choice(SerializerType, "SerializerType.JSON ('json') or PICKLE ('pickle')"),
    )
    """How the facts about a message are written in Redis; bodies stay as Celery wrote them."""
    redis_key_ttl: int = field(default=3_600, metadata=_whole(1, 31_536_000))
    """How long an idle key is remembered, in seconds."""
    redis_max_retries: int = field(default=3, metadata=_whole(0, 1_000))
    """How often a publish is tried again, if neither the call nor the app's
    `task_publish_retry_policy` says otherwise."""
    redis_use_ssl: bool | dict[str, Any] = field(default=False, metadata=_ssl())
    """TLS to the store: True verifies its certificate, a dict says how in detail."""
    metrics_enabled: bool = field(default=False, metadata=_flag())
    """Whether workers serve metrics, one on each machine."""
    metrics_address: str = field(default="127.0.0.1", metadata=_text())
    """The address that metrics are served at."""
    metrics_port: int = field(default=5_557, metadata=_whole(0, 65_535))
    """The TCP port that metrics are served at; 0: any that is free."""
    metrics_keys: int = field(default=10, metadata=_whole(0, 100))
    """How many keys of a queue metrics tell apart by each order: backlog, oldest wait, lead."""
    lookahead_seconds: float = field(default=0.05, metadata=_seconds(0, 10))
    """How much work a worker leases beyond what it can start now, in seconds."""
    lease_seconds: float = field(default=30.0, metadata=_seconds(1, 86_400))
    """How long a worker's leases outlive its last heartbeat, in seconds."""
    max_deliveries: int = field(default=10, metadata=_whole(1, 1_000_000))
    """How often an entry may be started and come back before it is a dead letter."""
    dead_letter_limit: int = field(default=10_000, metadata=_whole(0, 10_000_000))
    """How many dead letters a queue keeps; the oldest are dropped."""
    priority_order: PriorityOrder = field(default=PriorityOrder.LOW_FIRST, metadata=_ORDER)
    """Which priorities are served first, whatever the broker."""
    default_priority: int = field(default=DEFAULT_LEVEL, metadata=_PRIORITY)
    """The priority of what has none."""
    level_floor: float = field(default=0.0, metadata=_number(0, 1 / len(LEVELS)))
    """Which part of a queue's tasks comes from each priority that waits, at least."""
    cost: CostMode = field(default=CostMode.TASKS, metadata=_COST)
    """What running a task costs its key, if the call does not say."""
    queues: dict[str, QueueSettings] = field(default_factory=dict, metadata=_queues())
    """`default_priority` and `cost` of single queues, by their names."""


_LIMITS: dict[str, _Limits] = {each.name: each.metadata["limits"] for each in fields(Settings)}


def read_settings(app: Celery) -> Settings:
    """Return an application's settings, or say which one is wrong.

    Raises:
        ConfigurationError: A setting is unknown or has a value it does not
            take, both dicts are given and differ, or pickle is chosen and
            the application does not accept it.
    """
    return _validated(_given(app), app.conf.accept_content)


def _given(app: Celery) -> Mapping[str, Any]:
    by_name, by_namespace = app.conf.get("celery_ranch"), app.conf.get("ranch")
    if by_name is not None and by_namespace is not None and by_name != by_namespace:
        raise ConfigurationError(
            "app.conf.ranch", by_namespace, "nothing, because app.conf.celery_ranch is given too"
        )
    given = by_name if by_name is not None else by_namespace
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError("celery_ranch", given, "a dict of settings")
    return given


def _validated(given: Mapping[str, Any], accept_content: Iterable[str]) -> Settings:
    settings = Settings(**{name: _read(name, value) for name, value in given.items()})
    is_pickle = settings.redis_serializer is SerializerType.PICKLE
    if is_pickle and _PICKLE not in prepare_accept_content(accept_content):
        raise ConfigurationError(
            "celery_ranch['redis_serializer']",
            settings.redis_serializer.value,
            "'json', or 'pickle' where the app's accept_content has 'pickle' too",
        )
    return settings


def _read(name: Any, value: Any) -> Any:
    shown = f"celery_ranch[{name!r}]"
    limits = _LIMITS.get(name) if isinstance(name, str) else None
    if limits is None:
        close = get_close_matches(str(name), _LIMITS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(
            shown, value, f"nothing, there is no such setting{hint} Known: {', '.join(_LIMITS)}"
        )
    try:
        return limits.read(value)
    except _Refused:
        raise ConfigurationError(shown, value, limits.allowed) from None

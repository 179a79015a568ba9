"""Everything the project raises on purpose.

    RanchError
    ├── ConfigurationError(setting, value, allowed)
    ├── InvalidKeyError(key, allowed)
    ├── InvalidShareError(share, allowed)
    ├── InvalidLevelError(level, allowed)
    ├── InvalidCostError(cost, allowed)
    ├── InvalidLimitError(limit, value, allowed)
    ├── InvalidTagError(tag, allowed)
    ├── InvalidDataError(value, allowed)
    ├── BacklogFullError(key, limit)
    ├── RoutingError(task, reason)
    ├── InvalidMoveError(target, allowed)
    ├── BatchTooLargeError(size, limit)
    ├── UnknownEntryError(entry_id)
    └── StoreError(reason)
        └── StoreUnavailableError(reason)

    RanchWarning, for what works but hardly as it was meant

Facts are positional and reach ``super().__init__`` unchanged, because Celery
rebuilds an exception as ``cls(*args)``; the sentence is made in ``__str__``.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BacklogFullError",
    "BatchTooLargeError",
    "ConfigurationError",
    "InvalidCostError",
    "InvalidDataError",
    "InvalidKeyError",
    "InvalidLevelError",
    "InvalidLimitError",
    "InvalidMoveError",
    "InvalidShareError",
    "InvalidTagError",
    "RanchError",
    "RanchWarning",
    "RoutingError",
    "StoreError",
    "StoreUnavailableError",
    "UnknownEntryError",
]


def _shown(value: Any) -> str:
    """Return a value as an error shows it: its repr, cut to 100 characters."""
    try:
        text = repr(value)
    except Exception:  # nested too deep, or its own code fails
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else text[:97] + "..."


class RanchError(Exception):
    """Something celery-ranch refused; every other error here is one of these."""


class ConfigurationError(RanchError):
    """A setting is unknown, of the wrong type or out of range; change it."""

    def __init__(self, setting: str, value: Any, allowed: str) -> None:
        super().__init__(setting, value, allowed)
        self.setting = setting
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.setting} is {_shown(self.value)}; allowed: {self.allowed}"


class InvalidKeyError(RanchError):
    """A key cannot name anybody; pass one that can. Nothing was stored."""

    def __init__(self, key: Any, allowed: str) -> None:
        super().__init__(key, allowed)
        self.key = key
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{_shown(self.key)} is not a key; allowed: {self.allowed}"


class InvalidShareError(RanchError):
    """A share (or a priority weight, which is 1/share) is out of range."""

    def __init__(self, share: Any, allowed: str) -> None:
        super().__init__(share, allowed)
        self.share = share
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{_shown(self.share)} is not a share; allowed: {self.allowed}"


class InvalidLevelError(RanchError):
    """A priority is no level that there is. Nothing was stored."""

    def __init__(self, level: Any, allowed: str) -> None:
        super().__init__(level, allowed)
        self.level = level
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{_shown(self.level)} is not a priority; allowed: {self.allowed}"


class InvalidCostError(RanchError):
    """A cost is no number, or out of range. Nothing was stored."""

    def __init__(self, cost: Any, allowed: str) -> None:
        super().__init__(cost, allowed)
        self.cost = cost
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{_shown(self.cost)} is not a cost; allowed: {self.allowed}"


class InvalidLimitError(RanchError):
    """A limit is of the wrong type or out of range. Nothing was changed."""

    def __init__(self, limit: str, value: Any, allowed: str) -> None:
        super().__init__(limit, value, allowed)
        self.limit = limit
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.limit} is {_shown(self.value)}; allowed: {self.allowed}"


class InvalidTagError(RanchError):
    """A tag cannot name a set of keys. Nothing was changed."""

    def __init__(self, tag: Any, allowed: str) -> None:
        super().__init__(tag, allowed)
        self.tag = tag
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{_shown(self.tag)} is not a tag; allowed: {self.allowed}"


class InvalidDataError(RanchError):
    """Custom data of a key cannot be stored. Nothing was changed."""

    def __init__(self, value: Any, allowed: str) -> None:
        super().__init__(value, allowed)
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{_shown(self.value)} cannot be noted of a key; allowed: {self.allowed}"


class BacklogFullError(RanchError):
    """A key has as many entries waiting as it may; try again when some have run."""

    def __init__(self, key: Any, limit: int) -> None:
        super().__init__(key, limit)
        self.key = key
        self.limit = limit

    def __str__(self) -> str:
        return f"{_shown(self.key)} has {self.limit} tasks waiting, as many as it may"


class RoutingError(RanchError):
    """A call has an explicit key but no fair side to go to; change its route."""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(task, reason)
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.task} cannot be scheduled fairly: {self.reason}"


class InvalidMoveError(RanchError):
    """Tasks cannot be moved there; name another place. Nothing moved."""

    def __init__(self, target: Any, allowed: str) -> None:
        super().__init__(target, allowed)
        self.target = target
        self.allowed = allowed

    def __str__(self) -> str:
        return f"tasks cannot be moved to {_shown(self.target)}; allowed: {self.allowed}"


class BatchTooLargeError(RanchError):
    """A batch holds more entries than one call takes; split it."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"a batch of {self.size} entries; allowed: at most {self.limit}"


class UnknownEntryError(RanchError):
    """No entry of that id is where it was looked for; it may have moved on."""

    def __init__(self, entry_id: str) -> None:
        super().__init__(entry_id)
        self.entry_id = entry_id

    def __str__(self) -> str:
        return f"there is no entry {_shown(self.entry_id)} here"


class StoreError(RanchError):
    """The store refused an operation; its own words are the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class StoreUnavailableError(StoreError):
    """The store did not answer; whether it acted is unknown. Try again."""


class RanchWarning(UserWarning):
    """Something works, but hardly as it was meant; the text says what to do."""

"""What is set of nodes: by path, by tag, and by default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from celery_ranch.errors import InvalidDataError, InvalidTagError
from celery_ranch.scheduling.limits import NO_LIMITS, Limits
from celery_ranch.scheduling.model import KeyPath

__all__ = [
    "MAX_DATA_BYTES",
    "Depth",
    "Policies",
    "Policy",
    "ShareTarget",
    "Tag",
    "Target",
    "Weighed",
    "data_text",
    "tag_parts",
    "tag_text",
    "tags_named",
]

MAX_TAG_PART_BYTES = 128

#: What the names and JSON texts of one key's custom data may come to.
MAX_DATA_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Tag:
    """Every key that has a tag."""

    name: str


@dataclass(frozen=True, slots=True)
class Depth:
    """Every node whose path has so many parts: what is set there is the default."""

    parts: int = 1


@dataclass(frozen=True, slots=True)
class Weighed:
    """A key, as its application's weight function has it: that goes over all else.

    It holds until it is set again or a share is set of the key itself, and is
    forgotten with the key when that is idle.
    """

    path: KeyPath


def tag_text(name: Any, value: Any) -> str:
    """Return a tag as engines know it, or refuse it.

    Raises:
        InvalidTagError: Name or value is empty, not text, too long, or the
            name has an equals sign.

    Example:
        >>> tag_text("tier", "premium")
        'tier=premium'
    """
    for part in (name, value):
        if not _is_label(part):
            raise InvalidTagError(part, _LABEL)
    if "=" in name:
        raise InvalidTagError(name, "a name without an equals sign")
    return f"{name}={value}"


def tags_named(name: Any) -> str:
    """Return what stands for all tags of a name, whatever their values, or refuse it.

    Raises:
        InvalidTagError: As `tag_text`.

    Example:
        >>> tags_named("tier")
        'tier='
    """
    return tag_text(name, "any").removesuffix("any")


def tag_parts(tag: str) -> tuple[str, str]:
    """Return the name and the value of a tag as engines know it.

    Example:
        >>> tag_parts("tier=gold=1")
        ('tier', 'gold=1')
    """
    name, _, value = tag.partition("=")
    return name, value


def data_text(name: Any, value: Any) -> str:
    """Return a piece of a key's custom data as engines keep it, or refuse it.

    Args:
        name: What it is called.
        value: What JSON gives back as it was given.

    Raises:
        InvalidDataError: The name is empty, not text or too long, or the value
            is nothing that JSON gives back, or too long.

    Example:
        >>> data_text("cores", [1, 2.5])
        '[1,2.5]'
    """
    if not _is_label(name):
        raise InvalidDataError(name, f"a name: {_LABEL}")
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        is_same = bool(json.loads(text) == value)
    except (TypeError, ValueError, RecursionError):
        is_same = False
    if not is_same:
        allowed = "None, True, False, finite numbers, text, and lists and dicts (by text) of these"
        raise InvalidDataError(value, allowed)
    if len(name.encode()) + len(text) > MAX_DATA_BYTES:
        raise InvalidDataError(value, f"at most {MAX_DATA_BYTES:,} bytes of JSON, with its name")
    return text


_LABEL = f"printable text of at most {MAX_TAG_PART_BYTES} bytes"


def _is_label(text: Any) -> bool:
    is_text = isinstance(text, str) and bool(text) and text.isprintable()
    return is_text and len(text.encode("utf-8", "replace")) <= MAX_TAG_PART_BYTES


Target: TypeAlias = "KeyPath | Tag | Depth"
ShareTarget: TypeAlias = "Target | Weighed"


@dataclass(frozen=True, slots=True)
class Policy:
    """A share and limits. What is None is not set here."""

    share: float | None = None
    limits: Limits = NO_LIMITS

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set."""
        return self.share is None and self.limits == NO_LIMITS


_NOTHING = Policy()


class Policies:
    """What was set in one queue, and what of it holds for a node.

    What was set of the node itself goes first, then its tags, then the
    default of its depth. Of several tags the largest share holds, and the
    strictest of each limit. The share that a weight function gave it goes
    over all of these.
    """

    def __init__(self) -> None:
        self.version = 0
        """Grows with every change that concerns nodes nobody named."""
        self.was_anything_set = False
        self._set: dict[ShareTarget, Policy] = {}
        self._tags: dict[KeyPath, set[str]] = {}
        self._data: dict[KeyPath, dict[str, str]] = {}

    def set_share(self, target: ShareTarget, share: float | None) -> None:
        """Set a share; None takes it back."""
        if isinstance(target, tuple):
            self._set.pop(Weighed(target), None)
        self._put(target, replace(self.of(target), share=share))

    def set_limits(self, target: Target, limits: Limits) -> None:
        """Set all three limits."""
        self._put(target, replace(self.of(target), limits=limits))

    def of(self, target: ShareTarget) -> Policy:
        """Return what was set of a target itself."""
        return self._set.get(target, _NOTHING)

    def add_tag(self, path: KeyPath, tag: str, *, is_only: bool = False) -> None:
        """Give a node a tag; if it is to be the only one of its name, take the others."""
        name = tag_parts(tag)[0]
        tags = self.tags(path)
        others = {other for other in tags if is_only and tag_parts(other)[0] == name}
        self._tags[path] = {*tags - others, tag}
        self.version += 1

    def remove_tag(self, path: KeyPath, tag: str) -> None:
        """Take a tag from a node, if it has it."""
        tags = self._tags.get(path, set())
        tags.discard(tag)
        if not tags:
            self._tags.pop(path, None)
        self.version += 1

    def tags(self, path: KeyPath) -> frozenset[str]:
        """Return a node's tags."""
        return frozenset(self._tags.get(path, ()))

    def tagged(self, tag: str) -> frozenset[KeyPath]:
        """Return the nodes that have a tag, or with `tags_named` any of a name."""
        if tag.endswith("="):
            return frozenset(
                path for path, tags in self._tags.items() if any(t.startswith(tag) for t in tags)
            )
        return frozenset(path for path, tags in self._tags.items() if tag in tags)

    def set_data(self, path: KeyPath, name: str, text: str | None) -> bool:
        """Note something about a node, None to note it no longer; say whether it has room."""
        data = {**self.data(path), name: text or ""}
        if text is None:
            del data[name]
        elif sum(len(n.encode()) + len(t.encode()) for n, t in data.items()) > MAX_DATA_BYTES:
            return False
        self._data[path] = data
        if not data:
            del self._data[path]
        return True

    def data(self, path: KeyPath) -> Mapping[str, str]:
        """Return what is noted about a node, by name."""
        return dict(self._data.get(path, {}))

    def names(self, path: KeyPath) -> bool:
        """Return whether anybody set anything of the node itself, tags and data included."""
        return path in self._set or path in self._tags or path in self._data

    def forget(self, path: KeyPath) -> None:
        """Drop what a weight function said of a node."""
        self._set.pop(Weighed(path), None)

    def holding(self, path: KeyPath) -> Policy:
        """Return what holds for a node: nothing of it is left open but what nobody set."""
        weighed, policy = self.of(Weighed(path)).share, self.set_by_hand(path)
        return policy if weighed is None else replace(policy, share=weighed)

    def set_by_hand(self, path: KeyPath) -> Policy:
        """Return what would hold for a node if there were no weight function."""
        own, default = self.of(path), self.of(Depth(len(path)))
        tagged = [self.of(Tag(tag)) for tag in self.tags(path)]
        share = own.share
        if share is None:
            share = max((p.share for p in tagged if p.share is not None), default=default.share)
        limits = own.limits.over(p.limits for p in tagged).over([default.limits])
        return Policy(share, limits)

    def _put(self, target: ShareTarget, policy: Policy) -> None:
        self.was_anything_set = True
        if policy.is_empty:
            self._set.pop(target, None)
        else:
            self._set[target] = policy
        if isinstance(target, (Tag, Depth)):
            self.version += 1

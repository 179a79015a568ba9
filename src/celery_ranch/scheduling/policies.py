"""What is set of nodes: by path, by tag, and by default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from celery_ranch.errors import InvalidTagError
from celery_ranch.scheduling.limits import NO_LIMITS, Limits
from celery_ranch.scheduling.model import KeyPath

__all__ = ["Depth", "Policies", "Policy", "Tag", "Target", "tag_text"]

MAX_TAG_PART_BYTES = 128


@dataclass(frozen=True, slots=True)
class Tag:
    """Every key that has a tag."""

    name: str


@dataclass(frozen=True, slots=True)
class Depth:
    """Every node whose path has so many parts: what is set there is the default."""

    parts: int = 1


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
        is_text = isinstance(part, str) and bool(part) and part.isprintable()
        if not is_text or len(part.encode("utf-8", "replace")) > MAX_TAG_PART_BYTES:
            allowed = f"printable text of at most {MAX_TAG_PART_BYTES} bytes"
            raise InvalidTagError(part, allowed)
    if "=" in name:
        raise InvalidTagError(name, "a name without an equals sign")
    return f"{name}={value}"


Target: TypeAlias = "KeyPath | Tag | Depth"


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
    strictest of each limit.
    """

    def __init__(self) -> None:
        self.version = 0
        """Grows with every change that concerns nodes nobody named."""
        self.was_anything_set = False
        self._set: dict[Target, Policy] = {}
        self._tags: dict[KeyPath, set[str]] = {}

    def set_share(self, target: Target, share: float | None) -> None:
        """Set a share; None takes it back."""
        self._put(target, replace(self.of(target), share=share))

    def set_limits(self, target: Target, limits: Limits) -> None:
        """Set all three limits."""
        self._put(target, replace(self.of(target), limits=limits))

    def of(self, target: Target) -> Policy:
        """Return what was set of a target itself."""
        return self._set.get(target, _NOTHING)

    def add_tag(self, path: KeyPath, tag: str) -> None:
        """Give a node a tag."""
        self._tags.setdefault(path, set()).add(tag)
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
        """Return the nodes that have a tag."""
        return frozenset(path for path, tags in self._tags.items() if tag in tags)

    def names(self, path: KeyPath) -> bool:
        """Return whether anything was set of the node itself, a tag included."""
        return path in self._set or path in self._tags

    def holding(self, path: KeyPath) -> Policy:
        """Return what holds for a node: nothing of it is left open but what nobody set."""
        own, default = self.of(path), self.of(Depth(len(path)))
        tagged = [self.of(Tag(tag)) for tag in self.tags(path)]
        share = own.share
        if share is None:
            share = max((p.share for p in tagged if p.share is not None), default=default.share)
        limits = own.limits.over(p.limits for p in tagged).over([default.limits])
        return Policy(share, limits)

    def _put(self, target: Target, policy: Policy) -> None:
        self.was_anything_set = True
        if policy.is_empty:
            self._set.pop(target, None)
        else:
            self._set[target] = policy
        if not isinstance(target, tuple):
            self.version += 1

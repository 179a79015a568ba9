"""Shares, limits and tags of keys; pausing, dead letters."""

from __future__ import annotations

from typing import Any

from celery_ranch.errors import (
    InvalidDataError,
    InvalidKeyError,
    InvalidTagError,
    UnknownEntryError,
)
from celery_ranch.ranch.withdrawals import Withdrawing
from celery_ranch.scheduling.limits import limits_of
from celery_ranch.scheduling.model import MAX_KEY_PARTS, key_path, valid_share
from celery_ranch.scheduling.policies import (
    MAX_DATA_BYTES,
    Depth,
    Tag,
    Target,
    data_text,
    tag_text,
)

__all__ = ["Control"]


class Control(Withdrawing):
    """Steering an application's fair queues: what is set holds at once, for what waits too."""

    def set_share(
        self,
        key: Any = None,
        share: float | None = None,
        queue: str | None = None,
        *,
        tag: tuple[str, str] | None = None,
        depth: int | None = None,
    ) -> None:
        """Entitle a key to so much of a queue, relative to its siblings.

        What is set of a key itself holds at once; what is set of a tag or a
        depth holds for a key from the next time that something of it is
        stored, leased or ended. The key's own goes first, then its tags (of
        several the largest share), then the default of its depth, then 1.

        Args:
            key: Whose share it is: a key, or a part of its path from the
                outermost on.
            share: From 0.01 to 100; who has 2 is served twice as often as
                who has 1. None takes back what was set.
            queue: The queue it holds in; None means the default one.
            tag: Instead of a key: every key with this tag, (name, value).
            depth: Instead of a key: all keys with so many parts, 1 to 8.

        Raises:
            InvalidKeyError, InvalidShareError, InvalidTagError, StoreError:
                Nothing changed.
        """
        target = _target(key, tag, depth)
        share = None if share is None else valid_share(share)
        self.engine.set_share(self._queue(queue), target, share)

    def set_limits(
        self,
        key: Any = None,
        queue: str | None = None,
        *,
        tag: tuple[str, str] | None = None,
        depth: int | None = None,
        concurrency: float | None = None,
        rate: str | float | None = None,
        burst: int | None = None,
        backlog: float | None = None,
    ) -> None:
        """Limit how much of a key runs at once, starts in a time, and waits.

        All of its limits are set anew: what is None is not limited here, so
        that a tag or a default decides (of several tags the strictest), and
        `math.inf` is no limit whatever they say. A key at a limit steps
        aside; others go on. When it holds is as in `set_share`.

        Args:
            key: Whose; all below it counts as well.
            queue: The queue they hold in; None means the default one.
            tag: Instead of a key: each key with this tag, (name, value).
            depth: Instead of a key: each key with so many parts, 1 to 8.
            concurrency: How many of its tasks workers may have at once.
            rate: How often they may start: "10/s", "100/m", "5000/h", "1/d".
            burst: How many may start at once after a pause; 1 if None.
            backlog: How many may wait. A call from outside of any task
                raises `BacklogFullError` then.

        Raises:
            InvalidKeyError, InvalidLimitError, InvalidTagError, StoreError:
                Nothing changed.
        """
        target = _target(key, tag, depth)
        limits = limits_of(concurrency=concurrency, rate=rate, burst=burst, backlog=backlog)
        self.engine.set_limits(self._queue(queue), target, limits)

    def add_tag(self, key: Any, name: str, value: str, queue: str | None = None) -> None:
        """Give a key a tag: a name and a value, of which it may have several.

        Raises:
            InvalidKeyError, InvalidTagError, StoreError: Nothing changed.
        """
        self.engine.add_tag(self._queue(queue), key_path(key), tag_text(name, value))

    def remove_tag(self, key: Any, name: str, value: str, queue: str | None = None) -> None:
        """Take a tag from a key; nothing happens if it does not have it."""
        self.engine.remove_tag(self._queue(queue), key_path(key), tag_text(name, value))

    def set_tag(self, key: Any, name: str, value: str, queue: str | None = None) -> None:
        """Give a key a tag, and take all others of that name from it.

        Raises:
            InvalidKeyError, InvalidTagError, StoreError: Nothing changed.
        """
        tag = tag_text(name, value)
        self.engine.add_tag(self._queue(queue), key_path(key), tag, is_only=True)

    def set_custom_data(self, key: Any, name: str, value: Any, queue: str | None = None) -> None:
        """Note something about a key, for a weight function or anybody else to read.

        A key of which something is noted is remembered until that is taken
        back, however long it is idle.

        Args:
            key: Of which.
            name: What it is called: printable text of at most 128 bytes.
            value: What JSON gives back as it was given. All that is noted of
                a key has at most 8,192 bytes, names included.
            queue: The queue that remembers it; None means the default one.

        Raises:
            InvalidKeyError, InvalidDataError, StoreError: Nothing changed.
        """
        text = data_text(name, value)
        if not self.engine.set_data(self._queue(queue), key_path(key), name, text):
            room = f"at most {MAX_DATA_BYTES:,} bytes with what else is noted of {key!r}"
            raise InvalidDataError(value, room)

    def remove_custom_data(self, key: Any, name: str, queue: str | None = None) -> None:
        """Note something about a key no longer; nothing happens if it was not noted.

        Raises:
            InvalidKeyError, InvalidDataError, StoreError: Nothing changed.
        """
        data_text(name, None)
        self.engine.set_data(self._queue(queue), key_path(key), name, None)

    def pause(self, key: Any, queue: str | None = None) -> None:
        """Let a key's tasks wait until it is resumed; they keep their places."""
        self.engine.pause(self._queue(queue), key_path(key))

    def resume(self, key: Any, queue: str | None = None) -> None:
        """Serve a paused key again."""
        self.engine.resume(self._queue(queue), key_path(key))

    def retry_dead(self, entry_id: str, queue: str | None = None) -> None:
        """Put a dead letter back as if just stored.

        Raises:
            UnknownEntryError: There is no such dead letter.
        """
        if not self.engine.retry_dead(self._queue(queue), entry_id):
            raise UnknownEntryError(entry_id)

    def delete_dead(self, entry_id: str, queue: str | None = None) -> None:
        """Drop a dead letter for good.

        Raises:
            UnknownEntryError: There is no such dead letter.
        """
        if not self.engine.delete_dead(self._queue(queue), entry_id):
            raise UnknownEntryError(entry_id)


def _target(key: Any, tag: tuple[str, str] | None, depth: int | None) -> Target:
    """Return what is meant by a key, a tag or a depth, exactly one of which is given."""
    given = [each for each in (key, tag, depth) if each is not None]
    if len(given) != 1:
        raise InvalidKeyError(key, "exactly one of a key, a tag and a depth")
    if tag is not None:
        if not isinstance(tag, tuple) or len(tag) != 2:
            raise InvalidTagError(tag, "a tuple of a name and a value")
        return Tag(tag_text(*tag))
    if depth is not None:
        if not isinstance(depth, int) or isinstance(depth, bool) or not 1 <= depth <= MAX_KEY_PARTS:
            raise InvalidKeyError(depth, f"a depth from 1 to {MAX_KEY_PARTS}")
        return Depth(depth)
    return key_path(key)

"""Control and look, of the engine in Redis, and how any verb runs there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from redis.exceptions import NoScriptError

from celery_ranch.engines import checking, explaining, wire
from celery_ranch.engines.connections import Connections
from celery_ranch.engines.scripts import Argument, load_script
from celery_ranch.engines.wire import Request
from celery_ranch.scheduling.explanation import Explanation
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.limits import Limits
from celery_ranch.scheduling.model import (
    ACTIVATION_BUDGET,
    MOST_ABANDONED,
    PUBLISHER_MEMORY_MS,
    TAG_LIMIT,
    DeadLetter,
    EngineSettings,
    KeyDetails,
    KeyPath,
    KeySnapshot,
    QueueSnapshot,
    valid_share,
)
from celery_ranch.scheduling.policies import MAX_DATA_BYTES, ShareTarget, Target
from celery_ranch.scheduling.turns import MOST_SIBLINGS

__all__ = ["RedisControl"]

T = TypeVar("T")

#: How many nodes of a tag one command fetches.
_PAGE = 1_000


class RedisControl:
    """The verbs of `RedisEngine` that steer its queues and look at them.

    Args:
        store: A redis://, rediss://, unix:// or redis+socket:// URL, a
            `redis.Redis` whose server to use, or a `SentinelStore`.
        prefix: What the names of all Redis keys begin with.
        settings: What every engine is told.
        tag_limit: Virtual time at which tags are shifted down, at least 2^30;
            tests make it small.
        connection_kwargs: More arguments for redis-py's connection.

    Raises:
        ConfigurationError: The store or an argument for it cannot be used.
    """

    def __init__(
        self,
        store: Any,
        prefix: str = "celery_ranch:",
        settings: EngineSettings | None = None,
        tag_limit: int = TAG_LIMIT,
        connection_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        self.prefix = prefix
        self._connections = Connections(store, connection_kwargs or {})
        known: dict[str, Argument] = {
            "queues": f"{prefix}queues",
            "turn": f"{prefix}turn",
            "reaping": f"{prefix}reaping",
            "tag_limit": tag_limit,
            "lease_us": self.settings.lease_us,
            "dead_limit": self.settings.dead_letter_limit,
            "deliveries": self.settings.max_deliveries,
            "level_floor": self.settings.level_floor,
            "idle_us": self.settings.idle_key_us,
            "budget": ACTIVATION_BUDGET,
            "most_abandoned": MOST_ABANDONED,
            "memory_ms": PUBLISHER_MEMORY_MS,
        }
        # As bytes they are sent as they are, with every command.
        self._known: dict[str, Argument] = {
            name: str(value).encode() for name, value in known.items()
        }

    # -- control ------------------------------------------------------------

    def set_share(
        self, queue: str, target: ShareTarget, share: float | None, *, now_us: int | None = None
    ) -> None:
        """As `Engine.set_share`."""
        text = "-1" if share is None else repr(valid_share(share)).removesuffix(".0")
        name = wire.target_text(target)
        self._run(self._on_queue("set_share", queue, _word, now_us, target=name, share=text))

    def set_limits(
        self, queue: str, target: Target, limits: Limits, *, now_us: int | None = None
    ) -> None:
        """As `Engine.set_limits`."""
        numbers = wire.limit_arguments(limits)
        name = wire.target_text(target)
        self._run(self._on_queue("set_limits", queue, _word, now_us, target=name, **numbers))

    def add_tag(self, queue: str, key: KeyPath, tag: str, *, is_only: bool = False) -> None:
        """As `Engine.add_tag`."""
        named: dict[str, Argument] = {"tag": tag, "is_only": int(is_only)}
        named["key"] = wire.key_text(key)
        self._run(self._on_queue("add_tag", queue, _word, None, **named))

    def remove_tag(self, queue: str, key: KeyPath, tag: str) -> None:
        """As `Engine.remove_tag`."""
        self._run(self._on_queue("remove_tag", queue, _word, key=wire.key_text(key), tag=tag))

    def tagged(self, queue: str, tag: str) -> frozenset[KeyPath]:
        """As `Engine.tagged`."""
        place = f"{self._base(queue)}tagged"
        least, end = wire.tagged_range(tag)
        found: set[KeyPath] = set()
        while True:
            page = ("ZRANGE", place, least, end, "BYLEX", "LIMIT", 0, _PAGE)
            members = self._connections.run(page)
            found.update(map(wire.read_tagged, members))
            if len(members) < _PAGE:
                return frozenset(found)
            least = b"(" + members[-1]

    def set_data(self, queue: str, key: KeyPath, name: str, text: str | None) -> bool:
        """As `Engine.set_data`."""
        named = {"key": wire.key_text(key), "name": name, "value": text or ""}
        return self._run(
            self._on_queue("set_data", queue, _says("noted"), None, most=MAX_DATA_BYTES, **named)
        )

    def pause(self, queue: str, key: KeyPath) -> None:
        """As `Engine.pause`."""
        self._run(self._on_queue("pause", queue, _word, key=wire.key_text(key)))

    def resume(self, queue: str, key: KeyPath) -> None:
        """As `Engine.resume`."""
        self._run(self._on_queue("resume", queue, _word, key=wire.key_text(key)))

    def cancel(self, queue: str, entry_id: str, *, now_us: int | None = None) -> bytes | None:
        """As `Engine.cancel`."""
        return self._run(
            self._on_queue("cancel", queue, wire.read_cancelled, now_us, entry_id=entry_id)
        )

    def dead_letters(self, queue: str, offset: int = 0, limit: int = 100) -> tuple[DeadLetter, ...]:
        """As `Engine.dead_letters`."""
        request = self._on_queue(
            "dead_letters",
            queue,
            lambda reply: wire.read_dead_letters(reply, queue),
            offset=offset,
            limit=limit,
        )
        return self._run(request)

    def retry_dead(self, queue: str, entry_id: str, *, now_us: int | None = None) -> bool:
        """As `Engine.retry_dead`."""
        request = self._on_queue("retry_dead", queue, _says("retried"), now_us, entry_id=entry_id)
        return self._run(request)

    def delete_dead(self, queue: str, entry_id: str) -> bool:
        """As `Engine.delete_dead`."""
        request = self._on_queue("delete_dead", queue, _says("deleted"), entry_id=entry_id)
        return self._run(request)

    # -- look ---------------------------------------------------------------

    def queues(self) -> frozenset[str]:
        """As `Engine.queues`."""
        names = self._connections.run(("ZRANGE", self._known["queues"], 0, -1))
        return frozenset(str(name, "utf-8") for name in names)

    def snapshot(self, queue: str, *, now_us: int | None = None) -> QueueSnapshot:
        """As `Engine.snapshot`."""
        return self._run(
            self._on_queue(
                "snapshot", queue, lambda reply: wire.read_snapshot(reply, queue), now_us
            )
        )

    def keys(
        self, queue: str, cursor: int = 0, count: int = 100
    ) -> tuple[int, tuple[KeySnapshot, ...]]:
        """As `Engine.keys`."""
        count = max(1, min(count, 1_000))
        return self._run(self._on_queue("keys", queue, wire.read_keys, cursor=cursor, limit=count))

    def details(self, queue: str, key: KeyPath) -> KeyDetails:
        """As `Engine.details`."""
        return self._run(
            self._on_queue("details", queue, wire.read_details, key=wire.key_text(key))
        )

    def pending(
        self, queue: str, key: KeyPath, offset: int = 0, limit: int = 1_000
    ) -> tuple[tuple[str, bytes], ...]:
        """As `Engine.pending`."""
        text = wire.key_text(key)
        return self._run(
            self._on_queue(
                "pending", queue, wire.read_pending, key=text, offset=offset, limit=limit
            )
        )

    def explain(
        self,
        queue: str,
        entry_id: str,
        *,
        most: int = MOST_SIBLINGS,
        now_us: int | None = None,
    ) -> Explanation:
        """As `Engine.explain`."""

        def ask(first: int) -> Any:
            named: dict[str, Argument] = {"entry_id": entry_id, "first": first, "most": most}
            return self._run(self._on_queue("explain", queue, lambda reply: reply, now_us, **named))

        return explaining.explanation(ask, entry_id, queue, self.settings.level_floor)

    def check(self, queue: str, count: int = 100) -> Iterator[Violation]:
        """As `Engine.check`."""

        def ask(verb: str, **named: Argument) -> Any:
            return self._run(self._on_queue(verb, queue, lambda reply: reply, None, **named))

        return checking.violations(ask, queue, count)

    # -- within -------------------------------------------------------------

    def _base(self, queue: str) -> str:
        return f"{self.prefix}{{{queue}}}:"

    def _places(self, queues: Iterable[str]) -> tuple[dict[str, int], list[str]]:
        """Return each queue's place, from 1, and the queues' bases in that order."""
        places: dict[str, int] = {}
        for queue in queues:
            places.setdefault(queue, len(places) + 1)
        return places, [self._base(queue) for queue in places]

    def _named(self, now_us: int | None, **named: Argument) -> dict[str, Argument]:
        return {**self._known, "now": b"-1" if now_us is None else now_us, **named}

    def _on_queue(
        self,
        verb: str,
        queue: str,
        read: Callable[[Any], T],
        now_us: int | None = None,
        **named: Argument,
    ) -> Request[T]:
        script = load_script(verb)
        command = script.command(self._named(now_us, base=self._base(queue), **named))
        return Request(verb, command, read)

    def _run(self, request: Request[T]) -> T:
        try:
            return request.parse(self._connections.run(request.args))
        except NoScriptError:
            source = load_script(request.verb).source
            self._connections.run(("SCRIPT", "LOAD", source))
        # With its source, because scripts may have been flushed once more.
        return request.parse(self._connections.run(("EVAL", source, *request.args[2:])))


def _word(reply: Any) -> str:
    return wire.read_word(reply)


def _says(word: str) -> Callable[[Any], bool]:
    return lambda reply: wire.read_word(reply) == word

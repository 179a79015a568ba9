"""Which queue's fair side a message goes to, and the aliases of the default one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from celery.app.amqp import Queues
from kombu.common import Broadcast
from kombu.entity import Queue
from kombu.utils.functional import maybe_list

from celery_ranch.ranch import ALIASES, Ranch

# To a type checker it is a `Queues`; it becomes one only beside an app's own.
_Base: Any = Queues if TYPE_CHECKING else object

__all__ = ["adopt_queues", "fair_destination", "matches_topic"]

#: Celery's exchanges for delayed delivery to quorum queues. Their routing
#: keys are one bit of the delay after the other, then the one of the queue.
_DELAYED_EXCHANGE_PREFIX = "celery_delayed_"
_DELAYED_LEVELS = 28


class _Aliases(_Base):
    """Lets ``celery_ranch`` stand for the default queue in a `Queues`.

    So that ``-Q``, ``-X``, ``task_routes`` and ``queue=`` take it, also where
    `task_create_missing_queues` is off.
    """

    ranch: Ranch

    def __getitem__(self, name: str) -> Any:
        resolved = self._resolved(name)
        if resolved == name or resolved in self.keys():
            return super().__getitem__(resolved)
        return self.add(self.new_missing(resolved))

    def __missing__(self, name: str) -> Any:
        # Retries are routed by the queue's real name.
        if name == self.ranch.default_queue != self.ranch.plain_default_queue:
            return self.add(self.new_missing(name))
        return super().__missing__(name)

    def __contains__(self, name: object) -> bool:
        return name in ALIASES or super().__contains__(name)

    def select(self, include: Any) -> None:
        """Consume from these alone, aliases among them."""
        super().select(self._all_resolved(include))

    def deselect(self, exclude: Any) -> None:
        """Do not consume from these, aliases among them."""
        super().deselect(self._all_resolved(exclude))

    def _all_resolved(self, names: Any) -> list[str]:
        return [self._resolved(name) for name in maybe_list(names) or []]

    def _resolved(self, name: str) -> str:
        # Whoever declares a queue of that name has one.
        if name not in ALIASES or name in self.keys():
            return name
        return self.ranch.default_queue


@cache
def _with_aliases(queues_class: Any) -> Any:
    return type(queues_class.__name__, (_Aliases, queues_class), {"__module__": __name__})


def adopt_queues(queues: Queues, ranch: Ranch) -> Queues:
    """Let a `Queues` know the aliases; it stays the same object."""
    if not isinstance(queues, _Aliases):
        queues_class: Any = type(queues)
        queues.__class__ = _with_aliases(queues_class)
        queues.ranch = ranch
    return queues


def fair_destination(options: Mapping[str, Any], queues: Queues, ranch: Ranch) -> str | None:
    """Return the queue whose fair side a message goes to; None if it has none.

    A message has none when it goes to a `Broadcast`, or by an explicit
    exchange that does not lead to exactly one declared queue.

    Args:
        options: What Celery passes on to send the message.
        queues: The application's declared queues.
        ranch: The application's fair scheduling.
    """
    queue, exchange = options.get("queue"), options.get("exchange")
    routing_key = options.get("routing_key")
    if isinstance(queue, str):
        queue = queues[queue]
    if isinstance(queue, Broadcast):
        return None
    name: str | None
    if queue is None and not exchange:
        name = ranch.plain_default_queue
    elif exchange and routing_key:
        name = _only_queue(getattr(exchange, "name", exchange), routing_key, queues.values())
    elif queue is None:
        name = None
    elif (options.get("exchange_type") or queue.exchange.type) == "direct":
        # Celery sends to the queue itself, whatever else it was told.
        name = queue.name
    else:
        declared = {**queues, queue.name: queue}.values()
        exchange = getattr(exchange, "name", exchange) or queue.exchange.name
        name = _only_queue(exchange, routing_key or queue.routing_key or "", declared)
    if name is None:
        return None
    if name == ranch.plain_default_queue:
        return ranch.default_queue
    return ranch.fair_queue(name)


def matches_topic(binding: str, routing_key: str) -> bool:
    """Return whether a topic exchange sends a message to a binding.

    Example:
        >>> matches_topic("feed.#", "feed.news.sport"), matches_topic("feed.*", "feed")
        (True, False)
    """
    return _words_match(binding.split("."), routing_key.split("."))


def _words_match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[i:]) for i in range(len(words) + 1))
    if not words or pattern[0] not in ("*", words[0]):
        return False
    return _words_match(pattern[1:], words[1:])


def _only_queue(exchange: str, routing_key: str, declared: Iterable[Queue]) -> str | None:
    if exchange.startswith(_DELAYED_EXCHANGE_PREFIX):
        routing_key = routing_key.split(".", _DELAYED_LEVELS)[-1]
        names = {
            queue.name
            for queue in declared
            if queue.exchange.type != "direct" and queue.routing_key == routing_key
        }
    else:
        names = {
            queue.name
            for queue in declared
            if not isinstance(queue, Broadcast)
            and queue.exchange.name == exchange
            and _is_bound(queue, routing_key)
        }
    return names.pop() if len(names) == 1 else None


def _is_bound(queue: Queue, routing_key: str) -> bool:
    if queue.exchange.type == "fanout":
        return True
    if queue.exchange.type == "topic":
        return matches_topic(queue.routing_key or "", routing_key)
    return bool(queue.exchange.type == "direct" and queue.routing_key == routing_key)

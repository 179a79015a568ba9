"""What `celery inspect` shows of leases that are no requests of Celery's yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.control import Panel
from celery.worker.request import Request

from celery_ranch.worker.feeding import Feeder

__all__ = ["show_stock"]

#: Where a consumer says what was leased ahead.
_ATTRIBUTE = "celery_ranch_feeder"


def show_stock(consumer: Any, feeder: Feeder) -> None:
    """Let `inspect reserved` and `query_task` show what was leased ahead, too.

    The two commands are wrapped in Celery's registry of commands, once per
    process; a consumer that leases nothing shows what it always showed.
    """
    setattr(consumer, _ATTRIBUTE, feeder)
    for name, addition in (
        ("reserved", _add_to_reserved),
        ("dump_reserved", _add_to_reserved),
        ("query_task", _add_to_queried),
    ):
        plain = Panel.data[name]
        if not isinstance(plain, _WithStock):
            Panel.data[name] = _WithStock(plain, addition)


class _WithStock:
    """A command of Celery's, whose reply gets an addition."""

    def __init__(self, plain: Callable[..., Any], addition: Callable[..., Any]) -> None:
        self._plain = plain
        self._addition = addition
        self.__name__ = plain.__name__
        self.__doc__ = plain.__doc__

    def __call__(self, state: Any, **arguments: Any) -> Any:
        """Return what Celery says, with what was leased ahead."""
        reply = self._plain(state, **arguments)
        feeder = getattr(state.consumer, _ATTRIBUTE, None)
        if feeder is None:
            return reply
        stocked = [
            Request(message, app=state.app, hostname=state.hostname).info()
            for message in feeder.stocked_messages()
        ]
        return self._addition(reply, stocked, **arguments)


def _add_to_reserved(reply: Any, stocked: list[dict[str, Any]], **_: Any) -> list[Any]:
    return [*reply, *stocked]


def _add_to_queried(
    reply: dict[str, Any], stocked: list[dict[str, Any]], *, ids: Any, **_: Any
) -> dict[str, Any]:
    asked = {ids} if isinstance(ids, str) else {*ids}
    return {info["id"]: ("reserved", info) for info in stocked if info["id"] in asked} | reply

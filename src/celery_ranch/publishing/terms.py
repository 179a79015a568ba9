"""On what terms an entry waits: its level, its cost, and whether a full backlog takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery_ranch.config import CostMode, QueueSettings, Settings
from celery_ranch.scheduling.costs import cost_of
from celery_ranch.scheduling.model import CHARGE_UNIT

__all__ = ["COST_HEADER", "KeyTerms", "Terms", "chosen_priority", "chosen_terms"]

#: The message header that a retry takes its cost from.
COST_HEADER = "lru_cost"

_AS_FOR_ALL = QueueSettings()


@dataclass(frozen=True, slots=True)
class Terms:
    """How an entry is scheduled, apart from whose it is."""

    level: int
    cost: int | None
    """In millionths; None: the seconds it takes."""
    is_exempt: bool
    """Whether it is stored also where its key's backlog is full."""


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a call sets of its key before it is stored; what is None or empty stays."""

    share: float | None = None
    tags: tuple[str, ...] = ()
    """Each takes the place of others of its name."""


def chosen_priority(settings: Settings, queue: str, given: Any) -> Any:
    """Return the priority of a message: what its call says, the queue's default, or that of all."""
    if given is not None:
        return given
    of_queue = settings.queues.get(queue, _AS_FOR_ALL).default_priority
    return settings.default_priority if of_queue is None else of_queue


def chosen_terms(
    settings: Settings, queue: str, priority: Any, cost: Any, facts: Mapping[str, Any], running: Any
) -> Terms:
    """Return on what terms a message waits.

    A backlog limit is for who submits from outside. What a running task
    calls, and what follows one (callbacks, errbacks, further steps, retries),
    is exempt: Celery would lose it.

    Args:
        settings: The application's.
        queue: Where it waits.
        priority: As `chosen_priority` says.
        cost: What the call says, or None.
        facts: The headers of a message of protocol 2, the body of one of 1.
        running: The request of the task that is running in this thread, or None.

    Raises:
        InvalidLevelError, InvalidCostError: What the call says is none.
    """
    of_queue = settings.queues.get(queue, _AS_FOR_ALL)
    charged: int | None = CHARGE_UNIT
    if cost is not None:
        charged = cost_of(cost)
    elif (of_queue.cost or settings.cost) is CostMode.SECONDS:
        charged = None
    return Terms(
        level=settings.priority_order.level(priority),
        cost=charged,
        is_exempt=running is not None or bool(facts.get("parent_id") or facts.get("retries")),
    )

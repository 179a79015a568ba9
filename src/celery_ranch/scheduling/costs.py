"""What running an entry costs its key, where that is measured."""

from __future__ import annotations

from typing import Any

from celery_ranch.errors import InvalidCostError
from celery_ranch.scheduling.model import CHARGE_UNIT, MAX_COST

__all__ = ["FIRST_ESTIMATE", "Estimates", "cost_of"]

#: What an entry is thought to cost before anything was measured: a second.
FIRST_ESTIMATE = CHARGE_UNIT


def cost_of(cost: Any) -> int:
    """Return a cost in millionths, or refuse it.

    Raises:
        InvalidCostError: It is not a number from 0.000001 to 1,000,000.

    Example:
        >>> cost_of(2.5)
        2500000
    """
    is_number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
    if not is_number or not 1e-6 <= cost <= 1e6:
        raise InvalidCostError(cost, "a number from 0.000001 to 1000000")
    return round(float(cost) * CHARGE_UNIT)


class Estimates:
    """What entries are thought to cost: by key, and of a new key by its queue.

    Example:
        >>> estimates = Estimates()
        >>> estimates.learn("acme", 80_000)
        >>> estimates.learn("acme", 160_000)
        >>> estimates.of("acme"), estimates.of("bolt")
        (90000, 90000)
    """

    def __init__(self) -> None:
        self._of_key: dict[Any, int] = {}
        self._of_all: int | None = None

    def of(self, key: Any) -> int:
        """Return what the key's next entry is thought to cost, in millionths."""
        found = self._of_key.get(key, self._of_all)
        return FIRST_ESTIMATE if found is None else found

    def learn(self, key: Any, measured: int) -> None:
        """Note what an entry of the key did cost, in millionths."""
        measured = min(measured, MAX_COST)
        self._of_key[key] = _moved(self._of_key.get(key), measured)
        self._of_all = _moved(self._of_all, measured)

    def forget(self, key: Any) -> None:
        """Forget what was learnt of a key."""
        self._of_key.pop(key, None)


def _moved(estimate: int | None, measured: int) -> int:
    """Return an estimate moved an eighth of the way to what was measured."""
    return measured if estimate is None else estimate + (measured - estimate) // 8

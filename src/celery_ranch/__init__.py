"""Fair scheduling for Celery: one tenant's flood no longer delays everybody else's task."""

from typing import TYPE_CHECKING, Any

from celery_ranch.config import SerializerType
from celery_ranch.errors import (
    BacklogFullError,
    BatchTooLargeError,
    ConfigurationError,
    InvalidCostError,
    InvalidDataError,
    InvalidKeyError,
    InvalidLevelError,
    InvalidLimitError,
    InvalidMoveError,
    InvalidShareError,
    InvalidTagError,
    RanchError,
    RanchWarning,
    RoutingError,
    StoreError,
    StoreUnavailableError,
    UnknownEntryError,
)
from celery_ranch.observing.views import get_status
from celery_ranch.publishing.keys import current_key
from celery_ranch.ranch import Ranch
from celery_ranch.ranch.weights import LRUKeyMetadata
from celery_ranch.scheduling.explanation import Blocker, BlockerKind, EntryState, Explanation
from celery_ranch.scheduling.invariant import Violation, ViolationKind
from celery_ranch.scheduling.turns import Precision
from celery_ranch.task import LRUTask, configure, lru_task, submit

if TYPE_CHECKING:
    from celery_ranch.engines.embedded import embedded_urls

__all__ = [
    "BacklogFullError",
    "BatchTooLargeError",
    "Blocker",
    "BlockerKind",
    "ConfigurationError",
    "EntryState",
    "Explanation",
    "InvalidCostError",
    "InvalidDataError",
    "InvalidKeyError",
    "InvalidLevelError",
    "InvalidLimitError",
    "InvalidMoveError",
    "InvalidShareError",
    "InvalidTagError",
    "LRUKeyMetadata",
    "LRUTask",
    "Precision",
    "Ranch",
    "RanchError",
    "RanchWarning",
    "RoutingError",
    "SerializerType",
    "StoreError",
    "StoreUnavailableError",
    "UnknownEntryError",
    "Violation",
    "ViolationKind",
    "configure",
    "current_key",
    "embedded_urls",
    "get_status",
    "lru_task",
    "submit",
]


def __getattr__(name: str) -> Any:
    # The embedded server's module is for POSIX alone, and few need it.
    if name == "embedded_urls":
        from celery_ranch.engines.embedded import embedded_urls

        return embedded_urls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Fair scheduling for Celery: one tenant's flood no longer delays everybody else's task."""

from celery_ranch.config import SerializerType
from celery_ranch.errors import (
    BatchTooLargeError,
    ConfigurationError,
    InvalidKeyError,
    InvalidShareError,
    RanchError,
    RanchWarning,
    RoutingError,
    StoreError,
    StoreUnavailableError,
    UnknownEntryError,
)
from celery_ranch.ranch import Ranch
from celery_ranch.task import LRUTask, configure, lru_task

__all__ = [
    "BatchTooLargeError",
    "ConfigurationError",
    "InvalidKeyError",
    "InvalidShareError",
    "LRUTask",
    "Ranch",
    "RanchError",
    "RanchWarning",
    "RoutingError",
    "SerializerType",
    "StoreError",
    "StoreUnavailableError",
    "UnknownEntryError",
    "configure",
    "lru_task",
]

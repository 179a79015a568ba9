"""Where the guides import the times of service from, and what weight functions are told."""

from celery_ranch.observing.views import LastServedView
from celery_ranch.ranch.weights import LRUKeyMetadata

__all__ = ["LRUKeyMetadata"]

_lru_tracker = LastServedView()

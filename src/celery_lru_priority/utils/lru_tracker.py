"""The older name of `celery_ranch.utils.lru_tracker`."""

from celery_ranch.utils.lru_tracker import _lru_tracker as _lru_tracker

__all__: list[str] = []

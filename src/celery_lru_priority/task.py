"""The older name of `celery_ranch.task`."""

from celery_ranch.task import LRUTask, lru_task

__all__ = ["LRUTask", "lru_task"]

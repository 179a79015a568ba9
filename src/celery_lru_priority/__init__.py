"""The older name of `celery_ranch`; everything here forwards."""

from celery_ranch.task import LRUTask, configure, lru_task

__all__ = ["LRUTask", "configure", "lru_task"]

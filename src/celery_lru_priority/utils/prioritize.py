"""The older name of `celery_ranch.utils.prioritize`."""

from celery_ranch.utils.prioritize import _task_backlog as _task_backlog
from celery_ranch.utils.prioritize import configure

__all__ = ["configure"]

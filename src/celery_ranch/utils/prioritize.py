"""Where the guides import `configure`, the status and the backlog from."""

from celery_ranch.observing.views import BacklogView, get_status
from celery_ranch.task import configure

__all__ = ["configure", "get_status"]

_task_backlog = BacklogView()

"""Where the guides import `configure` and the backlog from."""

from celery_ranch.observing.views import BacklogView
from celery_ranch.task import configure

__all__ = ["configure"]

_task_backlog = BacklogView()

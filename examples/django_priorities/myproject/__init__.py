"""The project; `shared_task` finds its Celery application here."""

from .celery import app as celery_app

__all__ = ["celery_app"]

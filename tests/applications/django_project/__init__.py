"""A Django project whose settings, all of them in the CELERY namespace, a test made."""

from .celery import app as celery_app

__all__ = ("celery_app",)

"""The older name of `celery_ranch.utils`."""

"""The older name of `celery_ranch.utils.persistence`."""

from celery_ranch.utils.persistence import RedisStorage

__all__ = ["RedisStorage"]

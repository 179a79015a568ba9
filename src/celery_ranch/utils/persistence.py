"""Where the guides import `RedisStorage` from."""

from celery_ranch.engines.opening import RedisStorage

__all__ = ["RedisStorage"]

"""Where the guides import the times of service from."""

from celery_ranch.observing.views import LastServedView

__all__: list[str] = []

_lru_tracker = LastServedView()

"""Django's settings, and those of Celery and celery-ranch."""

from kombu import Exchange, Queue

SECRET_KEY = "an example's, not to be used"
INSTALLED_APPS = ["myapp"]
USE_TZ = True

# An environment variable CELERY_BROKER_URL goes before this.
CELERY_BROKER_URL = "redis://localhost:6379/0"
# With RabbitMQ as the broker, tasks with a key wait here.
CELERY_RESULT_BACKEND = "redis://localhost:6379/1"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

CELERY_TASK_QUEUES = (
    Queue(
        "notifications",
        Exchange("notifications"),
        routing_key="notifications.send",
        # For what goes through RabbitMQ without a key.
        queue_arguments={"x-max-priority": 10},
    ),
    Queue("high_priority"),
    Queue("medium_priority"),
    Queue("low_priority"),
)
CELERY_TASK_ROUTES = {
    "myapp.tasks.send_notification": {
        "queue": "notifications",
        "routing_key": "notifications.send",
    },
}

CELERY_RANCH = {
    "lru_key": "myapp.users:whose",
    # 0 goes first, beside every broker.
    "priority_order": "low-first",
    "queues": {
        "high_priority": {"default_priority": 0},
        "medium_priority": {"default_priority": 5},
        "low_priority": {"default_priority": 9},
    },
}

"""The Celery application: five queues, their priorities, and whose task each is."""

from celery import Celery
from kombu import Queue

from celery_ranch import configure, current_key
from infrastructure.environment import settings_from_environment

#: The default priority of each queue, from 1 (lowest) to 10 (highest).
PRIORITIES = {"default": 5, "email": 3, "reports": 5, "analytics": 2, "cleanup": 1}


def whose(task_name, args, kwargs):
    """Return who waits for a task whose call does not say so by `lru_key=`.

    That is the police station that the calling task runs for, if one calls,
    and the backend itself otherwise. So every task has a key, and with it a
    priority that counts.
    """
    return current_key() or "backend"


celery_app = Celery("afirgen", include=["infrastructure.tasks"])
celery_app.conf.update(
    broker_url="redis://localhost:6379/1",
    result_backend="redis://localhost:6379/2",
    task_time_limit=3600,
    task_soft_time_limit=3300,
    worker_prefetch_multiplier=4,
    worker_max_tasks_per_child=1000,
    worker_concurrency=4,
    broker_connection_retry_on_startup=True,
    # Where tasks wait: by the pattern of their names.
    task_queues=[Queue(name, routing_key=name) for name in PRIORITIES],
    task_default_queue="default",
    task_routes={
        f"afirgen_tasks.{name}.*": {"queue": name} for name in PRIORITIES if name != "default"
    },
    # What a task calls has its priority.
    task_inherit_parent_priority=True,
    # A task is done when it has ended, not when it begins; one that a
    # process died of begins anew.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    celery_ranch={
        "lru_key": whose,
        "priority_order": "high-first",
        "queues": {name: {"default_priority": level} for name, level in PRIORITIES.items()},
        # Nothing is taken ahead: what comes with a higher priority is next.
        "lookahead_seconds": 0,
    },
)
celery_app.conf.update(settings_from_environment())
configure(celery_app)

"""The Celery application, as Celery's own pages for Django have it, and one line more."""

import os

from celery import Celery
from celery.contrib.django.task import DjangoTask

from celery_ranch import LRUTask, configure

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_project.settings")

app = Celery("django_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
configure(app)


class TenantTask(LRUTask, DjangoTask):
    """What to give as base or `task_cls` for `lru_delay` and `delay_on_commit` alike."""

    abstract = True

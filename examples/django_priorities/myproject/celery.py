"""The Celery application, as Celery's pages for Django have it, and two lines more."""

import os

from celery import Celery

from celery_ranch import configure

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "myproject.settings")

app = Celery("myproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
configure(app)

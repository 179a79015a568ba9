"""Operating on workers that listen so long that only what they are told ends it in a test."""

from operating_app import app as app

from celery_ranch.worker import step

step._LONGEST_WAIT_SECONDS = 300.0

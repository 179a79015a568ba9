"""Django's settings; those of Celery and celery-ranch come from FAIR_APP."""

import json
import os

given = json.loads(os.environ["FAIR_APP"])

SECRET_KEY = given["name"]
DEBUG = True
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = ["django_project"]
MIDDLEWARE = []
ROOT_URLCONF = "django_project.urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.sqlite3"}}

for name, value in given["celery"].items():
    globals()[f"CELERY_{name.upper()}"] = value

CELERY_RANCH = {**given["ranch"], "lru_key": "django_project.tenants:whose"}

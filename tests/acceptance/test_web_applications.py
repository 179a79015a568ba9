"""Applications of Django, Flask and FastAPI are fair as the pages about them say."""

import json
import re
import shlex
import signal
import textwrap
import urllib.request
from contextlib import contextmanager

import pytest

from tests.acceptance.pages import ROOT, Reader, blocks
from tests.servers import eventually, free_port

HOW_TO = ROOT / "docs" / "how-to"

#: Asks this computer itself, whatever proxy it has for others.
NEAR = urllib.request.build_opener(urllib.request.ProxyHandler({}))

pytestmark = pytest.mark.timeout(120)


def page(name):
    return blocks((HOW_TO / f"use-it-in-{name}.md").read_text(encoding="utf-8"))


def code(found, text):
    """Return the one block of a page in which a text stands."""
    (block,) = [block.code for block in found if text in block.code]
    return block


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


@pytest.fixture
def at(own_redis):
    """Put a real Redis in the place of the pages'."""
    url = f"redis://127.0.0.1:{own_redis.port}"
    return lambda text: text.replace("redis://localhost:6379", url)


def ask(address, method="GET", **headers):
    """Return what a server answers, as JSON."""
    request = urllib.request.Request(address, method=method, headers=headers)
    with NEAR.open(request, timeout=30) as reply:
        return json.load(reply)


def asked_as(command, port):
    """Do what a `curl` of a page does, on another port."""
    words = shlex.split(command)
    assert words[:3] == ["curl", "-X", "POST"]
    name, value = words[words.index("-H") + 1].split(": ")
    return ask(re.sub(r":\d+/", f":{port}/", words[-1]), "POST", **{name: value})


def result_of(port, task):
    """Return what a task returned, by the application's own page."""
    address = f"http://localhost:{port}/tasks/{task}"
    done = eventually(
        lambda: (told := ask(address))["state"] == "SUCCESS" and told, 30, "the task has run"
    )
    return done["result"]


@contextmanager
def fair_requests(reader, found, port, ready):
    """Run a page's worker and server; each request's tasks have to run for its tenant."""
    worker, serve, request = [b.code.strip() for b in found if b.language == "bash"]
    serve = serve.replace("--port 8000", f"--port {port}")
    with reader.running(worker) as log, reader.running(serve, ready, -signal.SIGTERM):
        asked = asked_as(request, port)
        other = ask(f"http://localhost:{port}/reports/43", "POST", **{"X-Tenant": "globex"})
        assert result_of(port, asked["task"]) == "report 42 for acme"
        assert result_of(port, other["task"]) == "report 43 for globex"
        eventually(
            lambda: (
                {"report 42 is ready: acme", "report 43 is ready: globex"}
                <= {line.rpartition("] ")[2] for line in log.read_text().splitlines()}
            ),
            30,
            "what the tasks call has run for the tenants too",
        )
        yield


def test_in_flask_the_tasks_of_a_request_run_for_its_tenant(reader, at):
    found = page("flask")
    reader.write("shop.py", at(found[0].code))
    port = free_port()
    reader.environment["FLASK_RUN_PORT"] = str(port)

    with fair_requests(reader, found, port, "Running on"):
        unkeyed = ask(f"http://localhost:{port}/reports/44", "POST")
        assert result_of(port, unkeyed["task"]) == "report 44 for None"

    told = reader.run_python("from shop import *\n", code(found, 'lru_key="acme"'), LOOK)
    assert told == "[('acme', 1)]\n"


def test_in_fastapi_the_tasks_of_a_request_run_for_its_tenant(reader, at):
    found = page("fastapi")
    reader.write("shop.py", at(found[0].code), code(found, "run_in_threadpool"))
    port = free_port()

    with fair_requests(reader, found, port, "Uvicorn running on"):
        urgent = ask(f"http://localhost:{port}/urgent/7", "POST", **{"X-Tenant": "initech"})
        assert result_of(port, urgent["task"]) == "report 7 for initech"
        unkeyed = ask(f"http://localhost:{port}/reports/44", "POST")
        assert result_of(port, unkeyed["task"]) == "report 44 for None"

    told = reader.run_python("from shop import *\n", code(found, 'lru_key="acme"'), LOOK)
    assert told == "[('acme', 1)]\n"


LOOK = """\
from celery_ranch import Ranch
print(sorted((key.key[0], key.waiting) for key in Ranch(celery_app).keys() if key.waiting))
"""

REST_OF_SETTINGS = """\
SECRET_KEY = "of the reader"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["reports"]
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""

URLS = """\
from django.urls import path
from reports.views import create_report

urlpatterns = [path("reports/<int:report_id>", create_report)]
"""

ASK = """\
from shop import celery_app
import django
django.setup()
from django.db import transaction
from django.test import Client
from reports.tasks import render
from reports.tasks import archive
from shop.tenants import tenant

for number, who in ((42, "acme"), (43, "globex")):
    assert Client().post(f"/reports/{number}", headers={"X-Tenant": who}).status_code == 202
tenant.set("initech")
with transaction.atomic():
"""


def test_in_django_the_tasks_of_a_request_run_for_its_tenant(reader, at):
    found = page("django")
    for folder in ("shop", "reports"):
        (reader.folder / folder).mkdir()
        reader.write(f"{folder}/__init__.py", "")
    parts = {}
    for block in found:
        names = re.findall(r"`((?:shop|reports)/\w+\.py)`", block.paragraph)
        if block.language == "python" and names:
            parts[names[0]] = at(block.code)
    parts["shop/settings.py"] += code(found, "MIDDLEWARE") + REST_OF_SETTINGS
    own_base, call = code(found, "class TenantTask").split("archive.lru_delay")
    parts["reports/tasks.py"] += own_base
    for name, text in {**parts, "shop/urls.py": URLS}.items():
        reader.write(name, text)

    on_commit = textwrap.indent(code(found, "delay_on_commit(42)"), "    ")
    told = reader.run_python(ASK, on_commit, "archive.lru_delay" + call, LOOK)
    assert told == "[('acme', 3), ('globex', 1), ('initech', 1)]\n"

    (worker,) = [block.code.strip() for block in found if block.language == "bash"]
    with reader.running(worker) as log:
        eventually(lambda: log.read_text().count(" succeeded in ") == 5, 30, "all have run")
        told = re.findall(r"'report (\d+) for (\w+)'", log.read_text())
    assert sorted(told) == [("42", "acme")] * 2 + [("42", "initech"), ("43", "globex")]

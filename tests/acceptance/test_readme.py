"""What the README shows works as it is written, with a real Redis for the one on localhost."""

import re
from importlib import metadata

import pytest

from tests.acceptance.pages import ROOT, Reader, blocks

PAGE = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
COMMANDS = [line for block in PAGE if block.language == "bash" for line in block.code.splitlines()]
(WORKER,) = [command for command in COMMANDS if command.startswith("celery ")]

USE, CONFIGURE = [block.code for block in PAGE if block.language == "python"]
APPLICATION, CALLS = USE.split("render.lru_delay(", 1)
CALLS = f"render.lru_delay({CALLS}"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def url(own_redis):
    return f"redis://127.0.0.1:{own_redis.port}"


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


def test_every_make_target_and_every_extra_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = metadata.metadata("celery-ranch").get_all("Provides-Extra")
    for command in COMMANDS:
        if command.startswith("make "):
            assert command.removeprefix("make ") in targets
        elif command.startswith("pip install "):
            assert re.fullmatch(r"pip install celery-ranch\[(\w+)\]", command)[1] in extras
        else:
            assert command == WORKER


def test_the_change_that_the_first_screen_shows_leads_to_what_is_used_below():
    (change,) = [block.code for block in PAGE if block.language == "diff"]
    added = [line[1:] for line in change.splitlines() if line.startswith("+") and line[1:]]
    assert added[:2] == ["from celery_ranch import lru_task", "@lru_task(app)"]
    assert all(line in USE for line in added)


def test_the_calls_run_in_the_worker(reader, url):
    reader.write("tasks.py", APPLICATION.replace("redis://localhost:6379", url))
    kept = [f"results.append({line.split('  # ')[0].strip()})" for line in CALLS.splitlines()]

    with reader.running(WORKER):
        told = reader.run_python(
            "from tasks import app, render\n",
            "from celery_ranch import Ranch\n",
            "results = []\n",
            *kept,
            "print(results[0].get(timeout=30), results[2].get(timeout=30))\n",
            "print([status.delayed for status in Ranch(app).status()])\n",
        )

    assert len(kept) == 3
    assert told == "report 42 report 42\n[1]\n"


EXISTING = """\
from celery import Celery, Task, shared_task

app = Celery("tasks", broker="redis://localhost:6379/0", backend="redis://localhost:6379/1")

class OwnBase(Task):
    abstract = True

@app.task
def plain(tenant=None):
    return "plain"

@shared_task
def shared(tenant=None):
    return "shared"

@app.task(base=OwnBase)
def based(tenant=None):
    return "based"
"""

CALL_EXISTING = """\
from tasks import app, based, plain, shared
from celery_ranch import Ranch

results = [
    plain.delay(tenant="acme"),
    shared.delay(tenant="globex"),
    based.delay(tenant="initech"),
    app.send_task("tasks.plain", kwargs={"tenant": "umbrella"}),
    app.signature("tasks.based", kwargs={"tenant": "hooli"}).apply_async(),
]
print(sorted(key.key[0] for key in Ranch(app).keys()))
nobodys = plain.delay()
print(sum(key.waiting for key in Ranch(app).keys()))
"""

GET_ALL = "print([result.get(timeout=30) for result in [*results, nobodys]])\n"


def test_two_lines_make_an_existing_application_fair_whatever_its_tasks(reader, url):
    reader.write("tasks.py", EXISTING.replace("redis://localhost:6379", url), CONFIGURE)
    reader.write("submit.py", CALL_EXISTING)
    told = reader.run("python submit.py")
    assert told == "['acme', 'globex', 'hooli', 'initech', 'umbrella']\n5\n"

    with reader.running(WORKER):
        told = reader.run_python(CALL_EXISTING, GET_ALL)

    assert told.splitlines()[-1] == str(["plain", "shared", "based", "plain", "based", "plain"])

"""Every block of the how-to pages and of the reference works as it is written.

What stands in for the reader's own: the application, its tasks, and what the calls are
about. Each page has a Redis database of its own.
"""

import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest

from tests.acceptance.pages import ROOT, Reader, blocks
from tests.servers import RedisServer

DOCS = ROOT / "docs"

#: Pages that tests of their own follow, with workers and whatever else they speak of.
ELSEWHERE = {
    "how-to/be-alerted.md": "acceptance/test_metrics.py",
    "how-to/come-from-numeric-priorities.md": "acceptance/test_moving_pages.py",
    "how-to/come-from-queues-per-tenant.md": "acceptance/test_moving_pages.py",
    "how-to/drain-and-upgrade.md": "acceptance/test_operating_pages.py",
    "how-to/use-it-in-django.md": "acceptance/test_web_applications.py",
    "how-to/use-it-in-fastapi.md": "acceptance/test_web_applications.py",
    "how-to/use-it-in-flask.md": "acceptance/test_web_applications.py",
    "tutorial/two-tenants.md": "acceptance/test_tutorial.py",
}
PAGES = {
    str(path.relative_to(DOCS)): blocks(path.read_text(encoding="utf-8"))
    for path in sorted(DOCS.glob("*/*.md"))
    if str(path.relative_to(DOCS)) not in ELSEWHERE
}
PYTHON = [page for page, found in PAGES.items() if any(b.language == "python" for b in found)]

SCENE = """\
from types import SimpleNamespace
from celery import Celery, shared_task
from celery_ranch import Ranch, configure, lru_task, submit

app = Celery("shop", broker=URL, backend=URL)
report_ids = [1, 2, 3]
reports = [SimpleNamespace(id=1, tenant="acme"), SimpleNamespace(id=2, tenant="globex")]
user_id, document_id = 7, 8

@lru_task(app)
def render(report_id): ...
@lru_task(app)
def resize(image_id, size): ...
@app.task
def notify(): ...
@app.task
def embed(document_id): ...
@app.task
def send_otp(user_id): ...
@app.task
def weekly_report(user_id): ...

scene_app, ranch = app, Ranch(app)
def keys(): return {key.key: key for key in Ranch(scene_app).keys()}
"""

#: Waits for what a weight function makes of a key.
WEIGHED = """
import time
until = time.monotonic() + 30
while keys()["acme",].share != 16:
    assert time.monotonic() < until, keys()["acme",]
    time.sleep(0.05)
assert keys()["acme",].waiting == 2
assert keys()["acme",].tags == ("plan=trial",)
assert convert.get_client_metadata("acme")["weight"] == 1 / 16
"""

#: What a page takes for granted beyond the scene.
BEFORE = {
    "how-to/steer-at-night.md": """
from kombu import Queue
app.conf.task_queues = [Queue("celery"), Queue("overnight")]
for report_id in report_ids:
    render.lru_delay("acme", report_id)
TASK_ID = render.lru_delay("globex", 4).id
""",
}

#: What is so when all blocks of a page have run, beyond that none of them failed.
THEN = {
    "how-to/charge-by-seconds.md": "assert keys()['acme',].waiting == 1",
    "how-to/come-from-0-1-1.md": "assert not [*client.scan_iter('ranch:*')]",
    "how-to/give-paying-customers-more.md": """
shares = {key[0]: each.share for key, each in keys().items()}
assert shares == {"acme": 4, "free-tier": 0.5}, shares
render.lru_delay("bolt", 42)
assert keys()["bolt",].share == 2
""",
    "how-to/nest-keys.md": """
assert keys()["acme", "alice"].share == 2
assert keys()["acme", "bob"].is_paused
assert keys()["acme", "bob", "import-7"].waiting == 1
""",
    "reference/keys-on-a-task.md": WEIGHED,
    "how-to/set-priorities.md": "assert keys()['acme',].waiting == 2",
    "how-to/steer-at-night.md": """
assert {key: each.waiting for key, each in keys().items() if each.waiting} == {("bolt",): 1}
(moved,) = [key for key in ranch.keys("overnight") if key.waiting]
assert (moved.key, moved.waiting) == (("acme", "backfill"), 3)
""",
    "how-to/submit-thousands-at-once.md": """
assert keys()["acme",].waiting == 3 + 1
assert keys()["acme",].delayed == 2
assert keys()["globex",].waiting == 1
assert len(results) == 2
""",
}

RUN = """
from celery_ranch.config import read_settings
space = {}
for number, code in enumerate(CODES):
    exec(compile(code, f"{PAGE}, block {number}", "exec"), space)
    read_settings(space["app"])
"""


@pytest.fixture(scope="module")
def pages_redis():
    """A Redis with a database for each page."""
    with RedisServer(settings={"databases": str(len(PYTHON))}) as server:
        yield server


@pytest.mark.parametrize("page", PYTHON)
def test_every_python_block_of_a_page_runs_after_those_before_it(page, short_path, pages_redis):
    reader = Reader(short_path)
    (short_path / "shop").mkdir()
    reader.write("shop/__init__.py")
    reader.write("shop/tenants.py", "def whose(task_name, args, kwargs): return 'acme'\n")
    url = f"redis://127.0.0.1:{pages_redis.port}/{PYTHON.index(page)}"
    with pages_redis.client() as client:
        client.select(PYTHON.index(page))
        client.set("ranch:task:1", "what 0.1.1 left")
    codes = [
        block.code.replace("redis://localhost:6379/0", url)
        for block in PAGES[page]
        if block.language == "python"
    ]
    scene = f"URL = {url!r}\n{SCENE}{BEFORE.get(page, '')}"
    reader.run_python(f"PAGE, CODES = {page!r}, {[scene, *codes, THEN.get(page, '')]!r}", RUN)


#: Pages whose commands run in tests of their own, though their Python runs here.
COMMANDS_ELSEWHERE = {
    "how-to/come-from-0-1-1.md": "acceptance/test_guides.py",
    "how-to/deploy-with-systemd.md": "acceptance/test_operating_pages.py",
    "how-to/steer-at-night.md": "integration/test_steering_pages.py",
    "how-to/watch-in-the-browser.md": "acceptance/test_dashboard_page.py",
    "reference/commands.md": "integration/test_steering_pages.py",
}
COMMANDS = {
    page: [line for b in found if b.language == "bash" for line in b.code.splitlines()]
    for page, found in PAGES.items()
    if page not in COMMANDS_ELSEWHERE and any(b.language == "bash" for b in found)
}


@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands_of_a_page_that_take_too_long_to_run_here_are_those_there_are(page):
    for line in COMMANDS[page]:
        assert_there_is(line)


def assert_there_is(line):
    """Fail unless what a command line of this repository names is there."""
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] in targets
    elif program == "pip":
        extra = re.fullmatch(r"celery-ranch\[(\w+)\]", words[-1])[1]
        assert extra in metadata.metadata("celery-ranch").get_all("Provides-Extra")
    elif program == ".venv/bin/nox":
        assert words[0] == "--session"
    else:
        assert program == ".venv/bin/python"
        is_module = words[0] == "-m"
        script = Path("src", *words[1].split("."), "__main__.py") if is_module else Path(words[0])
        text = (ROOT / script).read_text(encoding="utf-8")
        assert [word for word in words if word[:2] == "--" and f'"{word}"' not in text] == []


def test_every_page_with_code_is_followed_by_a_test_that_there_is():
    for test in {*ELSEWHERE.values(), *COMMANDS_ELSEWHERE.values()}:
        assert (ROOT / "tests" / test).exists(), test
    languages = {block.language for found in PAGES.values() for block in found}
    # The others show what is read, not run.
    assert languages - {"", "diff", "ini", "nginx", "text"} == {"bash", "python"}

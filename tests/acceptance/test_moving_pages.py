"""Who comes from one queue per tenant, or from numeric priorities, finds what the pages say."""

import pytest

from tests.acceptance.pages import ROOT, Reader, await_printed, blocks

HOW_TO = ROOT / "docs" / "how-to"

pytestmark = pytest.mark.timeout(120)


def page(name):
    return blocks((HOW_TO / f"come-from-{name}.md").read_text(encoding="utf-8"))


def of(found, language):
    return [block.code for block in found if block.language == language]


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


@pytest.fixture
def at(own_redis):
    """Put a real Redis in the place of the pages'."""
    url = f"redis://127.0.0.1:{own_redis.port}"
    return lambda text: text.replace("redis://localhost:6379", url)


AS_BEFORE = """\
from celery import Celery

app = Celery("shop", broker="redis://localhost:6379/0")
for report_id, tenant in ((1, "acme"), (2, "acme"), (3, "globex")):
    app.send_task("shop.render", (report_id,), {"tenant": tenant}, queue=f"tenant-{tenant}")
"""

AS_NOW = """\
from celery_ranch import Ranch
from shop import app, render

for report_id in (4, 5, 6):
    render.delay(report_id, tenant="acme")
render.delay(7, tenant="globex")
render.apply_async((8, "acme"), lru_key="acme", queue="tenant-acme")

ranch = Ranch(app)
ranch.set_share("acme", 4)
ranch.set_limits("acme", concurrency=2)
ranch.pause("acme")
print([(key.key, key.waiting, key.is_paused) for key in sorted(ranch.keys(), key=str)])
ranch.resume("acme")
"""


def test_what_waits_in_tenants_queues_is_run_beside_what_has_a_key(reader, at):
    found = page("queues-per-tenant")
    (application,), (command,) = of(found, "python"), of(found, "bash")
    reader.run_python(at(AS_BEFORE))
    reader.write("shop.py", at(application))
    told = reader.run_python(AS_NOW)
    assert told == "[(('acme',), 3, True), (('globex',), 1, False)]\n"

    with reader.running(command) as log:
        ran = await_printed(log, 8)
    tenants = {4: "acme", 5: "acme", 6: "acme", 7: "globex", 8: "acme"}
    tenants |= {1: "acme", 2: "acme", 3: "globex"}
    assert sorted(ran) == sorted(f"{tenant} report {n}" for n, tenant in tenants.items())

    before, after = of(found, "diff")[0].splitlines()
    assert after[1:].replace("lru_key=tenant", 'queue=f"tenant-{tenant}"') == before[1:]


REFUSED = """\
from celery_ranch import InvalidLevelError
from shop import render

try:
    render.apply_async((5,), priority=11)
except InvalidLevelError as error:
    print(error)
render.delay(6)
"""


def test_numeric_priorities_are_served_in_the_order_that_the_page_shows(reader, at):
    found = page("numeric-priorities")
    application, calls = of(found, "python")
    (command,), (expected,) = of(found, "bash"), of(found, "text")
    reader.write("shop.py", at(application))
    told = reader.run_python("from shop import render\n", calls, REFUSED)
    assert told.startswith("11 is not a priority; allowed: ")
    by_default = "app.conf.task_default_priority = 9\n\n\n@app.task"
    reader.write("shop.py", at(application).replace("@app.task", by_default))
    reader.run_python("from shop import render\n", "render.delay(7)")

    with reader.running(command) as log:
        ran = await_printed(log, 6)
    # Without a priority a call is the first; Celery's own default makes it one of the last.
    assert ran[0] == "None report 6"
    assert ran.index("None report 7") > ran.index("globex report 4")
    assert [each for each in ran if not each.startswith("None ")] == expected.splitlines()

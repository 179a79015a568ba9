"""examples/django_priorities does what its README says, beside Redis and beside RabbitMQ."""

import shutil

import pytest

from tests.acceptance.pages import ROOT, Reader, await_printed, blocks, exported, lines

EXAMPLE = ROOT / "examples" / "django_priorities"
PAGE = blocks((EXAMPLE / "README.md").read_text(encoding="utf-8"))

EXPORT = lines(PAGE, "With RabbitMQ")
NUMBERS, QUEUES = "By numbers", "By queues"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request):
    return request.param


@pytest.fixture
def reader(tmp_path, own_redis):
    """A reader in a copy of the example, whose broker and result backend are a Redis."""
    folder = tmp_path / "django_priorities"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    url = f"redis://127.0.0.1:{own_redis.port}"
    urls = {"CELERY_BROKER_URL": f"{url}/0", "CELERY_RESULT_BACKEND": f"{url}/1"}
    return Reader(folder, DJANGO_SETTINGS_MODULE="myproject.settings", **urls)


@pytest.fixture
def reader_beside(reader, broker, request):
    """The same, or with the broker that the page exports."""
    if broker == "rabbitmq":
        here = request.getfixturevalue("rabbitmq_url").rpartition("@")[2].partition("/")[0]
        (export,) = EXPORT
        reader.environment |= exported(export.replace("localhost:5672", here))
    return reader


#: Nobody's, by an application that celery-ranch does not know of.
PLAIN = """\
from celery import Celery
plain = Celery("plain", set_as_current=False)
plain.config_from_object("django.conf:settings", namespace="CELERY")
for number in (5, 9, 0):
    plain.send_task("myapp.tasks.send_notification", (number, "plain"), priority=number)
"""


def test_the_smallest_number_goes_first_beside_both_brokers_and_with_plain_celery_on_redis_alone(
    reader_beside, broker
):
    calls, worker = lines(PAGE, NUMBERS)
    reader_beside.run_python(PLAIN)
    reader_beside.run(calls)
    expected = lines(PAGE, NUMBERS, "text")

    with reader_beside.running(worker) as log:
        told = await_printed(log, len(expected) + 3)

    assert [line for line in told if not line.endswith(" plain")] == expected
    plain = [f"To user {number}: plain" for number in (0, 5, 9)]
    if broker == "rabbitmq":
        plain.reverse()
    assert [line for line in told if line.endswith(" plain")] == plain


def test_one_worker_serves_the_queues_for_high_medium_and_low_priority_in_this_order(
    reader_beside,
):
    calls, worker = lines(PAGE, QUEUES)
    reader_beside.run(calls)
    expected = lines(PAGE, QUEUES, "text")

    with reader_beside.running(worker) as log:
        assert await_printed(log, len(expected)) == expected


WAITING = """\
from celery_ranch import Ranch
print({status.queue: status.waiting for status in Ranch().status()})
"""


def test_the_calls_that_the_page_shows_wait_in_their_queues(reader):
    shown = [line for heading in (NUMBERS, QUEUES) for line in lines(PAGE, heading, "python")]
    told = reader.run_python(
        "import django\ndjango.setup()\nfrom myapp.tasks import *\n", *shown, WAITING
    )
    assert told == (
        "{'high_priority': 1, 'low_priority': 1, 'medium_priority': 1, 'notifications': 2}\n"
    )


def test_the_settings_that_the_page_shows_are_the_project_s():
    (shown,) = [block.code for block in PAGE if block.code.startswith("CELERY_RANCH = ")]
    assert shown in (EXAMPLE / "myproject" / "settings.py").read_text()


def test_every_command_of_the_page_is_run_here():
    commands = [line for b in PAGE if b.language == "bash" for line in b.code.splitlines()]
    run = [*lines(PAGE, NUMBERS), *lines(PAGE, QUEUES)]
    assert commands == ['pip install "celery-ranch[redis]" django', *run, *EXPORT]

"""examples/backend_queues does what its README says, with a real Redis for the one on localhost."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.pages import ROOT, Reader, await_printed, blocks, exported, lines, printed
from tests.servers import eventually

EXAMPLE = ROOT / "examples" / "backend_queues"
PAGE = blocks((EXAMPLE / "README.md").read_text(encoding="utf-8"))

pytestmark = pytest.mark.timeout(240)


INSTALL, SUBMIT, ONE_AT_A_TIME, WORKER = lines(PAGE, "Run it")
OF_ONE_QUEUE, SCALING = lines(PAGE, "Workers")
*EXPORTS, REFUSED = lines(PAGE, "Settings from the environment")
INSPECTIONS = lines(PAGE, "Look")
STATUS = "\n".join(lines(PAGE, "Look", "python"))

#: A task that its process dies of the first time, as one of the example's.
LOSING = """\
import os, pathlib, signal
from infrastructure.celery_app import celery_app

@celery_app.task(name="afirgen_tasks.cleanup.lose", bind=True)
def lose(self):
    mark = pathlib.Path("lost")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"cleanup: ran again with {self.request.delivery_info['priority']}")
"""


@pytest.fixture
def reader(tmp_path, own_redis):
    """A reader in a copy of the example, whose broker and result backend are a Redis."""
    folder = tmp_path / "backend_queues"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    url = f"redis://127.0.0.1:{own_redis.port}"
    urls = {"CELERY_BROKER_URL": f"{url}/1", "CELERY_RESULT_BACKEND": f"{url}/2"}
    return Reader(folder, **urls, **exported(ONE_AT_A_TIME))


def answer(reader, command):
    """Return what a worker answers to a command.

    Nobody hears what is said just before a worker's subscription to Redis holds.
    """

    def told():
        try:
            return reader.run(command)
        except AssertionError as error:
            if "No nodes replied" not in str(error):
                raise

    return eventually(told, 30, f"there is an answer to {command}")


def test_what_the_page_shows_of_the_settings_is_in_them(reader):
    (block,) = [b for b in PAGE if b.code.startswith("celery_ranch = ")]
    shown = {}
    exec(block.code, shown)
    told = reader.run_python(
        "from infrastructure.celery_app import PRIORITIES, celery_app\n",
        "print(PRIORITIES, celery_app.conf.celery_ranch['priority_order'], sep='|')\n",
    )
    table = [row for row in (EXAMPLE / "README.md").read_text().splitlines() if row[:3] == "| `"]
    priorities = {
        name.strip(" `"): int(priority) for _, name, priority, *_ in (r.split("|") for r in table)
    }

    assert told == f"{priorities}|{shown['celery_ranch']['priority_order']}\n"
    for name, of_queue in shown["celery_ranch"]["queues"].items():
        assert of_queue == {"default_priority": priorities[name]}
    assert INSTALL == 'pip install "celery-ranch[redis]"'


def test_one_worker_runs_all_queues_by_default_overridden_and_inherited_priorities(reader):
    reader.run(SUBMIT)
    waiting = reader.run_python(STATUS)
    assert waiting == "analytics 2\ncleanup 1\ndefault 1\nemail 3\nreports 2\n"

    reader.write("losing.py", LOSING)
    reader.environment |= {"CELERY_IMPORTS": "losing", "CELERY_WORKER_LOST_WAIT": "0.5"}
    with reader.running(WORKER) as log:
        expected = lines(PAGE, "Run it", "text")
        assert await_printed(log, len(expected)) == expected

        reader.run_python("from losing import lose\nlose.delay()\n")
        again = await_printed(log, len(expected) + 1)

        with ThreadPoolExecutor() as people:
            told = list(people.map(lambda each: answer(reader, each), INSPECTIONS))

    active, registered, stats, queues = told
    assert "- empty -" in active
    assert "afirgen_tasks.reports.generate_pdf" in registered
    assert '"max-concurrency": 1' in stats
    assert all(f"'name': '{name}'" in queues for name in waiting.split()[::2])
    assert again[len(expected) :] == ["cleanup: ran again with 1"]
    assert reader.run_python(STATUS) == waiting.translate(str.maketrans("123", "000"))


def test_a_worker_of_one_queue_leaves_the_others_alone_and_one_that_scales_takes_the_rest(reader):
    del reader.environment["CELERY_WORKER_CONCURRENCY"]
    reader.run(SUBMIT)
    with reader.running(OF_ONE_QUEUE) as log:
        await_printed(log, 3)
    emails = [f"email: FIR-{number} confirmed" for number in (3, 4, 5)]
    assert sorted(printed(log)) == emails

    with reader.running(SCALING) as log:
        rest = await_printed(log, 8)
    assert "concurrency: {min=2, max=8} (prefork)" in log.read_text()
    assert sorted([*rest, *emails]) == sorted(lines(PAGE, "Run it", "text"))


READ = """\
from celery import Celery
from infrastructure.celery_app import celery_app
names = {names}
print([celery_app.conf[name] for name in names])
print(Celery(set_as_current=False).conf.task_time_limit)
"""


def test_the_variables_become_settings_which_celery_by_itself_does_not_read(reader):
    given = exported(*EXPORTS)
    reader.environment |= given
    names = [name.removeprefix("CELERY_").lower() for name in given]

    told = reader.run_python(READ.format(names=names))

    expected = [int(value) if value.isdigit() else value for value in given.values()]
    assert told == f"{expected}\nNone\n".replace("3600,", "3600.0,").replace("3300,", "3300.0,")


def test_a_variable_that_cannot_be_read_is_refused_before_anything_starts(reader):
    setting, command = REFUSED.split(" ", 1)
    reader.environment |= exported(setting)

    with pytest.raises(AssertionError) as refused:
        reader.run(command)

    (expected,) = lines(PAGE, "Settings from the environment", "text")
    assert expected in str(refused.value)

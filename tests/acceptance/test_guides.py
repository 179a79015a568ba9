"""Every block of both usage guides does what the guides say, as it is written.

`guides/` holds the blocks. What stands in for the reader's own: a real Redis
for the one on localhost, something that defines `result` and
`data_to_process`, and code in place of the comment "Custom behavior".
"""

import importlib
import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest

from tests.acceptance.pages import ROOT, Block, Reader, blocks

GUIDES = {
    path.stem: blocks(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "guides").glob("*.md"))
}
ORIGINALS = {
    "celery_lru_priority": "000_438a1ec0959fe346.txt",
    "celery_ranch": "001_b24bf843cda2bdb5.txt",
}

CREATING = "Creating LRU-aware Tasks"
SUBMITTING = "Submitting Tasks with LRU Prioritization"
REDIS = "Using Redis for Persistent Storage"
COMPREHENSIVE = "Comprehensive Configuration"
CUSTOM_BASE = "Custom Task Base Class"
WORKERS = "Worker Configuration"
MONITORING = "Monitoring"
COVERAGE = "Code Coverage and Quality"
TESTED = {
    *("Installation", CREATING, SUBMITTING, REDIS, COMPREHENSIVE, CUSTOM_BASE),
    *(WORKERS, MONITORING, COVERAGE),
}

RESULT = 'result = "what it made of it"\n'
DATA = 'from myapp import *\ndata_to_process = {"rows": [1, 2]}\n'
GET = "print(result.get(timeout=30))\n"

every_guide = pytest.mark.parametrize("guide", GUIDES)

pytestmark = pytest.mark.timeout(120)


def code(guide: str, heading: str, language: str = "python") -> str:
    """Return the only block of that language under a heading of a guide."""
    (block,) = [b for b in GUIDES[guide] if (b.heading, b.language) == (heading, language)]
    return block.code


def worker_commands(guide: str) -> list[str]:
    found = [b.code for b in GUIDES[guide] if (b.heading, b.language) == (WORKERS, "bash")]
    return [line for text in found for line in text.splitlines()]


EVERY_WORKER = [(guide, command) for guide in GUIDES for command in worker_commands(guide)]


def at(url: str, text: str) -> str:
    """Return a block with a real Redis in place of the guides'."""
    return text.replace("redis://localhost:6379/0", url)


@pytest.fixture
def reader(tmp_path, own_redis):
    """A reader whose applications find a broker and a result backend, both in Redis."""
    url = f"redis://127.0.0.1:{own_redis.port}"
    return Reader(tmp_path, CELERY_BROKER_URL=f"{url}/1", CELERY_RESULT_BACKEND=f"{url}/2")


@pytest.fixture
def lonely_reader(tmp_path):
    """A reader whose broker is the memory of one process."""
    return Reader(tmp_path, CELERY_BROKER_URL="memory://", CELERY_RESULT_BACKEND="cache+memory://")


# -- the blocks themselves ----------------------------------------------------


@every_guide
def test_every_block_stands_under_a_heading_that_is_tested_here(guide):
    assert {block.heading for block in GUIDES[guide]} <= TESTED


@every_guide
def test_the_blocks_here_are_those_of_the_guide(guide):
    original = ROOT.parent / "shared" / "seeds" / ORIGINALS[guide]
    if not original.exists():
        pytest.skip("the guide itself is not beside this checkout")

    def written(found: tuple[Block, ...]) -> list[tuple[str, str]]:
        return [(block.language, block.code) for block in found]

    assert written(GUIDES[guide]) == written(blocks(original.read_text(encoding="utf-8")))


# -- installation -------------------------------------------------------------


@every_guide
def test_what_the_guide_installs_is_what_there_is(guide):
    commands = [b.code.split() for b in GUIDES[guide] if b.heading == "Installation"]
    # The older name is one of the packages that celery-ranch brings.
    provided = {"celery-ranch", "celery-lru-priority"}
    for _, verb, requirement in commands:
        name, _, extra = requirement.rstrip("]").partition("[")
        assert verb == "install"
        assert name in provided
        assert not extra or extra in metadata.metadata("celery-ranch").get_all("Provides-Extra")
    assert importlib.import_module(guide).lru_task


# -- basic usage --------------------------------------------------------------


@every_guide
def test_with_nothing_configured_a_call_waits_in_this_process_and_says_so(guide, tmp_path):
    reader = Reader(tmp_path)
    reader.write("myapp.py", RESULT, code(guide, CREATING))

    told = reader.run_python(
        DATA,
        code(guide, SUBMITTING),
        "from celery_ranch import Ranch\n",
        "print([status.waiting for status in Ranch(app).status()])\n",
    )

    assert "RanchWarning: celery-ranch keeps entries in this process's memory" in told
    assert told.endswith("[1]\n")


@every_guide
def test_without_a_store_a_worker_in_this_process_runs_it(guide, lonely_reader):
    lonely_reader.write("myapp.py", RESULT, code(guide, CREATING))

    told = lonely_reader.run_python(
        DATA,
        code(guide, SUBMITTING),
        "from celery.contrib.testing.worker import start_worker\n",
        "with start_worker(app, pool='solo', perform_ping_check=False):\n",
        "    print(result.get(timeout=30, disable_sync_subtasks=False))\n",
    )

    assert told.endswith("what it made of it\n")


@every_guide
def test_the_commented_way_sends_the_task_as_celery_does(guide, reader):
    ordinary = code(guide, SUBMITTING).replace("# result = ", "result = ").splitlines()[1]
    reader.write("myapp.py", RESULT, code(guide, CREATING))

    with reader.running("celery -A myapp worker -l info --pool=solo"):
        assert reader.run_python(DATA, ordinary, GET).endswith("what it made of it\n")


# -- Redis --------------------------------------------------------------------


@pytest.mark.parametrize("guide, command", EVERY_WORKER)
def test_a_worker_as_it_is_written_runs_what_another_process_submitted(
    guide, command, reader, own_redis
):
    reader.write("myapp.py", RESULT, at(own_redis.url, code(guide, REDIS)))

    with reader.running(command):
        told = reader.run_python(DATA, code(guide, SUBMITTING), GET)

    assert told == "what it made of it\n"
    prefix = re.search(r'prefix="(.*?)"', code(guide, REDIS))[1]
    with own_redis.client(decode_responses=True) as client:
        assert f"{prefix}queues" in client.keys("*")


@every_guide
def test_the_guide_s_route_leads_to_the_guide_s_worker(guide, reader, own_redis):
    route = code(guide, WORKERS)
    strict = "app.conf.task_create_missing_queues = False\n"
    reader.write("myapp.py", RESULT, at(own_redis.url, code(guide, REDIS)), route, strict)

    with reader.running(worker_commands(guide)[0]):
        told = reader.run_python(DATA, code(guide, SUBMITTING), GET)

    assert told == "what it made of it\n"


@every_guide
def test_a_route_may_name_a_queue_of_one_s_own(guide, reader, own_redis):
    route = code(guide, WORKERS).replace(f"'queue': '{guide}'", "'queue': 'fair'")
    reader.write("myapp.py", RESULT, at(own_redis.url, code(guide, REDIS)), route)

    with reader.running("celery -A myapp worker -Q fair -l info --pool=solo"):
        told = reader.run_python(DATA, code(guide, SUBMITTING), GET)

    assert told == "what it made of it\n"


# -- a base of one's own ------------------------------------------------------


TELL = """\
def tell(*words):
    with open("told.txt", "a") as file:
        print(*words, file=file)
"""
BEHAVIOUR = """\
    def on_success(self, retval, task_id, args, kwargs):
        tell("success:", retval)
"""
FAILING = """\
@lru_task(app, base=MyCustomTask)
def fail(reason):
    raise ValueError(reason)
"""


@every_guide
def test_a_custom_base_is_told_of_success_and_failure(guide, reader):
    base = code(guide, CUSTOM_BASE)
    base = base.replace("# Custom success handling", 'tell("success:", retval)')
    base = base.replace("# Custom failure handling", 'tell("failure:", exc)')
    base = base.replace("    # Custom behavior\n    pass\n", BEHAVIOUR)
    app = "from celery import Celery\napp = Celery('tasks')\n"
    reader.write("myapp.py", TELL, RESULT, app, base, FAILING)

    with reader.running("celery -A myapp worker -l info --concurrency=1"):
        told = reader.run_python(
            DATA,
            'failed = fail.lru_delay("client", "on purpose")\n',
            code(guide, SUBMITTING),
            GET,
            "print(repr(failed.get(timeout=30, propagate=False)))\n",
        )

    assert told == "what it made of it\nValueError('on purpose')\n"
    hooks = (reader.folder / "told.txt").read_text().splitlines()
    assert "success: what it made of it" in hooks
    # The older guide's base has no more than the stand-in for its behaviour.
    assert ("failure: on purpose" in hooks) is (guide == "celery_ranch")


# -- TLS ----------------------------------------------------------------------


def tls_parts(tls_redis, folder):
    """Return the comprehensive block with a Redis behind TLS as its broker."""
    block = at(tls_redis.url, code("celery_ranch", COMPREHENSIVE))
    assert '"redis_use_ssl": True' in block
    authority = str(tls_redis.certificates.ca)
    certificates = (
        "import ssl\n"
        f"tls = {{'ssl_cert_reqs': ssl.CERT_REQUIRED, 'ssl_ca_certs': {authority!r}}}\n"
        "app.conf.update(broker_use_ssl=tls, redis_backend_use_ssl=tls)\n"
        f"app.conf.task_default_queue = {folder.name!r}\n"
    )
    return RESULT, block.replace('"myapp:"', f'"{folder.name}:"'), certificates


def trusting(folder, tls_redis):
    """Return a reader whose computer trusts the authority of the Redis behind TLS."""
    return Reader(
        folder,
        CELERY_RESULT_BACKEND=tls_redis.url,
        SSL_CERT_FILE=str(tls_redis.certificates.ca),
    )


def test_the_comprehensive_configuration_works_with_the_broker_over_tls_too(tmp_path, tls_redis):
    reader = trusting(tmp_path, tls_redis)
    reader.write("myapp.py", *tls_parts(tls_redis, tmp_path))

    with reader.running("celery -A myapp worker -Q celery_ranch -l info"):
        told = reader.run_python(DATA, code("celery_ranch", SUBMITTING), GET)

    assert told == "what it made of it\n"


STORE_OVER_TLS = """\
app.conf.celery_ranch |= {{"url": {url!r}, "redis_prefix": "{prefix}:", "redis_use_ssl": {ssl!r}}}
"""


def write_app_with_a_store_over_tls(reader, broker_url, tls_redis, ssl):
    """Write the comprehensive block, whose broker is plain and whose store has a URL."""
    block = at(broker_url, code("celery_ranch", COMPREHENSIVE))
    store = STORE_OVER_TLS.format(url=tls_redis.url, prefix=reader.folder.name, ssl=ssl)
    reader.write("myapp.py", RESULT, block, store)


@pytest.mark.parametrize("names_authority", [True, False], ids=["a dict", "True"])
def test_a_store_over_tls_beside_a_plain_broker(reader, own_redis, tls_redis, names_authority):
    authority = str(tls_redis.certificates.ca)
    if not names_authority:
        reader.environment["SSL_CERT_FILE"] = authority
    ssl = {"ssl_ca_certs": authority} if names_authority else True
    write_app_with_a_store_over_tls(reader, own_redis.url, tls_redis, ssl)

    with reader.running("celery -A myapp worker -Q celery_ranch -l info"):
        told = reader.run_python(DATA, code("celery_ranch", SUBMITTING), GET)

    assert told == "what it made of it\n"


REFUSED = """\
from kombu.exceptions import OperationalError
try:
    process_data.lru_delay("client", 1)
except OperationalError as error:
    print("refused:", error)
"""


def test_true_refuses_a_store_whose_certificate_nobody_here_trusts(reader, own_redis, tls_redis):
    write_app_with_a_store_over_tls(reader, own_redis.url, tls_redis, True)

    told = reader.run_python(DATA, REFUSED)

    assert re.search(r"refused: .*certificate verify failed", told, re.IGNORECASE), told


# -- monitoring ---------------------------------------------------------------


VIEWS_FIRST = """\
from {guide}.utils.prioritize import _task_backlog
from {guide}.utils.lru_tracker import _lru_tracker
early = _task_backlog, _lru_tracker
"""
CALLS = """\
for key in ("a", "a", "b"):
    process_data.lru_delay(key, 1)
"""


@every_guide
def test_the_monitoring_blocks_show_what_waits(guide, reader, own_redis):
    reader.write("myapp.py", RESULT, at(own_redis.url, code(guide, REDIS)))

    told = reader.run_python(DATA, CALLS, code(guide, MONITORING))

    who = "Client" if guide == "celery_lru_priority" else "Process"
    assert told.startswith(f"{who} a: 2 pending tasks\n{who} b: 1 pending tasks\n")


@every_guide
def test_views_imported_before_configure_show_what_is_configured_later(guide, reader, own_redis):
    reader.write("myapp.py", RESULT, at(own_redis.url, code(guide, REDIS)))

    told = reader.run_python(
        VIEWS_FIRST.format(guide=guide),
        DATA,
        CALLS,
        "print(early[0].get_all_lru_keys(), early[1].get_last_used_times())\n",
        CALLS,
        "print(len(early[0].get_tasks_by_lru_key('a')))\n",
        "print([task[1:] for task in early[0].get_tasks_by_lru_key('b').values()])\n",
    )

    assert told == "['a', 'b'] {}\n4\n[([1], {}), ([1], {})]\n"


@every_guide
def test_the_views_look_at_the_process_s_memory_where_there_is_no_store(guide, lonely_reader):
    lonely_reader.write("myapp.py", RESULT, code(guide, CREATING))

    told = lonely_reader.run_python(DATA, CALLS, code(guide, MONITORING))

    assert " a: 2 pending tasks\n" in told
    assert " b: 1 pending tasks\n" in told


def test_the_monitoring_block_counts_the_keys_that_were_served(reader, own_redis):
    reader.write("myapp.py", RESULT, at(own_redis.url, code("celery_ranch", REDIS)))
    waiting = "\n".join(
        [DATA, "results = [process_data.lru_delay(key, 1) for key in 'aab']", "for r in results:"]
    )
    with reader.running("celery -A myapp worker -Q celery_ranch -l info --pool=solo"):
        told = reader.run_python(
            waiting, "    r.get(timeout=30)\n", code("celery_ranch", MONITORING)
        )

    assert told == "Total processes tracked: 2\n"


# -- coverage -----------------------------------------------------------------


def test_the_coverage_commands_write_their_reports(tmp_path):
    reader = Reader(tmp_path)
    reader.write("test_it.py", "def test_it():\n    import celery_ranch\n")
    reader.write("pytest.ini", "[pytest]\n")

    commands = code("celery_ranch", COVERAGE, "bash").splitlines()
    for command in commands:
        if shlex.split(command, comments=True):
            reader.run(command)

    assert (tmp_path / "htmlcov" / "index.html").exists()
    assert 'name="task.py"' in (tmp_path / "coverage.xml").read_text()

"""Keys, ids, queue names, arguments and messages that nobody would choose who meant well."""

import os
import unicodedata

import psutil
import pytest
from celery import group

from celery_ranch import InvalidKeyError
from celery_ranch.config import SerializerType
from celery_ranch.envelope import Envelope, pack, unpack
from celery_ranch.scheduling.model import Entry
from tests.servers import eventually
from tests.workers import FairApp

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url):
    app = FairApp(tmp_path_factory.mktemp("hostile"), redis_url, module="hostile_app")
    yield app
    app.close()


@pytest.fixture(scope="module")
def worker(app):
    with app.worker() as worker:
        yield worker


@pytest.fixture(autouse=True)
def _goes_on(app, worker):
    """Whatever a test sent: the worker is there after it, and nothing is left behind."""
    yield
    assert app.send("note", "others go on", lru_key="others").get(timeout=30) == "others go on"
    app.await_idle()
    assert worker.process.poll() is None


# -- keys -----------------------------------------------------------------------

KEYS = (
    # One of each plane of Unicode, assigned or not, and the last of each.
    *(chr(plane * 0x10000 + 0x1234) for plane in range(17)),
    *(chr(plane * 0x10000 + 0xFFFF) for plane in range(17)),
    *(chr(code) for code in range(0xA0) if unicodedata.category(chr(code)) == "Cc"),
    "".join(map(chr, range(0x20))),
    "two\nlines",
    "two\r\nlines\n",
    "\N{RIGHT-TO-LEFT OVERRIDE}emca",
    "שלום",
    "\N{ZERO WIDTH JOINER}",
    "\ufeffacme",
    "e\N{COMBINING ACUTE ACCENT}",
    "é",
    "{",
    "}",
    "{}",
    "{acme}",
    "}:ready:{",
    "*",
    "?",
    "[a-z]",
    "[",
    "\\",
    "\\*",
    " ",
    "  acme ",
    "a b",
    ":",
    "a:b",
    "ready:acme",
    "%s %(x)s {0}",
    '"',
    "'",
    "'; DROP TABLE keys; --",
    "$(reboot)",
    "../../etc/passwd",
    "None",
    "null",
    "0",
    "-1",
    "nan",
    '{"__type__": "datetime"}',
    "0 - - 4 acme",
    "x" * 512,
    "é" * 256,
    "\U0001f9a9" * 128,
)


def test_what_the_keys_are_is_all_different():
    assert len(set(KEYS)) == len(KEYS)


def test_a_key_of_any_characters_is_shown_served_and_inherited(app):
    queue = f"{app.name}-keys"
    results = {key: app.send("whose", 1, lru_key=key, queue=queue) for key in KEYS}
    assert {found.key[0]: found.waiting for found in app.ranch.keys(queue)} == dict.fromkeys(
        KEYS, 1
    )
    for key, result in results.items():
        (pending,) = app.ranch.pending(key, queue)
        assert (pending.task_id, list(pending.args)) == (result.id, [1])
    assert app.ranch.check(queue) == ()

    app.tell("add_consumer", queue=queue)
    for key, result in results.items():
        told = result.get(timeout=60)
        assert (told["key"], told["id"]) == (key, result.id)
        child = app.client.AsyncResult(told["child"]).get(timeout=60)
        assert child == {"key": key, "id": told["child"], "child": None}
    eventually(lambda: app.engine.snapshot(queue).leased == 0, 30, "all of it is done")


@pytest.mark.parametrize("key", ["x" * 513, "é" * 256 + "x", "\ud800", "acme\udfff", ""])
def test_a_key_that_is_too_long_or_no_text_is_refused(app, key):
    with pytest.raises(InvalidKeyError):
        app.send("note", 1, lru_key=key)


def test_a_key_of_any_characters_is_paused_resumed_weighed_and_cancelled(app):
    queue = f"{app.name}-control"
    for key in KEYS:
        app.ranch.pause(key, queue)
        app.ranch.set_share(key, 2, queue)
        result = app.send("note", 1, lru_key=key, queue=queue)
        (found,) = [one for one in app.ranch.keys(queue) if one.key == (key,)]
        assert (found.is_paused, found.share, found.waiting) == (True, 2, 1)
        assert app.ranch.cancel(result.id, queue)
        app.ranch.resume(key, queue)
    assert app.ranch.check(queue) == ()


# -- names of queues ---------------------------------------------------------------

QUEUES = (
    "{acme}",
    "}",
    "*",
    "[a",
    "\\",
    "a b",
    "two\nlines",
    "שלום",
    "\U0001f9a9",
    "a:b",
    "\x00",
    "%s",
)


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_of_any_name_is_served(app, name):
    queue = f"{app.name}{name}"
    results = [app.send("whose", 0, lru_key=key, queue=queue) for key in ("a", "{b}")]
    assert {found.key[0] for found in app.ranch.keys(queue)} == {"a", "{b}"}
    app.tell("add_consumer", queue=queue)
    assert [result.get(timeout=30)["key"] for result in results] == ["a", "{b}"]
    app.tell("cancel_consumer", queue=queue)
    eventually(lambda: app.engine.snapshot(queue).leased == 0, 30, "all of it is done")
    assert queue in {found.queue for found in app.ranch.status()}
    assert app.ranch.check(queue) == ()


# -- ids ----------------------------------------------------------------------------

IDS = (
    "x" * 70_000,
    "é" * 40_000,
    " ",
    "two words",
    "two\nlines",
    "\x00",
    "\x00\xff\U0001f9a9",
    "שלום",
    "-",
    "+inf",
    "(1",
    "0",
    "*",
    "{acme}",
    "nobody.else",
    "%s",
    "../..",
)


@pytest.mark.parametrize("task_id", IDS, ids=lambda task_id: repr(task_id[:12]))
def test_a_task_of_any_id_waits_comes_due_and_runs(app, task_id):
    queue = f"{app.name}-ids"
    app.tell("add_consumer", queue=queue)
    now = app.send("whose", 0, lru_key="acme", task_id=task_id, queue=queue)
    assert now.get(timeout=30)["id"] == task_id
    eventually(lambda: app.engine.snapshot(queue).leased == 0, 30, "it is done")
    now.forget()
    app.send("whose", 0, lru_key="acme", task_id=task_id, queue=queue, countdown=3_600)
    pending, violations = app.ranch.pending("acme", queue), app.ranch.check(queue)
    assert app.ranch.cancel(task_id, queue)
    # Their representations may take pytest seconds.
    is_shown = [one.task_id for one in pending] == [task_id]
    assert is_shown
    assert violations == ()


def test_an_empty_id_is_replaced_as_celery_does(app):
    assert app.send("whose", 0, lru_key="acme", task_id="").get(timeout=30)["id"]


def test_tasks_that_share_an_id_all_run(app):
    queue = f"{app.name}-shared"
    for number in range(20):
        app.send("count", number, lru_key=f"k{number % 3}", task_id="the same", queue=queue)
    app.tell("add_consumer", queue=queue)
    assert set(app.await_recorded("counted", 20)) == set(map(str, range(20)))
    eventually(lambda: app.engine.snapshot(queue).leased == 0, 30, "all of it is done")


# -- sizes ----------------------------------------------------------------------------


def peak(worker):
    """Return the most memory that the worker's processes ever had, in bytes each."""
    family = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children())]
    return [_peak(pid) for pid in family]


def _peak(pid):
    with open(f"/proc/{pid}/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_arguments_of_ten_megabytes_run_and_are_not_kept(app, worker):
    before = peak(worker)
    for _ in range(3):
        size = app.send("weigh", "x" * (10 * MEGABYTE), lru_key="acme").get(timeout=60)
        assert size == 10 * MEGABYTE
    parts = [app.signature("weigh", "é" * MEGABYTE).set(lru_key=f"k{n}") for n in range(10)]
    assert group(parts, app=app.client).apply_async().get(timeout=60) == [MEGABYTE] * 10
    after = peak(worker)
    print(f"peaks: {before} then {after}")  # noqa: T201
    assert max(now - then for then, now in zip(before, after, strict=True)) < 200 * MEGABYTE


# -- messages -----------------------------------------------------------------------------


def altered(app, **changes):
    """Return the message of a good call with some of its envelope changed."""
    drafts = f"{app.name}-drafts"
    result = app.send("note", "altered", lru_key="a", queue=drafts)
    envelope = unpack(app.engine.cancel(drafts, result.id))
    fields = {name: getattr(envelope, name) for name in Envelope.__slots__}
    headers = {**fields["headers"], **changes.pop("headers", {})}
    return pack(Envelope(**{**fields, "headers": headers, **changes}), SerializerType.JSON)


def nested(depth):
    return "[" * depth + "]" * depth


MESSAGES = {
    "a pickle": lambda app: altered(
        app, content_type="application/x-python-serialize", body=b"\x80\x04K\x01."
    ),
    "an unknown content type": lambda app: altered(app, content_type="application/x-unheard-of"),
    "a body nested too deep": lambda app: altered(app, body=nested(200_000)),
    "facts nested too deep": lambda app: b'{"t":"x","h":' + nested(200_000).encode() + b"}\n[]",
    "a key that is a number": lambda app: altered(app, headers={"lru_key": 42}),
    "a key that is a list": lambda app: altered(app, headers={"lru_key": ["a", ["b"]]}),
    "a key that is a dict": lambda app: altered(app, headers={"lru_key": {"a": 1}}),
    "a key that is empty": lambda app: altered(app, headers={"lru_key": ""}),
    "a time limit that is text": lambda app: altered(app, headers={"timelimit": "soon"}),
    "time limits that are text": lambda app: altered(app, headers={"timelimit": ["a", None]}),
    "an id that is a list": lambda app: altered(app, headers={"id": ["x"]}),
    "a name with a line break": lambda app: altered(app, headers={"task": "no\nsuch\ntask"}),
    "a key that is too long": lambda app: altered(app, headers={"lru_key": "x" * 513}),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_cannot_run_is_a_dead_letter(app, worker, name):
    message = MESSAGES[name](app)
    app.engine.enqueue([Entry(name, ("a",), app.name, message)])
    letter = app.await_dead_letter()
    assert (letter.entry_id, letter.message) == (name, message)
    assert letter.reason
    app.ranch.delete_dead(name)

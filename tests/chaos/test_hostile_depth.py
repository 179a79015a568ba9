"""Arguments and headers that are nested deeper than some of Celery's ways allow."""

import dataclasses

import pytest
from kombu.exceptions import EncodeError

from celery_ranch.config import SerializerType
from celery_ranch.envelope import pack, unpack
from celery_ranch.scheduling.model import Entry
from tests.servers import eventually
from tests.workers import FairApp

KINDS = ("list", "dict")

PICKLE = "application/x-python-serialize"


@pytest.fixture(scope="module", params=["prefork", "threads"])
def pool(request):
    return request.param


@pytest.fixture(scope="module")
def app(tmp_path_factory, redis_url):
    accepted = {"accept_content": ["json", "pickle"]}
    app = FairApp(tmp_path_factory.mktemp("deep"), redis_url, module="hostile_app", celery=accepted)
    yield app
    app.close()


@pytest.fixture(scope="module")
def worker(app, pool):
    with pytest.MonkeyPatch.context() as patch:
        # Celery runs no worker as root that accepts pickles, unless told so.
        patch.setenv("C_FORCE_ROOT", "1")
        with app.worker(pool=pool) as worker:
            yield worker


def nested(depth, kind):
    value = [] if kind == "list" else {}
    for _ in range(depth - 1):
        value = [value] if kind == "list" else {"a": value}
    return value


# -- published ------------------------------------------------------------------------


def is_sent(app, depth, kind, serializer, key):
    """Whether it can be sent; it waits where nobody takes it."""
    try:
        app.send(
            "measure",
            nested(depth, kind),
            lru_key=key,
            serializer=serializer,
            queue=f"{app.name}-unserved",
        )
    except EncodeError:
        return False
    return True


@pytest.mark.parametrize("depth", [100, 500, 5_000, 100_000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_what_is_too_deep_for_a_plain_call_is_refused_to_a_fair_one(app, depth, kind, serializer):
    plain, fair = [is_sent(app, depth, kind, serializer, key) for key in (None, "a")]
    assert fair == plain
    assert fair or depth > 100
    queue = f"{app.name}-unserved"
    assert app.engine.snapshot(queue).waiting == fair
    app.ranch.purge(queue)


# -- stored by somebody else ----------------------------------------------------------


def json_of(depth, kind):
    before, after = {"list": ("[", "]"), "dict": ('{"a":', "}")}[kind]
    innermost = {"list": "[]", "dict": "{}"}[kind]
    return before * (depth - 1) + innermost + after * (depth - 1)


def pickle_of(depth, kind):
    """Return a pickle of a body with arguments that no pickler gets to the ground of."""
    value = {
        "list": b"]" * depth + b"a" * (depth - 1),
        "dict": b"}K\x00" * (depth - 1) + b"}" + b"s" * (depth - 1),
    }[kind]
    return b"\x80\x04" + value + b"\x85}}\x87."


def arguments(depth, kind):
    return {"body": f"[[{json_of(depth, kind)}],{{}},{{}}]"}


def pickled(depth, kind):
    return {"body": pickle_of(depth, kind), "content_type": PICKLE, "content_encoding": "binary"}


def callbacks(depth, kind):
    return {"body": f'[[[]],{{}},{{"callbacks":{json_of(depth, kind)}}}]'}


def header(depth, kind):
    return {"headers": {"deep": nested(depth, kind)}}


def shown(depth, kind):
    """Something that Celery shows to the task and to nobody before."""
    return {"headers": {"eta": nested(depth, kind)}}


def prop(depth, kind):
    return {"properties": {"deep": nested(depth, kind)}}


def store(app, **changes):
    """Store a call of `measure` with parts of its message replaced; return its id."""
    drafts = f"{app.name}-drafts"
    task_id = app.send("measure", [], lru_key="a", queue=drafts).id
    envelope = unpack(app.engine.cancel(drafts, task_id))
    for part in ("headers", "properties"):
        if part in changes:
            changes[part] = {**getattr(envelope, part), **changes[part]}
    message = pack(dataclasses.replace(envelope, **changes), SerializerType.JSON)
    app.engine.enqueue([Entry(task_id, ("a",), app.name, message)])
    return task_id


def end_of(app, task_id):
    """Return what a task gave, or the reason why it is a dead letter."""
    result = app.client.AsyncResult(task_id)

    def reasons():
        letters = app.ranch.dead_letters(app.name)
        return [letter.reason for letter in letters if letter.entry_id == task_id]

    eventually(lambda: result.ready() or reasons(), 30, "it has run, or is a dead letter")
    return reasons()[0] if reasons() else result.result


#: What `measure` gives where the innermost is empty; its callbacks fail when it has run.
GIVEN = {arguments: lambda depth: depth - 1, pickled: lambda depth: depth - 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [arguments, pickled, callbacks, header, shown, prop])
def test_what_is_nested_runs_or_is_a_dead_letter_and_the_worker_goes_on(
    app, worker, pool, changes, kind
):
    # What is deeper could not be stored as JSON in a header.
    depths = (100, 500, 900, 5_000, 100_000) if "body" in changes(1, kind) else (100, 500)
    for depth in depths:
        end = end_of(app, store(app, **changes(depth, kind)))
        if isinstance(end, str):
            assert end.startswith(("cannot be decoded: Rec", "cannot be given to a process: Rec"))
            assert depth > (100 if pool == "prefork" else 500)
        elif changes is callbacks:
            assert isinstance(end, Exception)
        else:
            assert end == GIVEN.get(changes, lambda _: 0)(depth)
    app.await_idle()
    # In every slot that the pool has left.
    results = [app.send("note", number, lru_key="others") for number in range(4)]
    assert [result.get(timeout=30) for result in results] == [0, 1, 2, 3]
    assert worker.process.poll() is None

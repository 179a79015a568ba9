"""What is sent together is stored together, and nothing else about it differs."""

from __future__ import annotations

import contextvars
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group, signals
from celery.app.amqp import AMQP
from celery.signals import after_task_publish, before_task_publish
from kombu.exceptions import OperationalError
from redis import Redis

from celery_ranch import InvalidKeyError, InvalidShareError, Ranch, configure, lru_task, submit
from celery_ranch.envelope import Envelope, unpack
from celery_ranch.publishing.batches import BatchProducer
from tests.proxies import Fault, Point, Proxy
from tests.waiting import Waiting, published, run

MakeApp = Callable[..., Celery]


@pytest.fixture
def make_app(redis_prefix: str) -> Iterator[MakeApp]:
    """Makes applications with settings, and closes their stores."""
    made = []

    def make(store_url: str, prefix: str = "", **settings: Any) -> Celery:
        app = Celery("batches", broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.task_default_queue = f"default-{secrets.token_hex(4)}"
        app.conf.update(settings)
        app.conf.celery_ranch = {"url": store_url, "redis_prefix": f"{redis_prefix}{prefix}"}
        configure(app)
        made.append(app)
        return app

    yield make
    for app in made:
        Ranch(app).engine.close()


@pytest.fixture
def app(redis_url: str, make_app: MakeApp) -> Celery:
    return make_app(redis_url)


def add_of(app: Celery) -> Any:
    @lru_task(app, shared=False, name="add")
    def add(x: int = 0, y: int = 0) -> int:
        return x + y

    return add


@pytest.fixture
def add(app: Celery) -> Any:
    return add_of(app)


@pytest.fixture
def waiting(app: Celery) -> Waiting:
    return Waiting(app)


@pytest.fixture
def scripts_run(redis_url: str) -> Iterator[Callable[[], int]]:
    """How many scripts the store has run since it was asked last."""
    with Redis.from_url(redis_url) as client:
        last = 0

        def since_last() -> int:
            nonlocal last
            total = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
            last, before = total, last
            return int(total - before)

        since_last()
        yield since_last


def order_of(envelope: Envelope) -> int:
    """Return the first argument of a message's task."""
    return int(envelope.headers["argsrepr"].strip("(),"))


BATCHES: dict[str, Callable[[Celery, Any, int], Any]] = {
    "a group": lambda app, add, count: group([add.s(i) for i in range(count)], app=app).apply_async(
        lru_key="acme"
    ),
    "a group of a generator": lambda app, add, count: group(
        (add.s(i) for i in range(count)), app=app
    ).apply_async(lru_key="acme"),
    "a group of names": lambda app, add, count: group(
        [app.signature("elsewhere", args=(i,)) for i in range(count)], app=app
    ).apply_async(lru_key="acme"),
    "lru_map": lambda app, add, count: add.lru_map("acme", range(count)),
    "lru_starmap": lambda app, add, count: add.lru_starmap("acme", ([i] for i in range(count))),
    "submit": lambda app, add, count: submit(
        app, (add.s(i).set(lru_key="acme") for i in range(count))
    ),
    "submit of dicts": lambda app, add, count: submit(
        app, [dict(add.s(i).set(lru_key="acme")) for i in range(count)]
    ),
}

every_batch = pytest.mark.parametrize("send", BATCHES.values(), ids=BATCHES)


@every_batch
def test_thousands_are_stored_by_one_script_each_in_their_order(
    app: Celery,
    add: Any,
    waiting: Waiting,
    scripts_run: Callable[[], int],
    send: Callable[[Celery, Any, int], Any],
) -> None:
    add.lru_delay("warm-up")
    waiting.next()
    scripts_run()
    results = list(send(app, add, 2_001))
    assert scripts_run() == 3
    assert waiting.keys() == {"acme": 2_001}
    pending = waiting.ranch.pending("acme", limit=2_001)
    assert [task.task_id for task in pending] == [result.id for result in results]
    assert [task.args for task in pending] == [[i] for i in range(2_001)]
    assert published(app) == 0


@every_batch
def test_nothing_is_announced_or_returned_before_it_is_stored(
    app: Celery, add: Any, waiting: Waiting, send: Callable[[Celery, Any, int], Any]
) -> None:
    stored_at_announcement = []

    def announced(sender: str, headers: dict[str, Any], **_: Any) -> None:
        stored = {
            entry_id for entry_id, _ in waiting.ranch.engine.pending(waiting.queue, ("acme",))
        }
        stored_at_announcement.append(headers["id"] in stored)

    after_task_publish.connect(announced, weak=False)
    try:
        results = list(send(app, add, 5))
        assert stored_at_announcement == [True] * 5
        assert waiting.keys() == {"acme": len(results)}
    finally:
        after_task_publish.disconnect(announced)


def test_whoever_takes_a_producer_by_hand_has_each_call_stored_at_once(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    with app.producer_or_acquire() as producer:
        assert not isinstance(producer, BatchProducer)
        add.apply_async((1,), lru_key="acme", producer=producer)
        assert waiting.keys() == {"acme": 1}
        group([add.s(2), add.s(3)]).apply_async(lru_key="acme", producer=producer)
        assert waiting.keys() == {"acme": 3}
    with app.amqp.producer_pool.acquire(block=True) as producer:
        add.apply_async((1,), lru_key="acme", producer=producer, group_id="a-group")
        assert waiting.keys() == {"acme": 4}


def test_a_group_that_cannot_be_sent_whole_stores_nothing_of_its_thousand(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    members = [add.s(i).set(lru_key="acme" if i < 3 else "") for i in range(5)]
    with pytest.raises(InvalidKeyError):
        group(members).apply_async()
    assert waiting.keys() == {}
    group(members[:3]).apply_async()
    assert waiting.keys() == {"acme": 3}


BAD_BATCHES: dict[str, tuple[Callable[[Celery, Any], Any], type[Exception], str]] = {
    "no key": (lambda app, add: add.lru_map(None, range(3)), InvalidKeyError, "None"),
    "an empty key": (lambda app, add: add.lru_map("", range(3)), InvalidKeyError, "''"),
    "a weight": (
        lambda app, add: add.lru_map("acme", range(3), priority_weight=0),
        InvalidShareError,
        "0",
    ),
    "too many arguments": (
        lambda app, add: add.lru_starmap("acme", [(1, 2), (1, 2, 3)]),
        TypeError,
        "positional",
    ),
    "no arguments": (
        lambda app, add: add.lru_starmap("acme", [(1, 2), "ab"]),
        TypeError,
        "element 1 is 'ab'",
    ),
    "what cannot be written": (
        lambda app, add: add.lru_map("acme", [*range(1_500), object()]),
        Exception,
        "not JSON serializable",
    ),
    "a task's id": (
        lambda app, add: add.lru_map("acme", range(3), task_id="mine"),
        TypeError,
        "task_id",
    ),
    "no iterable": (lambda app, add: add.lru_map("acme", 3), TypeError, "iterable"),
    "no signature": (
        lambda app, add: submit(app, [add.s(1).set(lru_key="acme"), add]),
        TypeError,
        "element 1",
    ),
    "a signature's key": (
        lambda app, add: submit(app, [add.s().set(lru_key="acme"), add.s().set(lru_key=7)]),
        InvalidKeyError,
        "7",
    ),
}


@pytest.mark.parametrize("send, error, words", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_batch_with_something_wrong_in_it_is_refused_whole(
    app: Celery,
    add: Any,
    waiting: Waiting,
    send: Callable[[Celery, Any], Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        send(app, add)
    assert waiting.keys() == {}


def test_an_id_that_is_in_use_is_stored_under_another_one(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    add.apply_async((0,), task_id="mine", lru_key="acme")
    calls = [add.s(i).set(task_id=task_id, lru_key="acme") for i, task_id in enumerate(IDS, 1)]
    results = submit(app, calls)
    assert [result.id for result in results] == IDS
    leases = [waiting.lease() for _ in range(7)]
    assert [order_of(unpack(lease.message)) for lease in leases] == list(range(7))
    assert [unpack(lease.message).headers["id"] for lease in leases] == ["mine", *IDS]
    entry_ids = [lease.entry_id for lease in leases]
    assert entry_ids[0] == "mine"
    assert entry_ids[2:4] == ["twice", "once"]
    assert len(set(entry_ids)) == 7


IDS = ["mine", "twice", "once", "twice", "mine", "twice"]


def signalled(app: Celery, send: Callable[[], Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what was said while something was sent: signals and events."""
    said: list[tuple[str, dict[str, Any]]] = []

    def before(**facts: Any) -> None:
        said.append(("before", facts))

    def after(**facts: Any) -> None:
        said.append(("after", facts))

    def sent(**facts: Any) -> None:
        said.append(("sent", facts))

    def event(facts: dict[str, Any]) -> None:
        said.append(("event", facts))

    before_task_publish.connect(before)
    after_task_publish.connect(after)
    signals.task_sent.connect(sent)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-sent": event})
        with receiver.consumer_context(wakeup=False) as (listening, _, _):
            send()
            count = len(said) // 3 if app.conf.task_send_sent_event else 0
            while sum(kind == "event" for kind, _ in said) < count:
                listening.drain_events(timeout=20)
    signals.task_sent.disconnect(sent)
    return said


#: What differs between any two sends of the same task.
OWN = ("clock", "timestamp", "local_received", "task_id", "uuid", "root_id", "signal")


def comparable(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what is said, without what differs between two sends; shows all else."""
    facts = {name: value for name, value in facts.items() if name not in OWN}
    for name in ("headers", "properties", "body"):
        if isinstance(facts.get(name), dict):
            facts[name] = {
                each: value
                for each, value in facts[name].items()
                if each not in {"id", "root_id", "correlation_id"}
            }
    if "declare" in facts:
        facts["declare"] = [queue.name for queue in facts["declare"]]
    return facts


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("send_events", [False, True])
def test_signals_and_events_are_those_of_single_calls(
    redis_url: str, make_app: MakeApp, protocol: int, send_events: bool
) -> None:
    app = make_app(redis_url, task_protocol=protocol, task_send_sent_event=send_events)
    add = add_of(app)
    options = {"retry_policy": {"max_retries": 7}, "priority": 3, "headers": {"trace": "t-1"}}
    elements = [1, 2, 3]
    one_by_one = signalled(
        app,
        lambda: [add.apply_async((i,), lru_key="acme", **options) for i in elements],
    )
    together = signalled(app, lambda: add.lru_map("acme", elements, **options))
    kinds = {"before", "after", "sent", "event"} if send_events else {"before", "after", "sent"}
    assert {kind for kind, _ in together} == kinds
    for kind in kinds:
        expected = [comparable(facts) for which, facts in one_by_one if which == kind]
        assert [comparable(facts) for which, facts in together if which == kind] == expected
        assert len(expected) == 3


def test_what_a_receiver_opens_before_a_publish_it_closes_after_the_same_one(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    span = contextvars.ContextVar("span", default="the caller's")
    tokens: dict[str, contextvars.Token[str]] = {}
    seen = []

    def open_span(headers: dict[str, Any], **_: Any) -> None:
        seen.append(("within", span.get()))
        tokens[headers["id"]] = span.set(headers["id"])

    def close_span(headers: dict[str, Any], **_: Any) -> None:
        seen.append(("closes its own", span.get() == headers["id"]))
        span.reset(tokens[headers["id"]])

    before_task_publish.connect(open_span)
    after_task_publish.connect(close_span)
    add.lru_map("acme", range(3))
    assert seen == [("within", "the caller's")] * 3 + [("closes its own", True)] * 3
    assert span.get() == "the caller's"


def test_what_a_receiver_changes_before_the_publish_is_stored(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    def change(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = headers["id"]

    before_task_publish.connect(change)
    (result, _) = add.lru_map("acme", range(2))
    assert waiting.next().headers["trace"] == result.id


def test_members_without_a_key_go_celery_s_way(app: Celery, add: Any, waiting: Waiting) -> None:
    members = [add.s(i).set(**({"lru_key": f"key-{i % 3}"} if i % 2 else {})) for i in range(12)]
    group(members).apply_async()
    assert (waiting.keys(), published(app)) == ({"key-0": 2, "key-1": 2, "key-2": 2}, 6)
    submit(app, members)
    assert (waiting.keys(), published(app)) == ({"key-0": 4, "key-1": 4, "key-2": 4}, 12)


def test_a_batch_may_go_to_several_queues_at_several_times(
    app: Celery, add: Any, scripts_run: Callable[[], int]
) -> None:
    submit(
        app,
        [add.s(i).set(lru_key="acme", queue=f"queue-{i % 2}", countdown=i // 2) for i in range(8)],
    )
    assert scripts_run() == 1
    for queue in ("queue-0", "queue-1"):
        counts = Ranch(app).engine.snapshot(queue)
        assert (counts.waiting, counts.delayed) == (1, 3)


def test_a_group_s_members_are_delayed_one_after_the_other(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    members = [add.s(i).set(lru_key="acme") for i in range(5)]
    group(members).skew(start=100, stop=104).apply_async()
    pending = waiting.ranch.pending("acme")
    assert [task.args for task in pending] == [[i] for i in range(5)]
    next_due = waiting.ranch.engine.snapshot(waiting.queue).next_due_in_us
    assert next_due is not None
    assert 60_000_000 < next_due <= 100_000_000


def test_options_of_a_map_are_those_of_each_task(app: Celery, add: Any, waiting: Waiting) -> None:
    add.lru_map(
        "acme",
        [1],
        kwargs={"y": 2},
        expires=0,
        link=add.s(3),
        ignore_result=True,
        compression="zlib",
        headers={"trace": "t-1"},
    )
    lease = waiting.lease()
    headers = unpack(lease.message).headers
    assert lease.is_expired
    assert (headers["ignore_result"], headers["trace"]) == (True, "t-1")
    assert (headers["compression"], headers["kwargsrepr"]) == ("application/x-gzip", "{'y': 2}")


def test_a_map_s_weight_holds_for_what_waits(app: Celery, add: Any, waiting: Waiting) -> None:
    add.lru_map("acme", range(3), priority_weight=0.5)
    (found,) = waiting.ranch.keys(waiting.queue)
    assert (found.share, found.waiting) == (2.0, 3)


def test_messages_of_one_call_to_the_store_are_not_too_large(
    app: Celery, add: Any, waiting: Waiting, scripts_run: Callable[[], int]
) -> None:
    large = app.signature("elsewhere", args=("x" * 3_000_000,)).set(lru_key="acme")
    submit(app, [large] * 5)
    assert scripts_run() == 3
    group([large] * 5, app=app).apply_async()
    assert scripts_run() == 3
    assert waiting.keys() == {"acme": 10}


def test_every_step_of_every_member_s_canvas_is_stored(
    app: Celery, add: Any, waiting: Waiting, scripts_run: Callable[[], int]
) -> None:
    app.backend.ensure_chords_allowed()
    members = [
        chain(add.s(1), add.s(2)),
        group([add.s(3), add.s(4)]),
        chord([add.s(5), add.s(6)], add.si(7)),
        add.chunks([(8, 8), (9, 9)], 1).group(),
        add.s(10),
    ]
    group(members, app=app).apply_async(lru_key="acme")
    assert waiting.keys() == {"acme": 8}
    assert published(app) == 0
    names = sorted(waiting.next().headers["task"] for _ in range(8))
    assert names == ["add"] * 6 + ["celery.starmap"] * 2


def test_members_of_another_application_are_stored_in_its_store(
    app: Celery, add: Any, waiting: Waiting, redis_url: str, make_app: MakeApp
) -> None:
    other = make_app(redis_url, "other:")
    group([add.s(1), add_of(other).s(2)], app=app).apply_async(lru_key="acme")
    assert (waiting.keys(), Waiting(other).keys()) == ({"acme": 1}, {"acme": 1})


def test_the_running_task_knows_its_children(app: Celery, add: Any, waiting: Waiting) -> None:
    children = []

    @lru_task(app, shared=False, name="parent", bind=True)
    def parent(self: Any) -> None:
        results = [*add.lru_map("acme", [1]), *submit(app, [add.s(2)])]
        add.lru_map("acme", [3], add_to_parent=False)
        children.append((results, list(self.request.children)))

    parent.lru_delay("acme")
    run(app, waiting.next())
    ((results, known),) = children
    assert known == results
    assert waiting.keys() == {"acme": 3}
    assert {waiting.next().headers["parent_id"] for _ in range(3)} != {None}


def test_what_is_always_done_eagerly_is_not_stored(app: Celery, add: Any, waiting: Waiting) -> None:
    app.conf.task_always_eager = True
    assert [result.get() for result in add.lru_starmap("acme", [(1, 2), (3, 4)])] == [3, 7]
    assert [result.get() for result in submit(app, [add.s(5, 6)])] == [11]
    assert waiting.keys() == {}


def test_an_empty_batch_is_one(app: Celery, add: Any, waiting: Waiting) -> None:
    assert add.lru_map("acme", []) == submit(app, []) == []
    assert waiting.keys() == {}


def test_threads_have_batches_of_their_own(app: Celery, add: Any, waiting: Waiting) -> None:
    def send(key: str) -> None:
        add.lru_map(key, range(700))
        group([add.s(i) for i in range(700)]).apply_async(lru_key=key)

    threads = [threading.Thread(target=send, args=[f"key-{i}"]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waiting.keys() == {f"key-{i}": 1_400 for i in range(4)}


@every_batch
def test_a_store_that_is_away_is_an_error_of_the_broker_s_kind(
    redis_url: str, make_app: MakeApp, send: Callable[[Celery, Any, int], Any]
) -> None:
    with Proxy(redis_url) as proxy:
        app = make_app(proxy.url, task_publish_retry=False)
        add = add_of(app)
        proxy.arm(Fault(Point.BEFORE_REQUEST, matching=b"EVALSHA"))
        with pytest.raises(OperationalError):
            send(app, add, 3)
        waiting = Waiting(app)
        assert waiting.keys() == {}
        send(app, add, 3)
        assert waiting.keys() == {"acme": 3}


@pytest.mark.parametrize("point", [Point.BEFORE_REQUEST, Point.IN_REQUEST, Point.BEFORE_REPLY])
@every_batch
def test_a_batch_is_stored_once_whatever_its_first_try_came_to(
    redis_url: str, make_app: MakeApp, send: Callable[[Celery, Any, int], Any], point: Point
) -> None:
    with Proxy(redis_url) as proxy:
        app = make_app(proxy.url)
        add = add_of(app)
        fault = proxy.arm(Fault(point, matching=b"EVALSHA"))
        send(app, add, 3)
        assert fault.happened.is_set()
        assert Waiting(app).keys() == {"acme": 3}


def test_messages_of_other_retries_are_asked_for_by_calls_of_their_own(
    redis_url: str, make_app: MakeApp
) -> None:
    with Proxy(redis_url) as proxy:
        app = make_app(proxy.url)
        add = add_of(app)
        patient, hasty = add.s(1).set(lru_key="patient"), add.s(2).set(lru_key="hasty", retry=False)
        proxy.arm(Fault(Point.BEFORE_REQUEST, matching=b"patient"))
        proxy.arm(Fault(Point.BEFORE_REQUEST, matching=b"hasty"))
        with pytest.raises(OperationalError):
            submit(app, [patient, patient, hasty, hasty])
        assert Waiting(app).keys() == {"patient": 2}


@pytest.mark.skipif(
    not hasattr(AMQP, "_retry_publish"), reason="Celery 5.7 retries callbacks itself"
)
@pytest.mark.parametrize("failures", [2, 4])
def test_a_callback_that_is_a_group_is_asked_for_again_but_not_for_ever(
    redis_url: str, make_app: MakeApp, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(redis_url) as proxy:
        app = make_app(proxy.url)
        add = add_of(app)
        add.lru_delay("warm-up")
        Waiting(app).next()
        for _ in range(failures):
            proxy.arm(Fault(Point.BEFORE_REQUEST, matching=b"EVALSHA"))
        callback = group([add.s(1), add.s(2)])
        options = {"lru_key": "acme", "retry_policy": {"max_retries": None, "interval_step": 0.01}}
        if failures > 3:
            with pytest.raises(OperationalError):
                app.amqp._retry_publish(callback.apply_async, **options)
        else:
            app.amqp._retry_publish(callback.apply_async, **options)
        assert Waiting(app).keys() == ({"acme": 2} if failures <= 3 else {})
        assert "callback publish" not in caplog.text

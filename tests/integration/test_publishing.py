"""A call with a key becomes one entry, with everything that Celery's message had."""

from __future__ import annotations

import json
import pickle
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.app.amqp import AMQP
from celery.beat import Scheduler
from celery.canvas import Signature
from celery.signals import after_task_publish, before_task_publish
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_ranch import LRUTask, Ranch, RoutingError, configure, current_key, lru_task
from celery_ranch.envelope import Envelope, unpack
from celery_ranch.publishing.amqp import FairAMQP
from tests.waiting import Waiting, published, run


@pytest.fixture
def settings() -> dict[str, Any]:
    """The application's settings, but for where the store is."""
    return {}


@pytest.fixture
def app(redis_url: str, redis_prefix: str, settings: dict[str, Any]) -> Iterator[Celery]:
    """An application with a queue of its own, to see what goes to the broker."""
    app = Celery("publishing", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = f"default-{secrets.token_hex(4)}"
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix, **settings}
    configure(app)
    yield app
    Ranch(app).engine.close()


@pytest.fixture
def add(app: Celery) -> Any:
    @lru_task(app, shared=False, name="add")
    def add(x: int = 0, y: int = 0) -> int:
        return x + y

    return add


def nothing() -> None: ...


def total_of(parts: list[int]) -> int:
    return sum(parts)


@pytest.fixture
def waiting(app: Celery) -> Waiting:
    return Waiting(app)


SENDS: dict[str, Callable[[Celery, Any], Any]] = {
    "lru_delay": lambda app, add: add.lru_delay("acme", 1, 2),
    "apply_async": lambda app, add: add.apply_async((1, 2), lru_key="acme"),
    "a path of one": lambda app, add: add.apply_async((1, 2), lru_key=("acme",)),
    "a signature": lambda app, add: add.s(1, 2).set(lru_key="acme").delay(),
    "a signature called": lambda app, add: add.s(1, 2).apply_async(lru_key="acme"),
    "a name": lambda app, add: app.send_task("add", (1, 2), lru_key="acme"),
    "an unknown name": lambda app, add: app.send_task("elsewhere", (1, 2), lru_key="acme"),
    "an unregistered signature": lambda app, add: app.signature("x").apply_async(lru_key="acme"),
    "a chain": lambda app, add: chain(add.s(1), add.s(2)).apply_async(lru_key="acme"),
    "a group": lambda app, add: group([add.s(1)]).apply_async(lru_key="acme"),
    "a map": lambda app, add: add.map([1]).apply_async(lru_key="acme"),
    "an alias": lambda app, add: add.apply_async(lru_key="acme", queue="celery_ranch"),
    "a header": lambda app, add: add.apply_async(headers={"lru_key": "acme"}),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
def test_whatever_is_sent_with_a_key_is_stored_and_not_published(
    app: Celery, add: Any, waiting: Waiting, send: Callable[[Celery, Any], Any]
) -> None:
    send(app, add)
    assert waiting.keys() == {"acme": 1}
    assert waiting.next().headers["lru_key"] == "acme"
    assert published(app) == 0


def test_what_beat_sends_with_a_key_is_stored(app: Celery, add: Any, waiting: Waiting) -> None:
    app.conf.beat_schedule = {
        "nightly": {"task": "add", "schedule": 3600, "args": (1, 2), "options": {"lru_key": "acme"}}
    }
    scheduler = Scheduler(app)
    scheduler.apply_async(scheduler.schedule["nightly"], producer=scheduler.producer)
    assert (waiting.keys(), published(app)) == ({"acme": 1}, 0)


def test_a_configured_app_survives_pickle(app: Celery) -> None:
    assert isinstance(pickle.loads(pickle.dumps(app)).amqp, FairAMQP)


def test_a_call_without_a_key_is_published_celery_s_way(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    add.delay(1, 2)
    assert (waiting.keys(), published(app)) == ({}, 1)


def test_a_task_of_any_base_is_fair_once_the_app_is_configured(
    app: Celery, waiting: Waiting
) -> None:
    @app.task(shared=False)
    def plain() -> None: ...

    plain.apply_async(lru_key="acme")
    assert waiting.keys() == {"acme": 1}


def test_binding_a_task_of_the_fair_base_is_enough(redis_url: str, redis_prefix: str) -> None:
    app = Celery("bound", broker="memory://", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    app.task(base=LRUTask, name="bound", shared=False)(nothing)
    app.tasks["bound"].lru_delay("acme")
    assert Waiting(app).keys() == {"acme": 1}


def test_publishing_installed_late_keeps_the_queues_that_are_there(
    redis_url: str, redis_prefix: str
) -> None:
    app = Celery("late", broker="memory://", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    app.amqp.queues.add("added")
    amqp, queues, sender = app.amqp, app.amqp.queues, app.amqp.send_task_message
    configure(app)
    app.send_task("anything", lru_key="acme")
    assert (app.amqp, app.amqp.queues) == (amqp, queues)
    assert "added" in queues
    assert queues["celery_ranch"].name == "celery"
    assert app.amqp.send_task_message is not sender
    assert Waiting(app).keys() == {"acme": 1}


def test_an_app_s_own_amqp_class_is_kept() -> None:
    own = type("Own", (AMQP,), {"argsrepr_maxsize": 7})
    app = Celery("own", broker="memory://", amqp=own, set_as_current=False)
    configure(app)
    assert isinstance(app.amqp, own)
    assert app.amqp.argsrepr_maxsize == 7


def test_the_result_bears_the_task_s_id_and_so_does_the_entry(add: Any, waiting: Waiting) -> None:
    result = add.lru_delay("acme")
    lease = waiting.lease()
    assert result.id == lease.entry_id == unpack(lease.message).headers["id"]


def test_a_task_id_that_is_in_use_is_stored_under_another_entry_id(
    add: Any, waiting: Waiting
) -> None:
    for _ in range(2):
        add.apply_async(task_id="mine", lru_key="acme")
    first, second = waiting.lease(), waiting.lease()
    assert first.entry_id == "mine"
    assert second.entry_id.startswith("mine.")
    assert unpack(second.message).headers["id"] == "mine"


def test_a_retry_is_stored_while_the_first_try_is_still_leased(
    app: Celery, waiting: Waiting
) -> None:
    @lru_task(app, shared=False, bind=True, name="again")
    def again(self: Any) -> None:
        raise self.retry(countdown=0)

    again.lru_delay("acme")
    first = waiting.lease()
    run(app, unpack(first.message))
    second = waiting.lease()
    headers = unpack(second.message).headers
    assert second.entry_id != first.entry_id
    assert headers["id"] == first.entry_id
    assert (headers["retries"], headers["lru_key"]) == (1, "acme")
    assert published(app) == 0


def test_a_replacement_is_stored_while_the_replaced_is_still_leased(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    @lru_task(app, shared=False, bind=True, name="replaced")
    def replaced(self: Any) -> None:
        raise self.replace(add.s(1, 2))

    replaced.lru_delay("acme")
    first = waiting.lease()
    run(app, unpack(first.message))
    second = waiting.lease()
    assert unpack(second.message).headers["id"] == first.entry_id
    assert second.key == ("acme",)


def test_a_task_called_by_a_running_one_waits_for_the_same_key(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    @lru_task(app, shared=False, name="parent")
    def parent() -> None:
        add.delay(1, 2)
        add.apply_async(lru_key="other")

    parent.lru_delay("acme")
    run(app, waiting.next())
    assert waiting.keys() == {"acme": 1, "other": 1}
    assert published(app) == 0


def test_what_a_running_task_does_eagerly_calls_for_the_same_key(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    seen = []

    @lru_task(app, shared=False, bind=True, name="parent")
    def parent(self: Any, depth: int = 0) -> None:
        seen.append((self.request.is_eager, current_key()))
        if depth < 2:
            self.apply((depth + 1,))
        else:
            add.delay(1, 2)

    parent.lru_delay("acme")
    run(app, waiting.next())
    assert seen == [(False, "acme"), (True, "acme"), (True, "acme")]
    assert (waiting.keys(), published(app)) == ({"acme": 1}, 0)
    assert current_key() is None


@pytest.mark.parametrize("settings", [{"inherit_key": False}])
def test_inheriting_can_be_turned_off(app: Celery, add: Any, waiting: Waiting) -> None:
    @lru_task(app, shared=False, name="parent")
    def parent() -> None:
        add.delay(1, 2)

    parent.lru_delay("acme")
    run(app, waiting.next())
    assert (waiting.keys(), published(app)) == ({}, 1)


@pytest.mark.parametrize("settings", [{"lru_key": lambda task, args, kwargs: kwargs["tenant"]}])
def test_the_setting_gives_a_key_to_what_has_none(app: Celery, waiting: Waiting) -> None:
    app.send_task("elsewhere", kwargs={"tenant": "acme"})
    app.send_task("elsewhere", kwargs={"tenant": None})
    assert (waiting.keys(), published(app)) == ({"acme": 1}, 1)


def written_keys(envelope: Envelope) -> list[Any]:
    """Return the keys of everything that a message calls later."""
    embed = json.loads(envelope.body)[2]
    lists = [embed["callbacks"] or [], embed["errbacks"] or [], embed["chain"] or []]
    chord_body = [embed["chord"]] if embed["chord"] else []
    signatures = [signature for found in [*lists, chord_body] for signature in found]
    return [signature["options"].get("lru_key") for signature in signatures]


def test_links_and_errbacks_carry_the_key_into_the_message(add: Any, waiting: Waiting) -> None:
    link, own = add.s(1), add.s(2).set(lru_key="own")
    add.apply_async(lru_key="acme", link=[link, own], link_error=add.si())
    assert written_keys(waiting.next()) == ["acme", "own", "acme"]
    assert "lru_key" not in link.options


def test_each_step_of_a_chain_waits_for_the_key(app: Celery, add: Any, waiting: Waiting) -> None:
    chain(add.s(1, 2), add.s(3), add.s(4).set(lru_key="own")).apply_async(lru_key="acme")
    for key in ("acme", "acme", "own"):
        assert waiting.keys() == {key: 1}
        run(app, waiting.next())
    assert published(app) == 0


def test_a_chord_s_body_waits_for_the_key(app: Celery, add: Any, waiting: Waiting) -> None:
    app.backend.ensure_chords_allowed()
    total = app.task(name="total", shared=False)(total_of)
    chord([add.s(1, 2)], total.s()).apply_async(lru_key="acme")
    assert written_keys(waiting.next()) == ["acme"]


def test_a_chord_s_polling_costs_its_key_no_turn(app: Celery, add: Any, waiting: Waiting) -> None:
    total = app.task(name="total", shared=False)(total_of)
    body = total.s()
    result = app.GroupResult("a-group", [app.AsyncResult("a-part")])
    app.send_task(
        "celery.chord_unlock",
        (result.id, body),
        {"result": [part.as_tuple() for part in result]},
        lru_key="acme",
    )
    assert (waiting.keys(), published(app)) == ({}, 1)
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue(app.conf.task_default_queue).get(timeout=1)
    callback = Signature.from_dict(message.payload[0][1], app=app)
    assert callback.options["lru_key"] == "acme"
    assert message.headers["lru_key"] == "acme"


NOW = datetime.now(timezone.utc)


@pytest.mark.parametrize(
    "options_at, is_delayed",
    [
        (lambda now: {"countdown": 100}, True),
        (lambda now: {"countdown": 0}, False),
        (lambda now: {"countdown": -5}, False),
        (lambda now: {"eta": now + timedelta(seconds=100)}, True),
        (lambda now: {"eta": now - timedelta(seconds=100)}, False),
        (lambda now: {"eta": (now + timedelta(seconds=100)).isoformat()}, True),
        (lambda now: {"countdown": 100, "eta": now}, True),
    ],
)
def test_a_due_time_is_kept_by_the_store(
    add: Any,
    waiting: Waiting,
    options_at: Callable[[datetime], dict[str, Any]],
    is_delayed: bool,
) -> None:
    add.apply_async(lru_key="acme", **options_at(datetime.now(timezone.utc)))
    snapshot = waiting.ranch.engine.snapshot(waiting.queue)
    assert (snapshot.delayed, snapshot.waiting) == (int(is_delayed), int(not is_delayed))
    if is_delayed:
        assert snapshot.next_due_in_us is not None
        assert 60_000_000 < snapshot.next_due_in_us <= 100_000_000
    pending = waiting.ranch.engine.pending(waiting.queue, ("acme",))
    assert ("eta" in unpack(pending[0][1]).headers) is True


def test_a_countdown_is_counted_by_the_store_s_clock(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    # This computer's clock goes wrong, in whatever way; the store's does not.
    app.now = lambda: NOW - timedelta(days=1)
    add.apply_async(lru_key="acme", countdown=100, expires=200)
    snapshot = waiting.ranch.engine.snapshot(waiting.queue)
    assert snapshot.delayed == 1
    assert snapshot.next_due_in_us is not None
    assert 60_000_000 < snapshot.next_due_in_us <= 100_000_000


@pytest.mark.parametrize(
    "expires, is_expired",
    [
        (100, False),
        (0, True),
        (-5, True),
        (NOW - timedelta(seconds=5), True),
        (NOW + timedelta(days=5), False),
        (None, False),
    ],
)
def test_an_expiry_is_kept_by_the_store(
    add: Any, waiting: Waiting, expires: Any, is_expired: bool
) -> None:
    add.apply_async(lru_key="acme", expires=expires)
    assert waiting.lease().is_expired is is_expired


def test_every_property_of_the_message_arrives(add: Any, waiting: Waiting) -> None:
    add.apply_async(
        lru_key="acme",
        priority=3,
        reply_to="a-queue",
        app_id="an-app",
        headers={"mine": 7},
        expires=10,
        delivery_mode="transient",
    )
    message = waiting.next()
    properties = message.properties
    assert (properties["priority"], properties["delivery_mode"]) == (3, 1)
    assert (properties["reply_to"], properties["app_id"]) == ("a-queue", "an-app")
    assert properties["expiration"] == "10000"
    assert message.headers["mine"] == 7
    assert not {"lru_key", "lru_terms", "retry", "declare"} & properties.keys()


@pytest.mark.parametrize(
    "settings", [{"default_priority": 2, "queues": {"reports": {"default_priority": 8}}}]
)
@pytest.mark.parametrize(
    "options, effective", [({}, 2), ({"queue": "reports"}, 8), ({"priority": 3}, 3)]
)
def test_a_message_says_its_effective_priority_where_what_its_task_calls_inherits_it(
    app: Celery, add: Any, waiting: Waiting, options: dict[str, Any], effective: int
) -> None:
    app.conf.task_inherit_parent_priority = True
    add.apply_async(lru_key="acme", **options)
    waiting.queue = options.get("queue", waiting.queue)
    assert waiting.next().properties["priority"] == effective


def test_what_a_task_calls_inherits_its_priority_unless_the_call_names_a_queue_as_ever(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    app.conf.task_inherit_parent_priority = True

    @app.task(name="calling", shared=False)
    def calling() -> None:
        add.delay()
        add.apply_async(priority=1)
        add.apply_async(queue="elsewhere")

    calling.apply_async(lru_key="acme", priority=3)
    run(app, waiting.next())
    assert [waiting.next().properties["priority"] for _ in range(2)] == [1, 3]
    waiting.queue = "elsewhere"
    assert waiting.next().properties["priority"] == Ranch(app).settings.default_priority


def test_compression_and_serializer_are_the_call_s(add: Any, waiting: Waiting) -> None:
    add.apply_async((1, 2), lru_key="acme", compression="zlib", serializer="pickle")
    message = waiting.next()
    assert message.content_type == "application/x-python-serialize"
    assert message.headers["compression"] == "application/x-gzip"
    assert isinstance(message.body, bytes)


def test_stamps_arrive(add: Any, waiting: Waiting) -> None:
    signature = add.s(1)
    signature.stamp(stamped_headers=["trace"], trace="t-1")
    signature.apply_async(lru_key="acme")
    assert waiting.next().headers["stamps"] == {"trace": "t-1"}


@pytest.mark.parametrize(
    "args, kwargs",
    [
        ((), {}),
        ([], None),
        (None, {}),
        ((1,), {"a": 1}),
        ([1, True, None, 2.5], {}),
        ((float("inf"), float("nan"), -0.0), {}),
        ((1, 2, 3, 4, 5), {}),
        ((10**150,), {}),
        (("it's", "a\\b", "é", b"c"), {"a": "b"}),
        (((1,), [2], {3: 4}), {}),
    ],
)
def test_arguments_are_represented_as_by_celery(app: Celery, args: Any, kwargs: Any) -> None:
    plain = AMQP(app).as_task_v2("an-id", "a", args, kwargs)
    ours = app.amqp.as_task_v2("an-id", "a", args, kwargs)
    for name in ("argsrepr", "kwargsrepr"):
        assert ours.headers[name] == plain.headers[name]
    named = app.amqp.as_task_v2("an-id", "a", args=args, kwargs=kwargs, argsrepr="hidden")
    assert named.headers["argsrepr"] == "hidden"
    assert named.headers["kwargsrepr"] == plain.headers["kwargsrepr"]


def test_the_older_protocol_is_stored_as_well(app: Celery, add: Any, waiting: Waiting) -> None:
    app.conf.task_protocol = 1
    add.apply_async((1, 2), lru_key="acme", countdown=100, link=add.s(3))
    (_, data), *_ = waiting.ranch.engine.pending(waiting.queue, ("acme",))
    message = unpack(data)
    body = json.loads(message.body)
    assert (body["args"], message.headers) == ([1, 2], {"lru_key": "acme"})
    assert body["callbacks"][0]["options"]["lru_key"] == "acme"


def test_a_share_given_with_a_call_holds_for_what_waits(add: Any, waiting: Waiting) -> None:
    add.lru_delay("acme", 1)
    add.lru_delay("acme", 2, priority_weight=0.5)
    (found,) = waiting.ranch.keys(waiting.queue)
    assert (found.share, found.waiting) == (2.0, 2)


def test_the_sent_event_is_published_beside_a_stored_entry(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    app.conf.task_send_sent_event = True
    events = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-sent": events.append})
        with receiver.consumer_context() as (listening, _, _):
            add.lru_delay("acme", 1)
            listening.drain_events(timeout=2)
    assert waiting.keys() == {"acme": 1}
    assert [event["queue"] for event in events] == [waiting.queue]


def test_a_reply_queue_is_declared_at_the_broker(redis_url: str, redis_prefix: str) -> None:
    app = Celery("rpc", broker="memory://", backend="rpc://", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    add = lru_task(app, shared=False, name="add")(nothing)
    add.lru_delay("acme")
    with app.connection_for_read() as connection:
        connection.default_channel.queue_declare(app.thread_oid, passive=True)
    assert Waiting(app).next().properties["reply_to"] == app.thread_oid


def test_routing_by_a_broadcast_takes_celery_s_way(app: Celery, add: Any, waiting: Waiting) -> None:
    app.amqp.queues.add(Broadcast("everybody"))

    @lru_task(app, shared=False, name="parent")
    def parent() -> None:
        add.apply_async(queue="everybody")

    parent.lru_delay("acme")
    run(app, waiting.next())
    assert waiting.keys() == {}
    with pytest.raises(RoutingError):
        add.apply_async(queue="everybody", lru_key="acme")


def test_another_queue_has_a_fair_side_of_its_own(app: Celery, add: Any) -> None:
    add.apply_async(lru_key="acme", queue="reports")
    engine = Ranch(app).engine
    assert engine.snapshot("reports").waiting == 1
    assert unpack(engine.pending("reports", ("acme",))[0][1]).headers["lru_key"] == "acme"


def test_no_connection_to_the_broker_is_made(redis_url: str, redis_prefix: str) -> None:
    app = Celery("no_broker", broker="amqp://127.0.0.1:1", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    add = lru_task(app, name="add", shared=False)(nothing)
    add.apply_async(lru_key="acme", countdown=100, retry=False)
    assert Waiting(app).keys() == {"acme": 1}


def test_a_delayed_call_to_a_quorum_queue_waits_in_that_queue(
    redis_url: str, redis_prefix: str
) -> None:
    # Celery sends it to an exchange for delayed delivery, from 5.5 on.
    app = Celery("quorum", broker="amqp://127.0.0.1:1", set_as_current=False)
    exchange, quorum = Exchange("topics", type="topic"), {"x-queue-type": "quorum"}
    app.conf.task_queues = [
        Queue(name, exchange, routing_key=name, queue_arguments=quorum) for name in ("one", "two")
    ]
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    add = lru_task(app, name="add", shared=False)(nothing)
    add.apply_async(lru_key="acme", countdown=100, queue="two")
    engine = Ranch(app).engine
    assert engine.snapshot("two").delayed == 1
    assert "eta" in unpack(engine.pending("two", ("acme",))[0][1]).headers


def test_a_retry_is_routed_where_no_queue_may_be_created(redis_url: str, redis_prefix: str) -> None:
    app = Celery("declared", broker="memory://", set_as_current=False)
    app.conf.update(task_queues=[Queue("celery")], task_create_missing_queues=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix, "queue": "fair"}

    @lru_task(app, shared=False, bind=True, name="again")
    def again(self: Any) -> None:
        raise self.retry(countdown=0, queue=self.request.delivery_info["routing_key"])

    again.lru_delay("acme")
    waiting = Waiting(app)
    assert waiting.queue == "fair"
    message = waiting.next()
    app.conf.task_default_queue = "fair"
    run(app, message)
    assert waiting.next().headers["retries"] == 1


def test_what_a_task_always_does_eagerly_is_not_stored(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    app.conf.task_always_eager = True
    assert add.lru_delay("acme", 1, 2).get() == 3
    assert waiting.keys() == {}


def test_signals_are_sent_as_for_any_publish(app: Celery, add: Any, waiting: Waiting) -> None:
    seen = []

    def before(headers: Any, routing_key: str, **_: Any) -> None:
        headers["from-a-signal"] = True
        seen.append(routing_key)

    def after(headers: Any, **_: Any) -> None:
        seen.append(headers["id"])

    # What ends by itself makes signals forget, before Celery 5.7, who knew their receivers.
    before_task_publish.connect(before, sender="add", weak=False)
    after_task_publish.connect(after, sender="add", weak=False)
    try:
        result = add.lru_delay("acme")
    finally:
        before_task_publish.disconnect(before, sender="add")
        after_task_publish.disconnect(after, sender="add")
    assert seen == [waiting.queue, result.id]
    assert waiting.next().headers["from-a-signal"] is True


def test_a_cancelled_task_becomes_revoked(app: Celery, add: Any, waiting: Waiting) -> None:
    result = add.lru_delay("acme", 1)
    assert Ranch(app).cancel(result.id)
    assert (result.state, waiting.keys()) == ("REVOKED", {})
    assert not Ranch(app).cancel(result.id)


def test_a_paused_key_is_leased_again_once_it_is_resumed(
    app: Celery, add: Any, waiting: Waiting
) -> None:
    ranch = Ranch(app)
    add.lru_delay("acme")
    ranch.pause("acme")
    assert ranch.engine.lease("a worker", [waiting.queue], 1).leases == ()
    ranch.resume("acme")
    assert waiting.lease().key == ("acme",)


def test_an_app_s_counts_and_waiting_tasks_are_shown(app: Celery, add: Any) -> None:
    ranch = Ranch(app)
    result = add.lru_delay("acme", 1, y=2)
    (task,) = ranch.pending("acme")
    assert (task.task_id, task.task, task.args, task.kwargs) == (result.id, "add", [1], {"y": 2})
    (snapshot,) = ranch.status()
    assert (snapshot.queue, snapshot.waiting) == (ranch.default_queue, 1)


def test_memory_is_refused_to_a_process_that_was_forked() -> None:
    program = """
import os, warnings
warnings.simplefilter("ignore")
from celery import Celery
from celery_ranch import ConfigurationError, lru_task
app = Celery("forked", broker="memory://")
@lru_task(app)
def task(): ...
task.lru_delay("acme")
child = os.fork()
if child:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    task.lru_delay("acme")
except ConfigurationError as error:
    os._exit(7)
os._exit(1)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert ended.returncode == 7

"""A message goes to the fair side of the one queue that it would have gone to."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celery_ranch import Ranch, configure
from celery_ranch.publishing.queues import fair_destination, matches_topic

FEEDS = Exchange("feeds", type="topic")
QUEUES = (
    Queue("celery", Exchange("celery"), routing_key="celery"),
    Queue("high", Exchange("high"), routing_key="high"),
    Queue("news", FEEDS, routing_key="feed.news.#"),
    Queue("sport", FEEDS, routing_key="feed.sport"),
    Queue("everything", Exchange("two", type="topic"), routing_key="#"),
    Queue("again", Exchange("two", type="topic"), routing_key="#"),
    Queue("fan", Exchange("fan", type="fanout")),
    Broadcast("all"),
)


def app_with(settings: dict[str, Any] | None = None, **conf: Any) -> Celery:
    app = Celery("queues", broker="memory://", set_as_current=False)
    app.conf.update(conf)
    app.conf.celery_ranch = settings or {}
    configure(app)
    return app


@pytest.fixture
def app() -> Celery:
    return app_with(task_queues=QUEUES, task_create_missing_queues=False)


@pytest.mark.parametrize(
    "options, queue",
    [
        ({}, "celery"),
        ({"queue": "high"}, "high"),
        ({"queue": "high", "routing_key": "ignored by Celery"}, "high"),
        ({"queue": QUEUES[1]}, "high"),
        ({"queue": "all"}, None),
        ({"queue": "celery_ranch"}, "celery"),
        ({"queue": "celery", "exchange": "feeds", "routing_key": "feed.news.uk"}, "news"),
        ({"queue": "celery", "exchange": FEEDS, "routing_key": "feed.sport"}, "sport"),
        ({"queue": "celery", "exchange": "feeds", "routing_key": "nowhere"}, None),
        ({"queue": "celery", "exchange": "unheard", "routing_key": "high"}, None),
        ({"queue": "celery", "exchange": "fan", "routing_key": "x"}, "fan"),
        ({"queue": "celery", "exchange": "high", "routing_key": "high"}, "high"),
        ({"queue": "celery", "exchange": "two", "routing_key": "x"}, None),
        ({"queue": "everything"}, None),
        ({"queue": "news"}, "news"),
        ({"exchange": "celery_delayed_27", "routing_key": "0." * 28 + "feed.sport"}, "sport"),
        ({"exchange": "celery_delayed_27", "routing_key": "0." * 28 + "#"}, None),
        ({"exchange": "somewhere"}, None),
    ],
)
def test_a_route_leads_to_its_only_queue_or_to_none(
    app: Celery, options: dict[str, Any], queue: str | None
) -> None:
    assert fair_destination(options, app.amqp.queues, Ranch(app)) == queue


@pytest.mark.parametrize(
    "binding, key, matches",
    [
        ("#", "", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.b.b.c", True),
        ("a", "a.b", False),
    ],
)
def test_topics_match_as_in_rabbitmq(binding: str, key: str, matches: bool) -> None:
    assert matches_topic(binding, key) is matches


@pytest.mark.parametrize(
    "app",
    [
        app_with({"queue": "fair"}),
        app_with(task_routes={"celery_ranch.prioritize_task": {"queue": "fair"}}),
        app_with(task_routes={"celery_lru_priority.prioritize_task": "fair"}),
        app_with(task_routes=([("celery_ranch.*", {"queue": Queue("fair")})],)),
        app_with({"queue": "fair"}, task_create_missing_queues=False, task_queues=QUEUES),
    ],
    ids=["setting", "route", "older route", "route with a Queue", "queues declared"],
)
def test_the_default_queue_s_fair_side_can_be_another_queue_s(app: Celery) -> None:
    assert Ranch(app).default_queue == "fair"
    assert fair_destination({"queue": "celery"}, app.amqp.queues, Ranch(app)) == "fair"
    assert fair_destination({"queue": "celery_ranch"}, app.amqp.queues, Ranch(app)) == "fair"
    app.amqp.queues.select(["celery_ranch"])
    assert list(app.amqp.queues.consume_from) == ["fair"]


def test_the_guide_s_route_to_the_alias_names_the_default_queue() -> None:
    app = app_with(
        task_routes={"celery_ranch.prioritize_task": {"queue": "celery_ranch"}},
        task_default_queue="mine",
    )
    assert Ranch(app).default_queue == "mine"


@pytest.mark.parametrize("alias", ["celery_ranch", "celery_lru_priority"])
def test_an_alias_can_be_consumed_excluded_and_routed_to(alias: str) -> None:
    app = app_with(
        task_queues=QUEUES,
        task_create_missing_queues=False,
        task_routes={"tasks.render": {"queue": alias}},
    )
    queues = app.amqp.queues
    assert alias in queues
    assert queues[alias].name == "celery"
    assert app.amqp.router.route({}, "tasks.render")["queue"].name == "celery"
    queues.select([alias, "high"])
    assert list(queues.consume_from) == ["celery", "high"]
    queues.deselect([alias])
    assert list(queues.consume_from) == ["high"]


def test_a_declared_queue_that_bears_an_alias_is_still_celery_s_own() -> None:
    app = app_with(task_queues=[*QUEUES, Queue("celery_ranch")])
    assert app.amqp.queues["celery_ranch"].name == "celery_ranch"
    assert Ranch(app).fair_queue("celery_ranch") == "celery"


def test_queues_that_nobody_declared_are_still_refused() -> None:
    app = app_with(task_queues=QUEUES, task_create_missing_queues=False)
    with pytest.raises(KeyError):
        app.amqp.queues["unheard"]

"""Settings are read once, from either dict, and a wrong one is named."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_ranch import ConfigurationError, SerializerType
from celery_ranch.config import Settings, read_settings


def app_with(settings: Any, **conf: Any) -> Celery:
    app = Celery("settings", broker="memory://", set_as_current=False)
    app.conf.update(conf)
    app.conf.celery_ranch = settings
    return app


def key_of_tenant(task: str, args: Any, kwargs: Any) -> str:
    return "a-tenant"


def test_without_any_setting_every_one_has_its_default() -> None:
    app = Celery("settings", broker="memory://", set_as_current=False)
    assert read_settings(app) == Settings()


def test_the_comprehensive_example_of_the_guide_is_taken_as_it_is() -> None:
    settings = read_settings(
        app_with(
            {
                "redis_prefix": "myapp:",
                "redis_serializer": SerializerType.JSON,
                "redis_key_ttl": 3600,
                "redis_max_retries": 3,
                "redis_use_ssl": True,
                "metrics_enabled": True,
            }
        )
    )
    assert (settings.redis_prefix, settings.redis_use_ssl) == ("myapp:", True)


def test_django_settings_arrive_by_their_namespace() -> None:
    django_settings = SimpleNamespace(CELERY_RANCH={"queue": "fair"})
    app = Celery("settings", broker="memory://", set_as_current=False)
    app.config_from_object(django_settings, namespace="CELERY")
    assert read_settings(app).queue == "fair"


def test_two_dicts_that_differ_are_an_error() -> None:
    app = app_with({"queue": "one"}, ranch={"queue": "another"})
    with pytest.raises(ConfigurationError, match="is given too"):
        read_settings(app)


def test_an_unknown_setting_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'redis_prefix'") as caught:
        read_settings(app_with({"redis_prefixx": "a:"}))
    assert caught.value.setting == "celery_ranch['redis_prefixx']"


@pytest.mark.parametrize(
    "name, value",
    [
        ("redis_prefix", ""),
        ("redis_prefix", 3),
        ("redis_serializer", "yaml"),
        ("redis_key_ttl", 0),
        ("redis_key_ttl", 1.5),
        ("redis_key_ttl", True),
        ("redis_max_retries", -1),
        ("redis_use_ssl", "yes"),
        ("metrics_enabled", 1),
        ("url", 6379),
        ("queue", ""),
        ("lru_key", 42),
        ("lru_key", ""),
        ("lru_key", "no_such_module:name"),
        ("inherit_key", None),
        ("lookahead_seconds", -0.1),
        ("lease_seconds", 0.5),
        ("lease_seconds", 86_401),
        ("lease_seconds", float("nan")),
        ("lease_seconds", "30"),
        ("max_deliveries", 0),
        ("dead_letter_limit", None),
    ],
)
def test_a_wrong_value_is_named_with_its_setting_and_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(app_with({name: value}))
    error = caught.value
    assert error.setting == f"celery_ranch[{name!r}]"
    assert error.value is value
    assert error.allowed


def test_settings_that_are_no_dict_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="a dict of settings"):
        read_settings(app_with(["redis_prefix"]))


@pytest.mark.parametrize(
    "given, kept",
    [
        (None, None),
        ("acme", ("acme",)),
        (("tenant:42",), ("tenant:42",)),
        (key_of_tenant, key_of_tenant),
    ],
)
def test_a_key_setting_is_a_key_or_a_function(given: Any, kept: Any) -> None:
    assert read_settings(app_with({"lru_key": given})).lru_key == kept


def test_a_key_setting_with_a_colon_is_the_path_of_a_function() -> None:
    settings = read_settings(app_with({"lru_key": "celery_ranch.scheduling.model:key_path"}))
    assert getattr(settings.lru_key, "__name__", None) == "key_path"


def test_pickle_is_refused_where_the_app_does_not_accept_it() -> None:
    with pytest.raises(ConfigurationError, match="accept_content"):
        read_settings(app_with({"redis_serializer": "pickle"}))


def test_pickle_is_taken_where_the_app_accepts_it() -> None:
    app = app_with({"redis_serializer": "pickle"}, accept_content=["json", "pickle"])
    assert read_settings(app).redis_serializer is SerializerType.PICKLE


def test_every_setting_says_what_it_takes() -> None:
    assert all(field.metadata["limits"].allowed for field in fields(Settings))

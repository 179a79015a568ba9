"""Environment variables become Celery's settings, in examples/backend_queues."""

import doctest
import importlib.util
import sys
from pathlib import Path

import pytest
from celery.app.defaults import DEFAULTS, NAMESPACES
from celery.exceptions import ImproperlyConfigured

PATH = Path(__file__).parents[2] / "examples/backend_queues/infrastructure/environment.py"


@pytest.fixture(scope="module")
def environment():
    """The module, which is no part of any package that is installed."""
    spec = importlib.util.spec_from_file_location("environment_of_backend_queues", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def read(environment):
    return environment.settings_from_environment


READ = {
    "CELERY_BROKER_URL=redis://localhost:6379/1": {"broker_url": "redis://localhost:6379/1"},
    "CELERY_RESULT_BACKEND=redis://localhost/2": {"result_backend": "redis://localhost/2"},
    "CELERY_TASK_TIME_LIMIT=3600": {"task_time_limit": 3600.0},
    "CELERY_TASK_SOFT_TIME_LIMIT=0.5": {"task_soft_time_limit": 0.5},
    "CELERY_WORKER_PREFETCH_MULTIPLIER=4": {"worker_prefetch_multiplier": 4},
    "CELERY_WORKER_MAX_TASKS_PER_CHILD=1000": {"worker_max_tasks_per_child": 1000},
    "CELERY_WORKER_POOL=prefork": {"worker_pool": "prefork"},
    "CELERY_WORKER_CONCURRENCY=4": {"worker_concurrency": 4},
    "CELERY_TASK_ACKS_LATE=no": {"task_acks_late": False},
    "CELERY_TASK_ACKS_LATE=True": {"task_acks_late": True},
    "CELERY_TASK_DEFAULT_PRIORITY=7": {"task_default_priority": 7},
    "CELERY_RESULT_BACKEND_MAX_RETRIES=inf": {"result_backend_max_retries": float("inf")},
    "CELERY_RESULT_COMPRESSION=gzip": {"result_compression": "gzip"},
    "CELERY_BEAT_CRON_STARTING_DEADLINE=60": {"beat_cron_starting_deadline": 60},
    "CELERY_SECURITY_KEY_PASSWORD=secret": {"security_key_password": b"secret"},
    "CELERY_IMPORTS=shop.tasks, shop.more": {"imports": ("shop.tasks", "shop.more")},
    "CELERY_ACCEPT_CONTENT=json,pickle": {"accept_content": ("json", "pickle")},
    'CELERY_BROKER_TRANSPORT_OPTIONS={"max_retries": 3}': {
        "broker_transport_options": {"max_retries": 3}
    },
    'CELERY_TASK_ROUTES={"a.*": "a"}': {"task_routes": {"a.*": "a"}},
    "CELERY_TASK_ROUTES=shop.routes.route": {"task_routes": "shop.routes.route"},
}


@pytest.mark.parametrize("line", READ)
def test_a_variable_becomes_its_setting_with_the_setting_s_type(read, line):
    variable, _, value = line.partition("=")
    settings = read({variable: value})
    assert settings == READ[line]
    assert [type(each) for each in settings.values()] == [type(v) for v in READ[line].values()]


REFUSED = {
    "CELERY_WORKER_CONCURRENCY=four": "a whole number",
    "CELERY_WORKER_PREFETCH_MULTIPLIER=4.5": "a whole number",
    "CELERY_TASK_DEFAULT_PRIORITY=high": "a whole number",
    "CELERY_TASK_TIME_LIMIT=1h": "a number",
    "CELERY_TASK_TIME_LIMIT=nan": "a number",
    "CELERY_TASK_ACKS_LATE=late": "true or false, yes or no, on or off, 1 or 0",
    "CELERY_BROKER_TRANSPORT_OPTIONS=max_retries": "an object in JSON",
    "CELERY_BROKER_TRANSPORT_OPTIONS=[1]": "an object in JSON",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_name_its_value_and_what_is_allowed(read, line):
    variable, _, value = line.partition("=")
    with pytest.raises(ImproperlyConfigured) as refused:
        read({"CELERY_TASK_SOFT_TIME_LIMIT": "1", variable: value})
    assert str(refused.value).startswith(f"{variable} is {value!r}; allowed: {REFUSED[line]}")


def test_auto_is_a_number_of_processes_exactly_where_celery_takes_it(read):
    given = {"CELERY_WORKER_CONCURRENCY": "auto"}
    if NAMESPACES["worker"]["concurrency"].type == "any":
        assert read(given) == {"worker_concurrency": "auto"}
    else:
        with pytest.raises(ImproperlyConfigured):
            read(given)


@pytest.mark.parametrize(
    "variable", ["HOME", "CELERY_LOADER", "CELERY_APP", "CELERYD_CONCURRENCY", "celery_timezone"]
)
def test_what_names_no_setting_is_left_alone(read, variable):
    assert read({variable: "something"}) == {}


def test_an_empty_variable_is_not_set(read):
    assert read({"CELERY_WORKER_CONCURRENCY": ""}) == {}


def test_every_setting_of_celery_can_be_given(environment, read):
    assert {*environment._KINDS} == {*DEFAULTS}
    assert {*environment._KINDS.values()} <= {*environment._READERS}


def test_its_example_is_right(environment):
    assert doctest.testmod(environment) == (0, 1)

"""One worker for all tests of a module, once beside Redis and once beside RabbitMQ."""

import pytest

from tests.workers import FairApp

BROKERS = ("redis", "rabbitmq")


@pytest.fixture(scope="module", params=BROKERS)
def broker(request):
    """The broker of the module's application; its store and results are Redis."""
    return request.param


@pytest.fixture(scope="module")
def broker_url(broker, request):
    return request.getfixturevalue("redis_url" if broker == "redis" else "rabbitmq_url")


@pytest.fixture(scope="module")
def app(request, tmp_path_factory, redis_url, broker_url):
    """The application that the module names in APP, its settings in CELERY and RANCH.

    Tests of a module share it: each uses keys and names of its own, and
    leaves nothing behind that could wait, run or be paused.
    """
    module = request.module
    app = FairApp(
        tmp_path_factory.mktemp(module.APP),
        redis_url,
        module=module.APP,
        celery={"broker_url": broker_url, **getattr(module, "CELERY", {})},
        ranch=getattr(module, "RANCH", {}),
    )
    yield app
    app.close()


@pytest.fixture(scope="module")
def worker(app, request):
    """A prefork worker of that application with two processes."""
    with app.worker(*getattr(request.module, "OPTIONS", ())) as worker:
        yield worker


@pytest.fixture
def make_app(request, tmp_path, redis_url):
    """Makes applications of the module in APP for one test, with settings of their own."""
    made = []

    def make(**settings):
        made.append(FairApp(tmp_path, redis_url, module=request.module.APP, **settings))
        return made[-1]

    yield make
    for app in made:
        app.close()

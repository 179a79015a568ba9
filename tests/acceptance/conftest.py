"""Applications for acceptance tests."""

import pytest

from tests.workers import FairApp


@pytest.fixture
def fair_app(tmp_path, redis_url):
    """Make applications whose broker, results and store are the tests' Redis."""
    made = []

    def make(**settings):
        made.append(FairApp(tmp_path, redis_url, **settings))
        return made[-1]

    yield make
    for app in made:
        app.close()

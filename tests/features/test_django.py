"""A Django project with its settings in the CELERY namespace, and a worker by the command."""

import pytest

from tests.workers import FairApp


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(tmp_path, redis_url, module="django_project")
    yield app
    app.close()


def test_tasks_called_in_a_transaction_and_by_a_command_run_on_behalf_of_their_keys(app):
    with app.worker():
        app.run("django", "order", "--settings=django_project.settings")
        ran = app.await_recorded("ran", 6 + 2 + 2 + 1)
        app.await_idle()
        assert app.records.llen(f"{app.name}:ran") == len(ran)

    names = ("shared", "shared_by_base", "decorated")
    at_once = ("shared_by_base", "decorated")
    assert sorted(ran) == sorted(
        [f"{name} on commit for acme" for name in names]
        + [f"{name} with options for other" for name in names]
        # What is called at once is called whether or not the transaction holds.
        + [f"{name} at once for third" for name in at_once] * 2
        + ["by a command for operator"]
    )
    # None of it went through the broker.
    _, page = app.engine.keys(app.name)
    assert {key.key for key in page} == {("acme",), ("other",), ("third",), ("operator",)}

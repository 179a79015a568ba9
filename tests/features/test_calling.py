"""Every way to call a task, on fair tasks of a real worker."""

import pytest

APP = "calling_app"

pytestmark = pytest.mark.usefixtures("worker")


def test_delay_runs_a_task_by_the_key_that_the_setting_gives(app):
    assert app.send("add", 2, 3, lru_key="delay").get(timeout=20) == 5

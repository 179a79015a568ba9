"""Tasks that kill what runs them, each time: their workers come back, they do not."""

import os
import signal
from contextlib import ExitStack, suppress

import pytest

from celery_ranch import UnknownEntryError
from tests.chaos.ledger import Ledger
from tests.servers import eventually
from tests.workers import FairApp

MAX_DELIVERIES = 1


@pytest.fixture
def app(tmp_path, redis_url):
    app = FairApp(
        tmp_path,
        redis_url,
        module="chaos_app",
        celery={"worker_lost_wait": 0.5},
        # Short, because a worker that was killed is only missed when they have run out.
        ranch={"lease_seconds": 1.0, "max_deliveries": MAX_DELIVERIES},
    )
    yield app
    app.close()


class ServiceManager:
    """Keeps one worker running: each time it is looked at, a dead one is replaced."""

    def __init__(self, app, stack):
        self._app = app
        self._stack = stack
        self._worker = None
        self.deaths = -1

    def look(self):
        if self._worker is not None and self._worker.process.poll() is None:
            return
        self.deaths += 1
        self._bury()
        self._worker = self._stack.enter_context(
            self._app.worker(name=f"w{self.deaths}", concurrency=1, ready=False)
        )
        self._stack.callback(self._bury)

    def await_dead_letters(self, count):
        """Look after the worker until there are so many dead letters, and return them."""

        def are_there():
            self.look()
            return len(self._app.ranch.dead_letters()) == count

        eventually(are_there, 120, f"{count} dead letters")
        self.look()
        return self._app.ranch.dead_letters()

    def _bury(self):
        # A worker that was killed leaves its process behind.
        if self._worker is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)


@pytest.fixture
def manager(app):
    with ExitStack() as stack:
        yield ServiceManager(app, stack)


def assert_tells_why(letter, poison, key):
    assert letter.entry_id == poison.id
    assert letter.key == (key,)
    assert letter.reason == "too many deliveries"
    assert letter.deliveries == MAX_DELIVERIES + 1


@pytest.mark.timeout(300)
def test_what_kills_its_worker_each_time_is_a_dead_letter_while_others_go_on(app, manager):
    ledger = Ledger(app)
    poison = app.send("kill", "worker", lru_key="mallory")
    for number in range(10):
        ledger.accept(app.send("again_if_lost", lru_key=f"k{number % 3}"))

    (letter,) = manager.await_dead_letters(1)
    assert_tells_why(letter, poison, "mallory")
    # The first that is killed may die before it can say what of; no other can.
    assert MAX_DELIVERIES + 1 <= manager.deaths <= MAX_DELIVERIES + 2
    ledger.await_all_ended()
    ledger.assert_none_lost()

    app.records.set(f"{app.name}:harmless", 1)
    app.ranch.retry_dead(letter.entry_id)
    assert app.ranch.dead_letters() == ()
    assert poison.get(timeout=60) == "harmless"
    app.await_idle()


@pytest.mark.timeout(300)
def test_what_kills_its_process_each_time_is_a_dead_letter_to_retry_or_to_delete(app, manager):
    ledger = Ledger(app)
    poisons = {key: app.send("kill", "process", lru_key=key) for key in ("mallory", "trudy")}
    for number in range(10):
        ledger.accept(app.send("again_if_lost", lru_key=f"k{number % 3}"))

    for letter in manager.await_dead_letters(2):
        assert_tells_why(letter, poisons[letter.key[0]], letter.key[0])
    assert manager.deaths == 0
    ledger.await_all_ended()
    ledger.assert_none_lost()

    app.records.set(f"{app.name}:harmless", 1)
    app.ranch.retry_dead(poisons["mallory"].id)
    app.ranch.delete_dead(poisons["trudy"].id)
    assert poisons["mallory"].get(timeout=60) == "harmless"
    assert app.ranch.dead_letters() == ()
    for verb in (app.ranch.retry_dead, app.ranch.delete_dead):
        with pytest.raises(UnknownEntryError):
            verb(poisons["trudy"].id)
    app.await_idle()

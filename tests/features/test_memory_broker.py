"""A worker in this process, beside the memory broker and with the memory store."""

import time
import warnings

from celery import Celery
from celery.contrib.testing.worker import start_worker

from celery_ranch import lru_task


def test_a_worker_in_this_process_delays_and_retries_beside_the_memory_broker():
    app = Celery("memory", broker="memory://", backend="cache+memory://", set_as_current=False)
    tries = []

    @lru_task(app, name="retried_in_memory", bind=True)
    def retried(self):
        tries.append(time.time())
        if len(tries) == 1:
            raise self.retry(countdown=0.2)
        return len(tries)

    @app.task(name="plain_in_memory")
    def plain():
        return "plain"

    sent_at = time.time()
    with warnings.catch_warnings():
        # That memory is one process's is said once for each process.
        warnings.simplefilter("ignore", UserWarning)
        fair = retried.apply_async(lru_key="a", countdown=0.3)
    beside = plain.delay()
    with start_worker(app, pool="threads", concurrency=1, perform_ping_check=False):
        assert fair.get(timeout=30, disable_sync_subtasks=False) == 2
        assert beside.get(timeout=30, disable_sync_subtasks=False) == "plain"
    assert tries[0] >= sent_at + 0.3
    assert tries[1] >= tries[0] + 0.2

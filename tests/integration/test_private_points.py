"""What is read of other libraries without their leave; this fails when it moves."""

import os
import select
import signal
import threading
import time
from contextlib import suppress
from inspect import isgenerator
from types import SimpleNamespace
from weakref import ref

import celery
import pytest
from celery import Celery, group
from celery._state import _task_stack
from celery.concurrency.prefork import TaskPool
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu.asynchronous import Hub, set_event_loop
from kombu.utils.limits import TokenBucket

from celery_ranch import Ranch, configure
from celery_ranch.engines.redis import RedisEngine
from celery_ranch.engines.sentinel import MasterConnection
from celery_ranch.publishing.batches import BatchProducer
from celery_ranch.worker.pipes import ResultPipes
from celery_ranch.worker.prefetch import restore_on_the_loop
from celery_ranch.worker.requests import keep_in_pipe


def test_a_connection_of_redis_py_has_a_socket_that_a_loop_can_watch(redis_url):
    connection = RedisEngine(redis_url).connect()
    connection.connect()
    try:
        connection.send_command("PING")
        readable, _, _ = select.select([connection._sock.fileno()], [], [], 10)

        assert readable == [connection._sock.fileno()]
        assert connection.read_response() == b"PONG"
    finally:
        connection.disconnect()


def test_a_connection_of_redis_py_asks_for_the_master_also_when_it_reconnects_by_itself(
    redis_server,
):
    asked = []

    def find():
        asked.append("where?")
        return "127.0.0.1", redis_server.port

    finder = SimpleNamespace(find=find, check=lambda connection: connection.on_connect())
    connection = MasterConnection(finder=finder)
    for times in (1, 2):
        connection.send_command("PING")
        assert connection.read_response() in (b"PONG", "PONG")
        assert len(asked) == times
        connection.disconnect()


@pytest.fixture
def hub():
    hub = Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(None)


@pytest.fixture
def pool(hub):
    app = Celery("private-points", broker="memory://", set_as_current=False)
    pool = TaskPool(limit=1, threads=False, app=app, initargs=(app, "here"))
    pool.start()
    pool.register_with_event_loop(hub)
    yield pool
    # Celery reads on what a process had read in part when it was killed.
    with suppress(EOFError):
        pool.terminate()


def run_until(hub, condition):
    deadline = time.monotonic() + 20
    hub.call_repeatedly(0.05, lambda: None)
    while not condition():
        assert time.monotonic() < deadline
        hub.run_once()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_job_that_was_written_to_a_process_is_heard_of_after_the_pool_forgot_it(hub, pool):
    heard = []
    result = pool.apply_async(
        len, ("four",), accept_callback=lambda *_: heard.append("start"), callback=heard.append
    )
    assert Request._apply_result is None
    request = SimpleNamespace(_apply_result=ref(result))
    assert not keep_in_pipe(request, pool)
    assert not result._accepted
    run_until(hub, lambda: result._write_to is not None)

    pool.flush()  # as Celery does when the broker's connection breaks
    assert result._job not in pool._pool._cache
    assert keep_in_pipe(request, pool)
    run_until(hub, lambda: heard == ["start", 4])
    assert result._accepted


def die_unread(hub, pool, result):
    """Kill the process that a job was written to before it has read it."""
    [process] = pool._pool._pool
    run_until(hub, lambda: process.inqW_fd in pool._pool._all_inqueues)
    os.kill(process.pid, signal.SIGSTOP)
    job = result()
    run_until(hub, lambda: job._write_to is process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return job


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_job_that_a_dead_process_left_in_its_pipe_is_heard_of_when_the_next_one_runs_it(
    hub, pool, is_noticed
):
    heard = []
    job = die_unread(
        hub,
        pool,
        lambda: pool.apply_async(
            len, ("four",), accept_callback=lambda *_: heard.append("start"), callback=heard.append
        ),
    )
    if is_noticed:
        pool.flush()
    else:
        pool._pool._cache.pop(job._job)
    # Before 5.6 Celery then does away with the pipe, and with the job.
    is_kept = not is_noticed or celery.VERSION[:2] >= (5, 6)
    assert keep_in_pipe(SimpleNamespace(_apply_result=ref(job)), pool) is is_kept
    if not is_kept:
        assert job not in pool._pool.outbound_buffer
        return
    run_until(hub, lambda: len(heard) >= 2)
    assert heard == ["start", 4]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_pool_had_read_in_part_is_read_on_when_the_loop_was_reset(hub, pool):
    pipes = ResultPipes()
    pipes.watch(pool)
    pool.register_with_event_loop(hub)
    [process] = pool._pool._pool
    heard = []
    pool.apply_async(bytes, (20_000_000,), callback=lambda result: heard.append(len(result)))
    run_until(hub, lambda: isgenerator(hub.readers[process.outqR_fd][0]))
    assert heard == []

    hub.reset()  # as Celery does when the broker's connection breaks
    pipes.watch(pool)
    pool.register_with_event_loop(hub)
    pipes.resume(pool, hub)
    run_until(hub, lambda: heard == [20_000_000])
    pool.apply_async(len, ("four",), callback=heard.append)
    run_until(hub, lambda: heard[1:] == [4])


def test_celery_stacks_the_tasks_that_run_and_their_requests():
    app = Celery("stacks", broker="memory://", set_as_current=False)
    found = []

    @app.task(shared=False, bind=True)
    def look(self):
        assert _task_stack.stack[-1] is self
        found.extend(self.request_stack.stack)

    assert not _task_stack.stack
    look.apply(task_id="mine")

    (request,) = found
    assert (request.id, request.is_eager, request.called_directly) == ("mine", True, False)


def test_a_group_takes_one_producer_for_all_of_its_members(redis_url, redis_prefix):
    app = Celery("private-points", broker="memory://", set_as_current=False)
    app.conf.celery_ranch = {"url": redis_url, "redis_prefix": redis_prefix}
    configure(app)
    producers = []

    class Noted(app.Task):
        def apply_async(self, *args, producer=None, **options):
            producers.append(producer)
            return super().apply_async(*args, producer=producer, **options)

    @app.task(base=Noted, name="noted", shared=False)
    def noted(number): ...

    group([noted.s(1), noted.s(2)], app=app).apply_async(lru_key="acme")
    assert isinstance(producers[0], BatchProducer)
    assert producers[0] is producers[1]
    with app.amqp.producer_pool.acquire() as producer:
        assert not isinstance(producer, BatchProducer)
    Ranch(app).engine.close()


def test_a_bucket_of_celery_holds_requests_with_their_tokens():
    bucket = TokenBucket(1.0)
    scheduled = SimpleNamespace(_schedule_bucket_request=lambda bucket: None)
    Consumer._limit_task(scheduled, "request", bucket, 1)

    assert list(bucket.contents) == [("request", 1)]


def test_a_consumer_restores_its_prefetch_count_by_a_method_that_may_be_replaced():
    consumer = Consumer.__new__(Consumer)
    consumer.__dict__.update(
        app=Celery("private-points", set_as_current=False),
        hub=None,
        pool=SimpleNamespace(num_processes=4),
        prefetch_multiplier=2,
        initial_prefetch_count=1,
        qos=SimpleNamespace(
            _mutex=threading.Lock(), value=1, set=lambda count: asked.append(count)
        ),
        _maximum_prefetch_restored=False,
        _pending_operations=[],
    )
    asked = []
    restore_on_the_loop(consumer)
    restore = consumer._restore_prefetch_count_after_connection_restart
    thread = threading.Thread(target=restore, args=("promise",))
    thread.start()
    thread.join(10)

    assert asked == []
    assert len(consumer._pending_operations) == 1
    consumer._pending_operations.pop()()
    assert asked == [3]

"""How many entries a worker leases: what it can start, and a lookahead in time."""

from types import SimpleNamespace

import pytest
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool

from celery_ranch.worker.capacity import Capacity


def make_capacity(size=4, *, pool=None, autoscaler=None):
    if pool is None:
        pool = SimpleNamespace(num_processes=size, uses_semaphore=True, is_green=False)
    consumer = SimpleNamespace(pool=pool, controller=SimpleNamespace(autoscaler=autoscaler))
    return Capacity(consumer, lookahead_seconds=0.05)


def test_before_the_first_run_time_a_worker_leases_what_it_can_start():
    assert make_capacity(4).room(0) == 4


def test_ten_second_tasks_get_no_lookahead():
    capacity = make_capacity(4)
    capacity.learn(10.0)

    assert capacity.room(0) == 4


def test_millisecond_tasks_get_dozens():
    capacity = make_capacity(1)
    capacity.learn(0.001)

    assert capacity.lookahead == 50


def test_tasks_that_take_no_time_get_a_bounded_lookahead():
    capacity = make_capacity(1)
    capacity.learn(0.0)

    assert capacity.lookahead == 100


def test_one_long_task_among_short_ones_shortens_the_lookahead():
    capacity = make_capacity(1)
    capacity.learn(0.001)
    capacity.learn(10.0)

    assert capacity.lookahead == 0


def test_room_is_never_negative():
    assert make_capacity(2).room(5) == 0


def test_the_size_is_read_anew_when_the_pool_grows():
    pool = SimpleNamespace(num_processes=1, uses_semaphore=True, is_green=False)
    capacity = make_capacity(pool=pool)
    pool.num_processes = 3

    assert capacity.room(0) == 3


def test_the_size_is_the_autoscalers_maximum_of_this_moment():
    autoscaler = SimpleNamespace(max_concurrency=8)
    capacity = make_capacity(1, autoscaler=autoscaler)
    assert capacity.room(0) == 8
    autoscaler.max_concurrency = 2

    assert capacity.room(0) == 2


@pytest.mark.parametrize("pool_class, ahead", [(PreforkPool, 0), (SoloPool, 0), (ThreadPool, 2)])
def test_only_a_pool_of_threads_is_handed_what_was_leased_ahead_and_never_all(pool_class, ahead):
    pool = pool_class(limit=2)
    pool._pool = SimpleNamespace(_processes=2)
    capacity = make_capacity(pool=pool)
    capacity.learn(0.001)

    assert capacity.lookahead > 2
    assert capacity.handed_over_at_most == capacity.size + ahead


def test_a_pool_of_threads_is_handed_nothing_ahead_of_long_tasks():
    capacity = make_capacity(pool=ThreadPool(limit=2))
    capacity.learn(10.0)

    assert capacity.handed_over_at_most == 2

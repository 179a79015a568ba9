"""Watching a Celery request: when it starts, ends, and how long it ran."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.request import Request

from celery_ranch.worker.leases import Holding, LeaseBook

__all__ = ["hear_errors", "job_of", "keep_in_pipe", "leave", "watch"]

logger = get_logger(__name__)


class _OnFailure:
    """What the pool is to call when a watched request failed."""

    def __init__(self, failed: Callable[..., None], end: Callable[..., None]) -> None:
        self._failed = failed
        self._end = end

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        try:
            self._failed(*args, **kwargs)
        finally:
            self._end(failed=_is_failure(args[0] if args else None))


def watch(
    request: Request,
    holding: Holding,
    book: LeaseBook,
    *,
    before_run: Callable[[], None],
    on_run: Callable[[Holding, float, bool], None],
    ends_unheard: bool,
) -> None:
    """Let the book hear what the pool tells the request.

    The callbacks are wrapped on the request itself. Subclassing would not do:
    users set `Request` and `Strategy` of their own, and Celery wraps either
    in a class whose `on_success` never calls `super()` (Celery 5.4 to 5.7,
    `create_request_cls`). All of them hand `self.on_accepted` and its
    siblings to the pool, which is where these are picked up.

    Args:
        request: What Celery is about to execute.
        holding: The lease it came from.
        book: Where its start and end are reported, exactly once each.
        before_run: Called when a process has taken it, before it runs where
            the pool runs tasks inline.
        on_run: Called when it has ended, with how long it ran in seconds, and whether it
            failed.
        ends_unheard: Whether the pool runs nothing, and says nothing more,
            after an error in `on_accepted`: so it is with threads and green
            ones. What is to be terminated before it began (NotImplementedError
            with threads, the end of a green one) does not run. After any other
            error it does, as a pool of processes runs it: the message is
            acknowledged by then, and it is something else that failed.
    """
    holding.request = request
    accepted, succeeded = request.on_accepted, request.on_success
    failed, timed_out = request.on_failure, request.on_timeout

    def on_accepted(pid: int, time_accepted: float) -> None:
        if ends_unheard and not book.is_kept(holding):
            # It waited in the pool's own queue.
            leave(request, holding, book)
            raise Ignore("the lease has passed on")
        book.start(holding, monotonic(), acknowledged=not request.task.acks_late)
        try:
            accepted(pid, time_accepted)
        except BaseException as error:
            if not ends_unheard:
                raise
            if isinstance(error, NotImplementedError) or not isinstance(error, Exception):
                book.requeue(holding)
                raise
            logger.error("A task starts though this could not be told of it: %r", error)
        before_run()

    def on_success(outcome: tuple[bool, Any, float], **kwargs: Any) -> None:
        try:
            succeeded(outcome, **kwargs)
        finally:
            # Of a task that exits the interpreter, a pool of threads gives
            # no more than the error (Celery 5.4 to 5.7).
            if isinstance(outcome, tuple):
                end(outcome[2])
            else:
                end(failed=True)

    def on_timeout(soft: bool, timeout: float) -> None:
        try:
            timed_out(soft, timeout)
        finally:
            # A hard limit kills the process and calls on_failure as well.
            if not soft:
                end(failed=True)

    def end(run_seconds: float | None = None, *, failed: bool = False) -> None:
        _unwatch(request, holding)
        if holding.is_finished:
            return
        if run_seconds is None:
            run_seconds = monotonic() - holding.started_at if holding.is_started else 0.0
        holding.run_us = int(run_seconds * 1_000_000)
        if not request.acknowledged:
            # It was cancelled, or its process went away: nobody will
            # acknowledge it any more.
            book.requeue(holding)
            return
        on_run(holding, run_seconds, failed)
        book.finish(holding)

    request.on_accepted, request.on_success = on_accepted, on_success
    request.on_failure, request.on_timeout = _OnFailure(failed, end), on_timeout


def _is_failure(info: Any) -> bool:
    """Whether what the pool tells of a failure is one, and no retry or rejection."""
    error = getattr(info, "exception", None)
    # So a process of the pool sends it (billiard 4).
    error = error.exc if isinstance(error, ExceptionWithTraceback) else error
    return not isinstance(error, (Ignore, Reject, Retry))


def _unwatch(request: Request, holding: Holding) -> None:
    """Let go of a request that has ended; what the pool has been given still works.

    Otherwise the two would keep each other until Python looks for cycles, and
    that would take more time than all else that a worker does with a short task.
    """
    holding.request = None
    for name in ("on_accepted", "on_success", "on_failure", "on_timeout"):
        request.__dict__.pop(name, None)


def hear_errors(pool: Any) -> None:
    """Let a pool without processes say that Celery's tracer itself failed.

    So it does when a result cannot be stored. A pool of processes calls
    `on_failure` then; threads, green ones and the solo pool call nobody
    (Celery 5.4 to 5.7, `apply_target`), and a request that is watched would
    keep its slot and its entry for as long as the worker lives. Here it ends
    as it does with processes.
    """
    apply = pool.on_apply

    def on_apply(target: Callable[..., Any], *args: Any, **options: Any) -> Any:
        failed = options.get("error_callback")
        if not isinstance(failed, _OnFailure):
            return apply(target, *args, **options)

        def heard(*target_args: Any, **target_kwargs: Any) -> Any:
            try:
                return target(*target_args, **target_kwargs)
            except Exception:
                try:
                    failed(ExceptionInfo())
                except Exception as error:
                    logger.error("A task's failure could not be told of: %r", error)
                raise

        return apply(heard, *args, **options)

    pool.on_apply = on_apply


def job_of(request: Request) -> Any:
    """Return what the pool knows a request by; None before it has it or after it forgot it.

    Celery refers to it weakly (`_apply_result`, Celery 5.4 to 5.7): who is to
    find it after the pool forgot it keeps what this returns.
    """
    reference = request._apply_result
    return reference() if reference is not None else None


def leave(request: Request, holding: Holding, book: LeaseBook) -> None:
    """Forget a request that did not start before its lease passed on to others."""
    logger.warning("Task %s[%s] is left to other workers", request.name, request.id)
    book.release(holding)
    state.task_ready(request)


def keep_in_pipe(request: Request, pool: Any) -> bool:
    """Return whether a process of the pool runs this request, or will in any case.

    That is so once its job was written to the process's pipe. When the
    broker's connection breaks, Celery lets the pool forget such jobs, before
    5.6 also those that run, so nobody would hear of their start and end; here
    the pool is made to remember it.

    `_write_to` and its `_is_alive` and `inq`, `_accepted`, `_job`, `_cache` and the pools'
    `_pool` are private to billiard and Celery (checked on Celery 5.4 to 5.7);
    `tests/integration/test_private_points.py` fails when they move.
    """
    job = job_of(request)
    if job is None:
        return False
    remembered = pool._pool._cache
    if job._accepted and remembered.get(job._job) is job:
        # The pool will tell, also if the process is gone.
        return True
    process = getattr(job, "_write_to", None)
    if process is None:
        return False
    if not process._is_alive():
        # Cancelled, say. What it had not read yet is read by whoever gets its
        # pipe, and that the pool learns only for jobs it remembers.
        heirs = (each for each in pool._pool._pool if each.inq is process.inq)
        process = job._write_to = next(heirs, None)
        if process is None:
            return False
    remembered[job._job] = job
    return True

"""Where users come in: `lru_task`, `LRUTask` and `configure`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from celery import Celery, Task
from celery.canvas import Signature, maybe_signature
from kombu.utils.imports import symbol_by_name

from celery_ranch.clients import ClientTask
from celery_ranch.errors import InvalidTagError
from celery_ranch.observing.views import last_configured
from celery_ranch.publishing.amqp import install_publishing
from celery_ranch.publishing.batches import submission
from celery_ranch.publishing.keys import key_from_header, key_of_signature
from celery_ranch.publishing.producer import LazyProducer
from celery_ranch.publishing.terms import KeyTerms
from celery_ranch.ranch import Ranch
from celery_ranch.ranch.weights import WeightFunction, share_of_weight
from celery_ranch.scheduling.model import key_path
from celery_ranch.scheduling.policies import tag_text

__all__ = ["LRUTask", "configure", "install", "lru_task", "submit"]

#: Loaded by Celery's worker alone.
_STEP = "celery_ranch.worker.step:FairStep"
_METRICS_STEP = "celery_ranch.observing.metrics.step:MetricsStep"


class LRUTask(ClientTask):
    """A Celery task that can be called on behalf of a key.

    Binding a task of this base to an application makes that application's
    sends fair. Any other base is fair as well once `configure(app)` was
    called; this one only adds `lru_delay` and its likes, and what `ClientTask`
    has for keys.
    """

    abstract = True

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Make the application's sends fair; Celery calls this."""
        super().on_bound(app)
        install(app)

    def lru_delay(
        self,
        lru_key: Any,
        /,
        *args: Any,
        priority_weight: float | None = None,
        tags: Mapping[str, str] | None = None,
        expiry: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the task on behalf of a key, when it is that key's turn.

        Args:
            lru_key: On whose behalf: a non-empty `str`, or a tuple of one.
            args: The task's own positional arguments.
            priority_weight: How little the key is entitled to: who has 0.5 is
                served twice as often as who has 1. It is the inverse of a
                share, goes from 0.01 to 100, and holds for all of the key's
                tasks in this queue until it is set again.
            tags: Tags to give the key, by name, as `add_tag` does.
            expiry: For how many seconds the task may wait; after that it does
                not run, and its state becomes REVOKED.
            kwargs: The task's own keyword arguments.

        Returns:
            The task's `AsyncResult`.

        Raises:
            InvalidKeyError, InvalidShareError, InvalidTagError: Nothing was stored.
            ValueError: The expiry is no positive number. Nothing was stored.
            RoutingError: The task's route leads to no single queue.
            kombu.exceptions.OperationalError: The store is away or refused.
        """
        options = _key_options(lru_key, priority_weight, tags)
        if expiry is not None:
            options["expires"] = _positive_seconds(expiry)
        return self.apply_async(args, kwargs, **options)

    def lru_map(
        self,
        lru_key: Any,
        iterable: Iterable[Any],
        /,
        *,
        priority_weight: float | None = None,
        **options: Any,
    ) -> list[Any]:
        """Run the task once for each element, as `lru_delay` of each, only faster.

        Each is a task of its own; they are stored a thousand at a time.

        Args:
            lru_key: On whose behalf, as in `lru_delay`.
            iterable: The only positional argument of each task.
            priority_weight: As in `lru_delay`.
            options: What `apply_async` takes, but for `args` and `task_id`:
                the same for each, ``kwargs=`` among them.

        Returns:
            The tasks' results, in order; all are stored.

        Raises:
            InvalidKeyError, InvalidShareError, RoutingError: Nothing was stored.
            TypeError: The task does not take an element, or it cannot be
                written. Nothing was stored.
            kombu.exceptions.OperationalError: The store is away or refused.
                Thousands that it took before stay.

        Example:
            >>> from celery import Celery
            >>> app = Celery("reports", set_as_current=False, task_always_eager=True)
            >>> @lru_task(app, name="square")
            ... def square(x): return x * x
            >>> [result.get() for result in square.lru_map("acme", range(4))]
            [0, 1, 4, 9]
        """
        calls = ((each,) for each in iterable)
        return self.lru_starmap(lru_key, calls, priority_weight=priority_weight, **options)

    def lru_starmap(
        self,
        lru_key: Any,
        iterable: Iterable[Sequence[Any]],
        /,
        *,
        priority_weight: float | None = None,
        **options: Any,
    ) -> list[Any]:
        """As `lru_map`, for tasks of any number of arguments: a tuple or list each."""
        options |= _key_options(lru_key, priority_weight)
        if options.get("task_id") is not None:
            raise TypeError("task_id is one task's: each element is a task of its own")
        calls = list(iterable)
        for place, args in enumerate(calls):
            if not isinstance(args, (tuple, list)):
                raise TypeError(f"element {place} is {args!r:.100}; allowed: a tuple or a list")
        app = self._get_app()
        is_trailed = options.pop("add_to_parent", True)
        with submission(app) as producer:
            results = [
                self.apply_async(args, producer=producer, add_to_parent=False, **options)
                for args in calls
            ]
        return _trailed(app, results) if is_trailed else results

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """As Celery's own; with `lru_key=` it waits until it is that key's turn."""
        if producer is not None or "connection" in options or options.get("lru_key") is None:
            return super().apply_async(args, kwargs, task_id, producer, *more, **options)
        app = self._get_app()
        with LazyProducer(app, Ranch.of(app).broker_connection) as lazy:
            return super().apply_async(args, kwargs, task_id, lazy, *more, **options)


def submit(app: Celery, signatures: Iterable[Any]) -> list[Any]:
    """Call signatures as their `apply_async` would, only faster; the keys are their own.

    What has a key is stored a thousand at a time after all were looked at;
    what has none is published at once, and so is what takes no producer: the
    first task of a chain is stored alone.

    Args:
        app: The application.
        signatures: Of tasks, groups, chords; also as dicts.

    Returns:
        What each `apply_async` returns, in order; all are stored.

    Raises:
        InvalidKeyError, RoutingError: A key or a route is wrong.
        TypeError: One is no signature, or cannot be written.
        kombu.exceptions.OperationalError: The store is away or refused.
            Thousands that it took before stay.

    Example:
        >>> from celery import Celery
        >>> app = Celery("reports", set_as_current=False, task_always_eager=True)
        >>> @lru_task(app, name="double")
        ... def double(x): return 2 * x
        >>> calls = [double.s(x).set(lru_key=f"tenant-{x}") for x in range(3)]
        >>> [result.get() for result in submit(app, calls)]
        [0, 2, 4]
    """
    calls = []
    for place, each in enumerate(signatures):
        if not isinstance(each, Mapping) or "task" not in each:
            raise TypeError(f"element {place} is {each!r:.100}; allowed: a signature")
        signature: Any = maybe_signature(each, app=None if isinstance(each, Signature) else app)
        key = key_of_signature(signature)
        if key is not None:
            key_from_header(key)
        calls.append(signature)
    with submission(app) as producer:
        results = [call.apply_async(producer=producer, add_to_parent=False) for call in calls]
    return _trailed(app, results)


def lru_task(
    app: Celery, *, weight_function: WeightFunction | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like ``app.task`` whose tasks have `LRUTask.lru_delay`.

    Args:
        app: The application that the task belongs to.
        weight_function: ``(lru_key, metadata) -> weight``, asked about keys
            that are in use, at most once a second of each in each process. What
            it returns holds for the key, over what was set by hand. It is the
            application's, for all of its tasks.
        options: What ``app.task`` takes. A `base` that is not an `LRUTask`
            becomes one by a subclass of both.

    Example:
        >>> from celery import Celery
        >>> app = Celery("reports", set_as_current=False)
        >>> @lru_task(app, name="render")
        ... def render(report_id): ...
        >>> render.name, isinstance(render, LRUTask)
        ('render', True)
    """
    install(app)
    Ranch.of(app).weights.use(weight_function)
    base = options.pop("base", None)

    def decorate(function: Callable[..., Any]) -> Any:
        return app.task(base=_fair_base(app, base), **options)(function)

    return decorate


def configure(
    app: Celery | None = None, storage: Any = None, weight_function: WeightFunction | None = None
) -> Ranch:
    """Make an application's sends and workers fair.

    Args:
        app: The application; None means the current one.
        storage: Where its entries are stored: a `RedisStorage`, a
            `redis.Redis` or a URL. None leaves that to the settings.
        weight_function: As `lru_task` takes it.

    Returns:
        The application's fair scheduling, for control and look.
    """
    ranch = Ranch.of(app)
    install(ranch.app)
    ranch.weights.use(weight_function)
    ranch.use(storage)
    last_configured.remember(ranch.app)
    return ranch


def install(app: Celery) -> None:
    """Make an application's sends and workers fair, once."""
    app = getattr(app, "_get_current_object", lambda: app)()
    install_publishing(app)
    app.steps["consumer"].add(_STEP)
    app.steps["worker"].add(_METRICS_STEP)


def _key_options(
    lru_key: Any, priority_weight: float | None, tags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    options: dict[str, Any] = {"lru_key": key_path(lru_key)}
    if tags is not None and not isinstance(tags, Mapping):
        raise InvalidTagError(tags, "a dict of names and values")
    if priority_weight is not None or tags:
        options["lru_terms"] = KeyTerms(
            share=None if priority_weight is None else share_of_weight(priority_weight),
            tags=tuple(tag_text(name, value) for name, value in (tags or {}).items()),
        )
    return options


def _positive_seconds(expiry: Any) -> float:
    is_number = isinstance(expiry, (int, float)) and not isinstance(expiry, bool)
    if not is_number or not 0 < expiry < math.inf:
        raise ValueError(f"expiry is {expiry!r}; allowed: a positive number of seconds")
    return float(expiry)


def _trailed(app: Celery, results: list[Any]) -> list[Any]:
    """Let the running task, if any, know its children, as Celery's calls do."""
    parent = app.current_worker_task
    if parent is not None and not app.conf.task_always_eager:
        for result in results:
            parent.add_trail(result)
    return results


def _fair_base(app: Celery, base: type[Task] | None) -> type[Task]:
    if base is None:
        base = symbol_by_name(app.task_cls)
    if issubclass(base, LRUTask):
        return base
    if base is Task:
        return LRUTask
    return type(base.__name__, (LRUTask, base), {"__module__": base.__module__, "abstract": True})

"""One application's fair scheduling: its settings, its store, its queues' names."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any, TypeVar, cast

from billiard.process import current_process
from celery import Celery, current_app
from celery.app.routes import MapRoute
from celery.utils.log import get_logger
from kombu.entity import Queue

from celery_ranch.config import SerializerType, Settings, read_settings
from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.opening import Store, choose_store, open_engine
from celery_ranch.engines.publishers import Publishers
from celery_ranch.errors import ConfigurationError, RanchWarning
from celery_ranch.offers import backend_offer, broker_offer
from celery_ranch.ranch.weights import Weights
from celery_ranch.scheduling.engine import Engine

__all__ = ["ALIASES", "Access"]

logger = get_logger(__name__)

#: Queue names that stand for the default queue's fair side.
ALIASES = frozenset({"celery_ranch", "celery_lru_priority"})

#: The task names whose route names the queue used instead of the default one.
_ROUTED_NAMES = ("celery_ranch.prioritize_task", "celery_lru_priority.prioritize_task")

_ATTRIBUTE = "_celery_ranch"
_MEMORY_WARNING = (
    "celery-ranch keeps entries in this process's memory: only a worker in this very"
    " process will run them, and they are lost when it ends. Configure a Redis store"
    " (a Redis broker, or the setting celery_ranch['url'])."
)


A = TypeVar("A", bound="Access")


class Access:
    """One application's fair scheduling.

    There is one per application: `Ranch(app)` returns it, making it the
    first time. Settings are read and the store is opened when first needed.
    What the control verbs change holds at once, for what waits already too.

    Args:
        app: The Celery application; None means the current one.
    """

    app: Celery
    publishers: Publishers
    """Who publishes to the store, from this process."""
    weights: Weights
    """What the application's weight function, if any, says of keys in use."""

    def __new__(cls: type[A], app: Celery | None = None) -> A:
        app = current_app if app is None else app
        # The current app is a proxy of an app.
        app = getattr(app, "_get_current_object", lambda: app)()
        ranch = vars(app).get(_ATTRIBUTE)
        if ranch is None:
            ranch = super().__new__(cls)
            ranch._prepare(app)
            ranch = vars(app).setdefault(_ATTRIBUTE, ranch)
        return cast(A, ranch)

    @classmethod
    def of(cls: type[A], app: Celery | None = None) -> A:
        """Return the application's fair scheduling; the same as calling the class."""
        return cls(app)

    def _prepare(self, app: Celery) -> None:
        self.app = app
        self.publishers = Publishers()
        self.weights = Weights(lambda: self.engine)
        self._lock = threading.RLock()
        self._storage: Any = None
        self._settings: Settings | None = None
        self._engine: Engine | None = None
        self._opened_by_pid = 0
        self._broker_connection: Any = None
        self._plain_default_queue: str | None = None
        self._default_queue: str | None = None
        self._inherits_priority: bool | None = None

    def __repr__(self) -> str:
        return f"<Ranch of {self.app!r}>"

    # -- what it is made of ---------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The application's settings, read once.

        Raises:
            ConfigurationError: One of them is wrong.
        """
        if self._settings is None:
            with self._lock:
                if self._settings is None:
                    self._settings = read_settings(self.app)
        return self._settings

    @property
    def engine(self) -> Engine:
        """The engine that stores this application's entries, opened once.

        Raises:
            ConfigurationError: A setting is wrong, or this is a forked
                process and entries are kept in the memory of its parent.
        """
        engine = self._engine
        if engine is None:
            with self._lock:
                engine = self._engine
                if engine is None:
                    engine = self._engine = self._open()
                    self._opened_by_pid = os.getpid()
        if isinstance(engine, MemoryEngine):
            self._check_process()
        return engine

    def use(self, storage: Any) -> None:
        """Store entries there from now on.

        Args:
            storage: A `RedisStorage`, a `redis.Redis` or a URL; None leaves
                things as they are.
        """
        if storage is None or storage is self._storage:
            return
        with self._lock:
            self._storage = storage
            self._engine = None

    @property
    def default_queue(self) -> str:
        """The queue whose fair side takes what would go to the default queue."""
        if self._default_queue is None:
            self._default_queue = self._find_default_queue()
        return self._default_queue

    @property
    def broker_connection(self) -> Any:
        """A connection to the broker that nobody connects: for the errors it knows."""
        if self._broker_connection is None:
            self._broker_connection = self.app.connection_for_write()
        return self._broker_connection

    @property
    def plain_default_queue(self) -> str:
        """Where Celery sends what has no route: its own default queue."""
        if self._plain_default_queue is None:
            self._plain_default_queue = str(self.app.conf.task_default_queue)
        return self._plain_default_queue

    @property
    def inherits_priority(self) -> bool:
        """Whether Celery tells what a task calls the task's own priority."""
        if self._inherits_priority is None:
            self._inherits_priority = bool(self.app.conf.task_inherit_parent_priority)
        return self._inherits_priority

    def fair_queue(self, name: str) -> str:
        """Return the queue that a name stands for: an alias, the default one."""
        return self.default_queue if name in ALIASES else name

    # -- inside ---------------------------------------------------------------

    def _queue(self, name: str | None) -> str:
        return self.default_queue if name is None else self.fair_queue(name)

    def _open(self) -> Engine:
        storage = self._storage
        if storage is not None and hasattr(storage, "enqueue") and hasattr(storage, "lease"):
            engine: Engine = storage
            return engine
        settings = self.settings
        store = choose_store(settings, broker_offer(self.app), backend_offer(self.app), storage)
        if store.place is None:
            self._use_memory(settings, store)
        return open_engine(store, settings)

    def _use_memory(self, settings: Settings, store: Store) -> None:
        if settings.lru_key is not None:
            raise ConfigurationError(
                "celery_ranch['lru_key']",
                settings.lru_key,
                "None, unless there is a Redis store (a Redis broker, or the setting"
                " celery_ranch['url']): a process's memory is for explicit keys",
            )
        if store.is_fallback:
            logger.warning(_MEMORY_WARNING)
            warnings.warn(_MEMORY_WARNING, RanchWarning, stacklevel=2)

    def _check_process(self) -> None:
        # billiard names a pool's children; a fork of any other kind shows by its pid.
        in_pool_child = current_process().name != "MainProcess"
        if in_pool_child or self._opened_by_pid != os.getpid():
            raise ConfigurationError(
                "the store",
                "this process's memory",
                "a Redis store, because this process was forked from the one that has"
                " the entries (a Redis broker, or the setting celery_ranch['url'])",
            )

    def _find_default_queue(self) -> str:
        name = self.settings.queue or self._routed_queue()
        return self.plain_default_queue if name is None or name in ALIASES else name

    def _routed_queue(self) -> str | None:
        for router in self.app.amqp.routes:
            if not isinstance(router, MapRoute):
                continue
            for task in _ROUTED_NAMES:
                queue = (router(task) or {}).get("queue")
                if queue is not None:
                    return str(queue.name if isinstance(queue, Queue) else queue)
        return None

    def _accepts_pickle(self) -> bool:
        return self.settings.redis_serializer is SerializerType.PICKLE

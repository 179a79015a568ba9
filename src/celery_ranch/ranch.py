"""One application's fair scheduling: its settings, its store, control and look."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from billiard.process import current_process
from celery import Celery, current_app
from celery.app.routes import MapRoute
from celery.app.task import Context
from celery.utils.log import get_logger
from kombu.entity import Queue

from celery_ranch.config import SerializerType, Settings, read_settings
from celery_ranch.engines.memory import MemoryEngine
from celery_ranch.engines.opening import Store, choose_store, open_engine
from celery_ranch.engines.publishers import Publishers
from celery_ranch.envelope import request_facts, unpack
from celery_ranch.errors import ConfigurationError, RanchWarning, UnknownEntryError
from celery_ranch.offers import backend_offer, broker_offer
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.invariant import Violation
from celery_ranch.scheduling.model import (
    DeadLetter,
    KeyPath,
    KeySnapshot,
    QueueSnapshot,
    key_path,
    valid_share,
)

__all__ = ["ALIASES", "PendingTask", "Ranch"]

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


@dataclass(frozen=True, slots=True)
class PendingTask:
    """A task that waits."""

    entry_id: str
    task_id: str
    task: str
    args: Any
    """The positional arguments; their `repr` where the body cannot be read here."""
    kwargs: Any
    """The keyword arguments, likewise."""


class Ranch:
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

    def __new__(cls, app: Celery | None = None) -> Ranch:
        app = current_app if app is None else app
        # The current app is a proxy of an app.
        app = getattr(app, "_get_current_object", lambda: app)()
        ranch = vars(app).get(_ATTRIBUTE)
        if ranch is None:
            ranch = super().__new__(cls)
            ranch._prepare(app)
            ranch = vars(app).setdefault(_ATTRIBUTE, ranch)
        return ranch  # type: ignore[no-any-return]

    @classmethod
    def of(cls, app: Celery | None = None) -> Ranch:
        """Return the application's fair scheduling; the same as calling the class."""
        return cls(app)

    def _prepare(self, app: Celery) -> None:
        self.app = app
        self.publishers = Publishers()
        self._lock = threading.RLock()
        self._storage: Any = None
        self._settings: Settings | None = None
        self._engine: Engine | None = None
        self._opened_by_pid = 0
        self._broker_connection: Any = None
        self._plain_default_queue: str | None = None
        self._default_queue: str | None = None

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

    def fair_queue(self, name: str) -> str:
        """Return the queue that a name stands for: an alias, the default one."""
        return self.default_queue if name in ALIASES else name

    # -- control --------------------------------------------------------------

    def set_share(self, key: Any, share: float, queue: str | None = None) -> None:
        """Entitle a key to so much of a queue, relative to the other keys.

        Args:
            key: Whose share it is.
            share: From 0.01 to 100; who has 2 is served twice as often as
                who has 1, which is the default.
            queue: The queue it holds in; None means the default one.

        Raises:
            InvalidKeyError, InvalidShareError, StoreError: Nothing changed.
        """
        self.engine.set_share(self._queue(queue), key_path(key), valid_share(share))

    def pause(self, key: Any, queue: str | None = None) -> None:
        """Let a key's tasks wait until it is resumed; they keep their places."""
        self.engine.pause(self._queue(queue), key_path(key))

    def resume(self, key: Any, queue: str | None = None) -> None:
        """Serve a paused key again."""
        self.engine.resume(self._queue(queue), key_path(key))

    def cancel(self, task_id: str, queue: str | None = None) -> bool:
        """Drop a task that waits; its state becomes REVOKED.

        Args:
            task_id: The task's id, or the entry's where a task has been
                published again under the same id.
            queue: Where it waits; None means that all queues are looked in.

        Returns:
            Whether it waited; one that runs or is done is left alone.
        """
        engine = self.engine
        queues = sorted(engine.queues()) if queue is None else [self._queue(queue)]
        for name in queues:
            message = engine.cancel(name, task_id)
            if message is not None:
                self._announce_cancelled(message)
                return True
        return False

    def purge(self, queue: str | None = None) -> int:
        """Drop what waits in a queue, and return how many tasks that were.

        Each becomes REVOKED, those of paused keys and delayed ones as well. It
        goes on, one by one, until nothing waits that can be cancelled. What is
        leased runs on.
        """
        engine, name, dropped = self.engine, self._queue(queue), 0
        for key in [snapshot.key for snapshot in self.keys(name)]:
            while gone := [one for one, _ in engine.pending(name, key) if self.cancel(one, name)]:
                dropped += len(gone)
        return dropped

    def retry_dead(self, entry_id: str, queue: str | None = None) -> None:
        """Put a dead letter back as if just stored.

        Raises:
            UnknownEntryError: There is no such dead letter.
        """
        if not self.engine.retry_dead(self._queue(queue), entry_id):
            raise UnknownEntryError(entry_id)

    def delete_dead(self, entry_id: str, queue: str | None = None) -> None:
        """Drop a dead letter for good.

        Raises:
            UnknownEntryError: There is no such dead letter.
        """
        if not self.engine.delete_dead(self._queue(queue), entry_id):
            raise UnknownEntryError(entry_id)

    # -- look -----------------------------------------------------------------

    def status(self) -> tuple[QueueSnapshot, ...]:
        """Return the counts of every queue that ever held an entry, by name."""
        engine = self.engine
        return tuple(engine.snapshot(queue) for queue in sorted(engine.queues()))

    def keys(self, queue: str | None = None) -> Iterator[KeySnapshot]:
        """Yield each key of a queue once, idle ones that are remembered too."""
        engine, name = self.engine, self._queue(queue)
        seen: set[KeyPath] = set()
        cursor = 0
        while True:
            cursor, page = engine.keys(name, cursor)
            for snapshot in page:
                if snapshot.key not in seen:
                    seen.add(snapshot.key)
                    yield snapshot
            if not cursor:
                return

    def pending(
        self, key: Any, queue: str | None = None, offset: int = 0, limit: int = 1_000
    ) -> tuple[PendingTask, ...]:
        """Return a key's tasks that wait, in their order, delayed ones last."""
        path = key_path(key)
        entries = self.engine.pending(self._queue(queue), path, offset, limit)
        return tuple(self._pending_task(entry_id, message) for entry_id, message in entries)

    def dead_letters(
        self, queue: str | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[DeadLetter, ...]:
        """Return a queue's dead letters, the latest first."""
        return self.engine.dead_letters(self._queue(queue), offset, limit)

    def check(self, queue: str | None = None, limit: int = 1_000) -> tuple[Violation, ...]:
        """Return what is wrong in the store; nothing where all is well.

        A store may be in use while it is checked, and goes on: it is looked at
        slice by slice, and what is returned was wrong at one instant. Something
        is wrong only where somebody else wrote to the store or took from it.

        Args:
            queue: Which to look at; None means all queues.
            limit: How many violations to return at most.

        Raises:
            StoreError: The store is away, or what is under its keys is not ours.
        """
        engine = self.engine
        names = {*engine.queues(), self.default_queue} if queue is None else {self._queue(queue)}
        found = chain.from_iterable(engine.check(name) for name in sorted(names))
        return tuple(dict.fromkeys(islice(found, limit)))

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

    def _pending_task(self, entry_id: str, message: bytes) -> PendingTask:
        try:
            envelope = unpack(message, accept_pickle=self._accepts_pickle())
        except ValueError:
            return PendingTask(entry_id, "", "", "", "")
        request = request_facts(envelope, self.app.conf.accept_content)
        return PendingTask(
            entry_id, request["id"], request["task"], request["args"], request["kwargs"]
        )

    def _accepts_pickle(self) -> bool:
        return self.settings.redis_serializer is SerializerType.PICKLE

    def _announce_cancelled(self, message: bytes) -> None:
        try:
            envelope = unpack(message, accept_pickle=self._accepts_pickle())
        except ValueError as error:
            logger.error("A cancelled task cannot be told from its message: %s", error)
            return
        request = request_facts(envelope, self.app.conf.accept_content)
        self.app.backend.mark_as_revoked(
            request["id"],
            reason="cancelled",
            request=Context(request),
            store_result=not request.get("ignore_result"),
        )

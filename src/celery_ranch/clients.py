"""What a task that knows keys has for steering them and looking at them, by the guides' names.

The guides call a key a client. All of it is about the queue that the task's
calls go to; `Ranch` has the same for any queue.
"""

from __future__ import annotations

from typing import Any

from celery import Task

from celery_ranch.errors import RoutingError
from celery_ranch.observing.views import system_status
from celery_ranch.publishing.queues import fair_destination
from celery_ranch.ranch import Ranch
from celery_ranch.ranch.weights import metadata_of, share_of_weight, weight_of_share
from celery_ranch.scheduling.model import key_path

__all__ = ["ClientTask"]


class ClientTask(Task):
    """A Celery task that knows its callers' keys.

    Whatever is no key, tag, weight or data raises an error that says what is
    allowed, a store that is away a `StoreError`; nothing is changed then.
    """

    abstract = True

    def set_priority_weight(self, lru_key: Any, weight: float) -> bool:
        """Set how little a key is entitled to, at once, for what waits too.

        A weight function goes over it, and is told of it as `metadata.weight`.

        Args:
            lru_key: Whose weight it is.
            weight: From 0.01 to 100, 1/share: who has 0.5 is served twice as
                often as who has 1.

        Returns:
            True.

        Raises:
            InvalidKeyError, InvalidShareError, RoutingError, StoreError:
                Nothing changed.
        """
        share, key = share_of_weight(weight), key_path(lru_key)
        self._ranch.set_share(key, share, self._queue())
        return True

    def add_tag(self, lru_key: Any, tag_name: str, tag_value: str) -> bool:
        """Give a key a tag, which takes the place of another value of that name.

        Returns:
            True.

        Raises:
            InvalidKeyError, InvalidTagError, RoutingError, StoreError:
                Nothing changed.
        """
        self._ranch.set_tag(lru_key, tag_name, tag_value, self._queue())
        return True

    def get_tagged_clients(self, tag_name: str, tag_value: str | None = None) -> list[Any]:
        """Return the keys with a tag, sorted; without a value, those with any of that name."""
        return self._ranch.tagged(tag_name, tag_value, self._queue())

    def set_custom_data(self, lru_key: Any, key: str, value: Any) -> bool:
        """Note something about a key, for a weight function or anybody else to read.

        Args:
            lru_key: About whom.
            key: What it is called.
            value: What JSON gives back as it was given.

        Returns:
            True.

        Raises:
            InvalidKeyError, InvalidDataError, RoutingError, StoreError:
                Nothing changed. All that is noted of a key has at most 8,192
                bytes.
        """
        self._ranch.set_custom_data(lru_key, key, value, self._queue())
        return True

    def get_custom_data(self, lru_key: Any) -> dict[str, Any]:
        """Return what was noted of a key, by name; empty if nothing was."""
        return self._ranch.custom_data(lru_key, self._queue())

    def get_client_metadata(self, lru_key: Any) -> dict[str, Any]:
        """Return what is known of a key.

        Returns:
            ``lru_key``; ``weight``, the one that holds now; ``last_execution``,
            when a task of it was started last, in seconds since the epoch, or
            None; ``tags`` and ``custom_data``, a dict or None; and
            ``pending_tasks``, how many wait.
        """
        details = self._ranch.engine.details(self._queue(), key_path(lru_key))
        known = metadata_of(details)
        return {
            "lru_key": lru_key,
            "weight": weight_of_share(details.snapshot.share),
            "last_execution": known.last_execution,
            "tags": known.tags,
            "custom_data": known.custom_data,
            "pending_tasks": known.pending,
        }

    def get_system_status(self) -> dict[str, Any]:
        """Return how all queues of the application are.

        Returns:
            ``initialized``, True; ``storage_type``, "RedisStorage" or
            "InMemoryStorage"; ``backlog_size``, how many tasks wait;
            ``unique_lru_keys``, of how many keys, for which all are walked
            through; ``running``, how many tasks workers have; ``dead_letters``;
            and ``health``, whether the store answers. Where it does not, the
            counts are 0.
        """
        return system_status(self._ranch)

    @property
    def _ranch(self) -> Ranch:
        return Ranch.of(self._get_app())

    def _queue(self) -> str:
        """Return the queue that the task's calls go to."""
        app = self._get_app()
        options = app.amqp.router.route({**self._get_exec_options()}, self.name, (), {}, self)
        queue = fair_destination(options, app.amqp.queues, self._ranch)
        if queue is None:
            raise RoutingError(self.name, "its route does not lead to exactly one declared queue")
        return queue

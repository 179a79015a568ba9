"""Results of a pool's processes that were read in part when the event loop was reset."""

from __future__ import annotations

from collections.abc import Generator
from inspect import GEN_SUSPENDED, getgeneratorstate
from typing import Any

__all__ = ["ResultPipes"]


class ResultPipes:
    """Reads on, after a reconnection to the broker, what was read in part before.

    When the broker's connection breaks, Celery resets its event loop, and the
    pool registers the readers of its pipes anew. A result that is longer than
    its pipe and was read in part is lost by that, and the rest of it is taken
    for the length of the next one: the process writes on for ever, the parent
    waits for ever, and the slot and the lease are never free again (Celery 5.4
    to 5.7, for tasks of any kind). Where broker and results are in one Redis
    that is no rare thing: what cannot store its result says so with a long
    traceback, and just then.

    `_result_handler` and its `_recv_message` and `fileno_to_outq` are private
    to Celery (checked on 5.4 to 5.7); `tests/integration/test_private_points.py`
    fails when they move.
    """

    def __init__(self) -> None:
        #: Of each pipe its process, and what reads or read its last result.
        self._reads: dict[int, tuple[Any, Generator[None, None, None]]] = {}

    def watch(self, pool: Any) -> None:
        """Remember who reads what; call it before the pool registers with an event loop."""
        handler = pool._pool._result_handler
        if "_recv_message" in vars(handler):
            return
        receive, processes = handler._recv_message, handler.fileno_to_outq

        def remember(add_reader: Any, number: int, *args: Any) -> Any:
            read = receive(add_reader, number, *args)
            self._reads[number] = (processes[number], read)
            return read

        handler._recv_message = remember

    def resume(self, pool: Any, hub: Any) -> None:
        """Let the event loop read on; call it when the pool has registered its readers."""
        processes = pool._pool._result_handler.fileno_to_outq
        for number, (process, read) in self._reads.items():
            is_same = processes.get(number) is process
            if is_same and getgeneratorstate(read) == GEN_SUSPENDED:
                hub.add_reader(number, read)

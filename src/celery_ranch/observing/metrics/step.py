"""The part of a worker that serves metrics, where `metrics_enabled` asks for it."""

from __future__ import annotations

import errno
import logging
from typing import Any
from wsgiref.simple_server import WSGIServer

from celery import bootsteps
from celery.utils.log import get_logger

from celery_ranch.ranch import Ranch

__all__ = ["MetricsStep"]

logger = get_logger(__name__)


class MetricsStep(bootsteps.StartStopStep):
    """Serves what goes on in all of the store, from a thread of the worker's main process.

    Of several workers on one machine the first one does: each would tell the same.
    """

    label = "Metrics"
    # Processes that the pool starts with do not inherit the listening socket.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, w: Any, **kwargs: Any) -> None:
        super().__init__(w, **kwargs)
        self._server: WSGIServer | None = None

    def include_if(self, w: Any) -> bool:
        """Whether the setting asks for it."""
        return Ranch(w.app).settings.metrics_enabled

    def start(self, w: Any) -> None:
        """Begin to serve; a worker that cannot works all the same."""
        ranch = Ranch(w.app)
        address, port = ranch.settings.metrics_address, ranch.settings.metrics_port
        try:
            from celery_ranch.observing.metrics.exporter import Exporter

            self._server = Exporter(ranch).serve(address, port)
        except ModuleNotFoundError as error:
            logger.warning(
                "No metrics are served: metrics_enabled needs %s: pip install"
                " 'celery-ranch[metrics]'",
                error.name,
            )
        except OSError as error:
            # That of another worker's is as it should be.
            level = logging.INFO if error.errno == errno.EADDRINUSE else logging.WARNING
            text = "No metrics are served by this worker at %s:%s: %s"
            logger.log(level, text, address, port, error)
        else:
            logger.info("Metrics are served at http://%s:%s/metrics", address, port)

    def stop(self, w: Any) -> None:
        """Serve no longer."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    terminate = stop

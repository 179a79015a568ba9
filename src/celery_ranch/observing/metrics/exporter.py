"""Serving what goes on to Prometheus: a look when somebody asks, and one a second at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

from celery.utils.log import get_logger
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from celery_ranch.errors import StoreError
from celery_ranch.observing.metrics.catalogue import METRICS, UP, Metric
from celery_ranch.observing.metrics.labels import KeyLabels
from celery_ranch.observing.metrics.readings import Sample, View
from celery_ranch.observing.observer import Observer
from celery_ranch.observing.status import Status, Times
from celery_ranch.observing.totals import BOUNDS
from celery_ranch.ranch import Ranch

__all__ = ["Exporter", "Looks"]

logger = get_logger(__name__)

#: So many times as many keys as are shown by one order get a new label in an hour.
_TURNS_AN_HOUR = 10

#: Prometheus itself waits for ten seconds, if nothing else is said.
_PATIENCE_SECONDS = 5.0


class Looks:
    """Looks for whoever asks; who asks within a second of a look is told what was seen.

    Args:
        look: Returns what is told.
        seconds: For how long a look is good.
        patience: How long to wait for one.
    """

    def __init__(
        self,
        look: Callable[[], View],
        seconds: float = 1.0,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._patience = patience
        self._changed = threading.Condition()
        self._is_looking = False
        self._number = 0
        self._seen_at = -seconds
        self._seen: View | None = None

    def latest(self) -> View | None:
        """Return what was seen; None if nothing could be, or not in time."""
        with self._changed:
            if self._number and time.monotonic() - self._seen_at < self._seconds:
                return self._seen
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look_once, daemon=True).start()
            number = self._number
            is_seen = self._changed.wait_for(lambda: self._number != number, self._patience)
            return self._seen if is_seen else None

    def _look_once(self) -> None:
        seen = None
        try:
            seen = self._look()
        except StoreError as error:
            logger.debug("The store cannot be looked at: %s", error)
        except Exception:
            logger.exception("Metrics cannot look")
        finally:
            with self._changed:
                self._seen, self._seen_at = seen, time.monotonic()
                self._number += 1
                self._is_looking = False
                self._changed.notify_all()


class Exporter:
    """The metrics of an application's fair queues.

    Args:
        ranch: Whose queues they are.
        look: Returns what goes on; None: an observer of its own does.
        patience: How long to wait for a look, in seconds; after that the store is away.
    """

    def __init__(
        self,
        ranch: Ranch,
        look: Callable[[], Status] | None = None,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._keys = ranch.settings.metrics_keys
        self._observe = look or Observer(ranch, top=max(1, self._keys)).look
        self._labels = KeyLabels(self._keys * _TURNS_AN_HOUR)
        self.registry = CollectorRegistry()
        self.registry.register(_Figures(Looks(self._view, patience=patience)))

    def serve(self, address: str, port: int) -> WSGIServer:
        """Serve the metrics from a thread, and return the server.

        Raises:
            OSError: There is no such address here, or somebody listens there already.
        """
        server, _ = start_http_server(port, address, self.registry)
        return server

    def text(self, accepted: str) -> tuple[bytes, str]:
        """Return the metrics as text, and its media type.

        Args:
            accepted: What the header Accept says.
        """
        encode, media_type = choose_encoder(accepted)
        return encode(self.registry), media_type

    def _view(self) -> View:
        began = time.monotonic()
        status = self._observe()
        labels = {
            each.queue: self._labels.of(
                each.queue, [key.key for key in each.keys if len(key.key) == 1]
            )
            for each in status.queues
        }
        return View(status, time.monotonic() - began, labels)


class _Figures(Collector):
    """What prometheus-client asks for the figures."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    def describe(self) -> Iterator[Family]:
        return (_family(metric, ()) for metric in METRICS)

    def collect(self) -> Iterator[Family]:
        view = self._looks.latest()
        if view is None:
            yield _family(UP, [Sample((), 0)])
            return
        for metric in METRICS:
            yield _family(metric, metric.read(view))


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    # Two of a kind would make all of it unreadable.
    found = {each.labels: each.value for each in samples if each.value is not None}
    kinds: dict[str, Any] = {
        "gauge": GaugeMetricFamily,
        "counter": CounterMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    family: Family = kinds[metric.kind](metric.name, metric.meaning, labels=metric.labels)
    add: Any = family.add_metric  # type: ignore[attr-defined]
    for labels, value in found.items():
        if isinstance(value, Times):
            add(labels, _buckets(value), value.seconds)
        else:
            add(labels, float(value))
    return family


def _buckets(times: Times) -> list[tuple[str, float]]:
    found = [(str(bound), float(n)) for bound, n in zip(BOUNDS, times.within, strict=True)]
    return [*found, ("+Inf", float(times.count))]

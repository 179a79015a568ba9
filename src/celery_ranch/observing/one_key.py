"""One key alone, however far from the first it is."""

from __future__ import annotations

from celery_ranch.observing.flows import WindowReader
from celery_ranch.observing.keys import key_status
from celery_ranch.observing.parts import Parts
from celery_ranch.observing.status import KeyStatus
from celery_ranch.scheduling.engine import Engine
from celery_ranch.scheduling.figures import MAX_MEASURED
from celery_ranch.scheduling.model import KeyPath

__all__ = ["key_seen"]


def key_seen(
    engine: Engine, queue: str, key: KeyPath, window_seconds: float = 60.0
) -> KeyStatus | None:
    """Return how a key stands now; None if nothing of it is remembered.

    How much of it is stored a second takes two looks to tell, and stays unknown.

    Args:
        engine: Where it is.
        queue: The queue that it is looked at in.
        key: Whose status it is.
        window_seconds: Of how long a time flow and parts received are.
    """
    survey = engine.survey(queue)
    wanted = dict.fromkeys(key[:size] for size in range(1, len(key) + 1))
    names = [*(wanted | dict.fromkeys(survey.sampled))][:MAX_MEASURED]
    nodes = {node.key: node for node in engine.measure(queue, names)}
    if key not in nodes:
        return None
    window = WindowReader(engine, queue, window_seconds).read(survey.now_us)
    return key_status(nodes[key], Parts(nodes, survey, window), survey.now_us, None)

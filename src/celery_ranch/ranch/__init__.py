"""One application's fair scheduling: what it is made of, control and look."""

from celery_ranch.ranch.access import ALIASES
from celery_ranch.ranch.control import Control
from celery_ranch.ranch.look import PendingTask

__all__ = ["ALIASES", "PendingTask", "Ranch"]


class Ranch(Control):
    """One application's fair scheduling.

    There is one per application: `Ranch(app)` returns it, making it the
    first time. Settings are read and the store is opened when first needed.
    What the control verbs change holds at once, for what waits already too.

    Args:
        app: The Celery application; None means the current one.
    """

"""The controls of the page: what each will do, and the doing of it.

Both are asked for with the same facts: first what it will do, in sentences with
figures of that moment, then that it be done.
"""

from __future__ import annotations

from celery_ranch.observing.dashboard.burying import (
    plan_delete_all_dead,
    plan_delete_dead,
    plan_retry_all_dead,
    plan_retry_dead,
)
from celery_ranch.observing.dashboard.moving import plan_move_key, plan_move_task
from celery_ranch.observing.dashboard.plans import Control
from celery_ranch.observing.dashboard.steering import (
    plan_limits,
    plan_pause,
    plan_resume,
    plan_share,
)
from celery_ranch.observing.dashboard.withdrawing import (
    plan_cancel_key,
    plan_cancel_tag,
    plan_cancel_task,
)

__all__ = ["CONTROLS"]

#: By the last part of their addresses.
CONTROLS: dict[str, Control] = {
    "share": plan_share,
    "limits": plan_limits,
    "pause": plan_pause,
    "resume": plan_resume,
    "cancel-task": plan_cancel_task,
    "cancel-key": plan_cancel_key,
    "cancel-tag": plan_cancel_tag,
    "move-task": plan_move_task,
    "move-key": plan_move_key,
    "retry-dead": plan_retry_dead,
    "delete-dead": plan_delete_dead,
    "retry-all-dead": plan_retry_all_dead,
    "delete-all-dead": plan_delete_all_dead,
}

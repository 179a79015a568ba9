"""The standard library as it was before gevent or eventlet patched it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["native"]


def native(module: str, name: str) -> Any:
    """Return what a module of the standard library has under that name, unpatched.

    Example:
        >>> native("time", "sleep")
        <built-in function sleep>
    """
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original(module, name)
    if "eventlet.patcher" in sys.modules:
        return getattr(sys.modules["eventlet.patcher"].original(module), name)
    return getattr(importlib.import_module(module), name)

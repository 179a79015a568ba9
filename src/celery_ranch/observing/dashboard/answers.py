"""What the page's server answers: JSON, and errors as one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from starlette.responses import Response

from celery_ranch.errors import RanchError, StoreError, StoreUnavailableError, UnknownEntryError

__all__ = ["BadRequest", "NotThere", "answer", "failure", "refusal_of", "to_json"]


class BadRequest(RanchError):
    """A request says what it must not, or not what it must."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class NotThere(BadRequest):
    """What a request is about does not exist."""


def to_json(value: Any) -> str:
    r"""Return a value as JSON in ASCII and one line; what has no limit is "inf".

    Example:
        >>> to_json({"most": math.inf, "key": ("acme", "\udc80")})
        '{"most": "inf", "key": ["acme", "\\udc80"]}'
    """
    return json.dumps(_plain(value), allow_nan=False, default=repr)


def answer(value: Any, status: int = 200) -> Response:
    """Return a value as the answer to a request."""
    return Response(to_json(value), status, media_type="application/json")


def failure(status: int, sentence: str) -> Response:
    """Return what went wrong as the answer to a request."""
    return answer({"error": " ".join(sentence.split())}, status)


def refusal_of(error: Exception) -> Response:
    """Return what an error of ours is as an answer."""
    kinds = (
        (NotThere, 404),
        (UnknownEntryError, 404),
        (StoreUnavailableError, 503),
        (StoreError, 502),
    )
    status = next((status for kind, status in kinds if isinstance(error, kind)), 400)
    return failure(status, str(error) or type(error).__name__)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else "inf" if value == math.inf else None
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    return value

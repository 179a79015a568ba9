"""What requests say: read with care, and refused in a sentence."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request

from celery_ranch.observing.dashboard.answers import BadRequest, NotThere
from celery_ranch.ranch import Ranch
from celery_ranch.scheduling.model import MAX_KEY_PARTS, KeyPath, key_path
from celery_ranch.scheduling.policies import tag_parts

__all__ = ["Said", "asked", "queue_named"]

_MOST_BYTES = 65_536
_LONGEST_TEXT = 8_192


def queue_named(ranch: Ranch, name: str | None) -> str:
    """Return the queue that a name stands for; None: the default one.

    Raises:
        NotThere: There never was anything in it.
    """
    default = ranch.default_queue
    queue = default if name is None else ranch.fair_queue(name)
    if queue != default and queue not in ranch.engine.queues():
        raise NotThere(f"there is no queue {queue!r}")
    return queue


def asked(params: QueryParams, name: str, default: int, most: int) -> int:
    """Return a whole number of a query, from 0 to `most`.

    Raises:
        BadRequest: It is none.
    """
    told = params.get(name, str(default))
    if not (told.isascii() and told.isdigit() and len(told) < 16 and int(told) <= most):
        raise BadRequest(f"{name} is {told[:50]!r}; allowed: a whole number from 0 to {most:,}")
    return int(told)


class Said:
    """What the JSON of a request says."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts

    @classmethod
    async def of(cls, request: Request) -> Said:
        """Read a request.

        Raises:
            BadRequest: It is too long, or no JSON object.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise BadRequest("what is asked for has to be application/json")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise BadRequest(f"a request has at most {_MOST_BYTES:,} bytes")
        try:
            facts = json.loads(body)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise BadRequest("what is asked for has to be a JSON object")
        return cls(facts)

    def only(self, *names: str) -> None:
        """Make sure that nothing else is said.

        Raises:
            BadRequest: Something is.
        """
        for name in self._facts:
            if name not in names:
                raise BadRequest(f"{name[:50]!r} is not known here; known: {', '.join(names)}")

    def has(self, name: str) -> bool:
        """Return whether something is said of it."""
        return self._facts.get(name) is not None

    def text(self, name: str) -> str:
        """Return a text.

        Raises:
            BadRequest: There is none, or it is empty or too long.
        """
        value = self._facts.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT:
            raise BadRequest(f"{name} has to be a text of 1 to {_LONGEST_TEXT:,} characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRequest(f"{name} has a lone surrogate in it") from None
        return value

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """Return a list of texts.

        Raises:
            BadRequest: There is none.
        """
        values = self._facts.get(name)
        if not isinstance(values, list) or not 0 < len(values) <= most:
            raise BadRequest(f"{name} has to be a list of 1 to {most:,} texts")
        return tuple(Said({name: each}).text(name) for each in values)

    def key(self, name: str = "key") -> KeyPath:
        """Return a key: a list of its parts.

        Raises:
            BadRequest, InvalidKeyError: It is none.
        """
        value = self._facts.get(name)
        if not isinstance(value, list):
            raise BadRequest(f"{name} has to be a list of the key's parts")
        return key_path(tuple(value))

    def target(self) -> dict[str, Any]:
        """Return whom something is set of, as control verbs take it: a key, a tag, a depth.

        Raises:
            BadRequest, InvalidKeyError: It is not exactly one of these.
        """
        given = [name for name in ("key", "tag", "depth") if self.has(name)]
        if len(given) != 1:
            raise BadRequest("exactly one of key, tag and depth has to be given")
        if given == ["key"]:
            return {"key": self.key()}
        return {"tag": self.tag()} if given == ["tag"] else {"depth": self.depth()}

    def depth(self) -> int:
        """Return of how many parts keys are.

        Raises:
            BadRequest: It is no number of parts that a key may have.
        """
        value = self._facts.get("depth")
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_KEY_PARTS:
            raise BadRequest(f"{value!r:.50} is not a depth from 1 to {MAX_KEY_PARTS}")
        return value

    def tag(self) -> tuple[str, str]:
        """Return a tag: its name and its value.

        Raises:
            BadRequest: It is not written name=value.
        """
        text = self.text("tag")
        name, value = tag_parts(text) if "=" in text else (text, "")
        if not name or not value:
            raise BadRequest(f"a tag is name=value, not {text[:100]!r}")
        return name, value

    def figure(self, name: str) -> Any:
        """Return a number as it is said, with "inf" for no limit; None where nothing is."""
        value = self._facts.get(name)
        if value == "inf":
            return math.inf
        if isinstance(value, (list, dict)):
            raise BadRequest(f"{name} has to be a number")
        return value

"""Celery's settings from environment variables: `CELERY_` and a setting's name in capitals.

Celery itself reads no more of them than the URLs of the broker and the result
backend, and its command the options of `celery worker`.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from celery.app.defaults import NAMESPACES, flatten
from celery.exceptions import ImproperlyConfigured

__all__ = ["settings_from_environment"]

_PREFIX = "CELERY_"


def settings_from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the settings that variables name, each of the type that Celery says.

    A variable that names no setting of Celery's is somebody else's and left
    alone. One that is empty counts as not set.

    Raises:
        ImproperlyConfigured: A variable cannot be read as what its setting
            takes. It says which, its value, and what is allowed.

    Example:
        >>> settings_from_environment({"CELERY_TASK_TIME_LIMIT": "3600", "HOME": "/root"})
        {'task_time_limit': 3600.0}
    """
    settings = {}
    for name, kind in _KINDS.items():
        variable = _PREFIX + name.upper()
        value = environment.get(variable)
        if not value:
            continue
        allowed, read = _READERS[kind]
        try:
            settings[name] = read(value)
        except ValueError:
            raise ImproperlyConfigured(f"{variable} is {value!r}; allowed: {allowed}") from None
    return settings


def _number(text: str) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError(text)
    return number


def _flag(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(text)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _anything(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _processes(text: str) -> Any:
    return text if text == "auto" else int(text)


#: What a variable of each kind has to be, and what reads it.
_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "string": ("any text", str),
    "bytes": ("any text", str.encode),
    "int": ("a whole number", int),
    "float": ("a number", _number),
    "bool": ("true or false, yes or no, on or off, 1 or 0", _flag),
    "dict": ("an object in JSON", _object),
    "list": ("names with commas between them", _names),
    "tuple": ("names with commas between them", _names),
    "any": ("JSON, or any text", _anything),
    "processes": ("a whole number or auto", _processes),
}

#: Celery writes the kind of some as Python's type, or in another word.
_OTHER_WORDS = {int: "int", "str": "string"}

_KINDS = {name: _OTHER_WORDS.get(option.type, option.type) for name, option in flatten(NAMESPACES)}
# Celery says `string` of this one, and compares it with numbers.
_KINDS["task_default_priority"] = "int"
# Celery says `any` since 5.7, when it began to take "auto".
if _KINDS["worker_concurrency"] == "any":
    _KINDS["worker_concurrency"] = "processes"

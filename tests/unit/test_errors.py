"""Errors survive the ways that Celery sends them."""

from __future__ import annotations

import json
import pickle

import pytest
from celery import Celery

from celery_ranch import errors
from celery_ranch.errors import (
    BacklogFullError,
    BatchTooLargeError,
    ConfigurationError,
    InvalidCostError,
    InvalidDataError,
    InvalidKeyError,
    InvalidLevelError,
    InvalidLimitError,
    InvalidMoveError,
    InvalidShareError,
    InvalidTagError,
    RanchError,
    RoutingError,
    StoreError,
    StoreUnavailableError,
    UnknownEntryError,
)

EXAMPLES = [
    RanchError("refused"),
    ConfigurationError("lease_seconds", -1, "a number above 0"),
    InvalidKeyError("", "a non-empty str"),
    InvalidShareError(0, "a number from 0.01 to 100"),
    InvalidLevelError(11, "a whole number from 0 to 10"),
    InvalidCostError(-1.5, "a number from 0.000001 to 1000000"),
    InvalidLimitError("rate", "5/y", 'a text such as "10/s"'),
    InvalidMoveError("cellery", "a queue that is declared"),
    InvalidDataError(["long"], "at most 8,192 bytes of JSON, with its name"),
    InvalidTagError("a=b", "a name without an equals sign"),
    BacklogFullError("acme/alice", 1000),
    RoutingError("tasks.render", "its exchange leads to two queues"),
    BatchTooLargeError(1001, 1000),
    UnknownEntryError("an-id"),
    StoreError("WRONGTYPE Operation against a key"),
    StoreUnavailableError("connection refused"),
]

CLASSES = {
    found
    for name in errors.__all__
    if issubclass(found := getattr(errors, name), BaseException) and not issubclass(found, Warning)
}

every_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def test_every_error_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == CLASSES


def test_every_error_is_in_the_tree_that_the_module_draws() -> None:
    drawn = {line.strip("│├└─ ").split("(")[0] for line in (errors.__doc__ or "").splitlines()}
    assert {error.__name__ for error in CLASSES} <= drawn


@every_error
def test_an_error_comes_back_from_pickle_as_itself(error: RanchError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@every_error
def test_an_error_comes_back_from_a_json_result_backend_as_itself(error: RanchError) -> None:
    app = Celery("errors", backend="cache+memory://", set_as_current=False)
    stored = json.loads(json.dumps(app.backend.prepare_exception(error, serializer="json")))
    back = app.backend.exception_to_python(stored)
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@every_error
def test_an_error_says_its_facts_in_its_sentence(error: RanchError) -> None:
    assert all(str(fact) in str(error) for fact in error.args if fact != "")


def test_a_value_of_any_size_is_shown_in_a_line() -> None:
    assert len(str(InvalidKeyError("x" * 10_000, "a short str"))) < 200


def test_an_error_about_what_cannot_be_shown_names_its_type() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert "a list is not a key" in str(InvalidKeyError(value, "text"))

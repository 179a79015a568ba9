"""A message comes back from the store exactly as it was written."""

from __future__ import annotations

import pickle
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from celery_ranch import SerializerType
from celery_ranch.envelope import Envelope, pack, unpack

TASK_ID = "d5f6b6a0-1111-2222-3333-444444444444"

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3).filter(
            lambda found: found.keys() != {"__type__", "__value__"}
        )
    ),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index"),
        *("retries", "timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr"),
        *("origin", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps"),
        *("lru_key", "compression", "mine"),
    ]
)
properties = st.sampled_from(
    ["correlation_id", "reply_to", "delivery_mode", "priority", "expiration", "app_id", "mine"]
)
DEFAULTS = {
    "lang": "py",
    "task": "tasks.add",
    "id": TASK_ID,
    "root_id": TASK_ID,
    "retries": 0,
    "timelimit": [None, None],
    "ignore_result": False,
    "stamps": {},
    "correlation_id": TASK_ID,
    "reply_to": "",
    "delivery_mode": 2,
}


@st.composite
def with_defaults(draw: st.DrawFn, keys: st.SearchStrategy[str]) -> dict[str, Any]:
    """Draw headers or properties, most of them as Celery would have them."""
    return {
        name: draw(values) if draw(st.booleans()) else DEFAULTS.get(name)
        for name in draw(st.sets(keys))
    }


envelopes = st.builds(
    Envelope,
    body=st.binary(max_size=20) | st.text(max_size=20),
    content_type=st.sampled_from(["application/json", "application/x-yaml", "a/b"]),
    content_encoding=st.sampled_from(["utf-8", "binary"]),
    headers=with_defaults(names),
    properties=with_defaults(properties),
)


def message(**options: Any) -> Envelope:
    """Build what Celery sends for a call of a task."""
    app = Celery("messages", broker="memory://", set_as_current=False)
    made = app.amqp.as_task_v2(TASK_ID, "tasks.add", (1, 2), {}, **options)
    properties = {**made.properties, "delivery_mode": 2}
    return Envelope("[[1, 2], {}, {}]", "application/json", "utf-8", made.headers, properties)


@given(envelopes)
def test_a_json_message_comes_back_as_it_was(envelope: Envelope) -> None:
    assert unpack(pack(envelope, SerializerType.JSON)) == envelope


@given(envelopes)
def test_a_pickled_message_comes_back_as_it_was(envelope: Envelope) -> None:
    assert unpack(pack(envelope, SerializerType.PICKLE), accept_pickle=True) == envelope


@given(envelopes)
def test_types_are_told_apart_that_python_finds_equal(envelope: Envelope) -> None:
    back = unpack(pack(envelope, SerializerType.JSON))
    assert repr(sorted(back.headers.items())) == repr(sorted(envelope.headers.items()))


def test_a_plain_call_is_stored_in_little_more_than_its_body() -> None:
    envelope = replace(message(), headers={**message().headers, "origin": None})
    facts = len(pack(envelope, SerializerType.JSON)) - len(envelope.body)
    assert facts < 100


def test_the_body_is_stored_as_it_is() -> None:
    body = b'\x00\xff\n"quoted"'
    envelope = Envelope(body, "application/data", "binary", {}, {})
    assert pack(envelope, SerializerType.JSON).endswith(b"\n" + body)


def test_a_message_of_the_older_protocol_comes_back_as_it_was() -> None:
    app = Celery("messages", broker="memory://", set_as_current=False)
    made = app.amqp.as_task_v1(TASK_ID, "tasks.add", (1, 2), {})
    envelope = Envelope("{}", "application/json", "utf-8", made.headers, made.properties)
    assert unpack(pack(envelope, SerializerType.JSON)) == envelope


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "unknown format"),
        (b"\x80junk", "unknown format"),
        (b'{"t":"a","i":"b"}', "body is missing"),
        (b'{"t":\n', "not JSON"),
        (b'{"t":"a"}\n', "not text"),
        (b'{"t":"a","i":7}\n', "not text"),
        (b'{"unheard":1}\n', "unknown facts"),
        (b'{"h":7}\n', "incomplete"),
        (b'{"-":7}\n', "incomplete"),
        (b"P\x00\x00\x00\x09abc", "not accepted"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack(data)


@pytest.mark.parametrize("pickled", [b"", b"\x80\x04junk", pickle.dumps([1])])
def test_a_pickle_that_cannot_be_read_is_refused(pickled: bytes) -> None:
    data = b"P" + len(pickled).to_bytes(4, "big") + pickled
    with pytest.raises(ValueError, match=r"pickle|not an object"):
        unpack(data, accept_pickle=True)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        unpack(data)

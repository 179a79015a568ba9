"""A body is written as kombu writes it, whatever it is made of."""

import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from kombu.compression import decompress
from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads, registry

from celery_ranch.config import SerializerType
from celery_ranch.envelope import unpack
from celery_ranch.publishing.storing import written

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def decoded(body, **options):
    envelope = unpack(written(body, {"serializer": "json", **options}, SerializerType.JSON))
    text = envelope.body
    if "compression" in envelope.headers:
        text = decompress(text, envelope.headers["compression"])
    return loads(text, envelope.content_type, envelope.content_encoding, {"application/json"})


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize(
    "value",
    [
        1,
        "naïve \U0001f410 \x00",
        "\ud800",
        float("inf"),
        {"nested": [{"deep": (1, 2)}]},
        {1: "a number as a name"},
        datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2))),
        date(2030, 1, 2),
        uuid.UUID(int=7),
        Decimal("1.50"),
        b"bytes",
    ],
    ids=repr,
)
def test_a_body_comes_back_as_kombu_would_bring_it(value, compression):
    body = ((value,), {"named": value}, EMBED)
    kind, encoding, text = dumps(body, serializer="json")
    assert decoded(body, compression=compression) == loads(
        text, kind, encoding, {"application/json"}
    )


def test_what_cannot_be_written_is_refused_as_kombu_refuses_it():
    circle = []
    circle.append(circle)
    for value in (object(), circle):
        with pytest.raises(EncodeError):
            written(((value,), {}, EMBED), {"serializer": "json"}, SerializerType.JSON)


def test_an_application_may_have_a_json_of_its_own():
    name, encoder, decoder = "json", registry._encoders["json"], registry._decoders
    own = decoder[encoder[0]]
    registry.register(name, lambda body: '"mine"', own, "application/json", "utf-8")
    try:
        assert decoded(((1,), {}, EMBED)) == "mine"
    finally:
        registry.register(name, encoder[2], own, "application/json", "utf-8")

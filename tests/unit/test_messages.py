"""A fair message decodes its body as kombu's own message does."""

import uuid
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.message import Message
from kombu.serialization import dumps, registry
from kombu.utils.json import loads

from celery_ranch.scheduling.model import Lease
from celery_ranch.worker.leases import Holding
from celery_ranch.worker.messages import FairMessage

HOLDING = Holding(Lease("id", ("acme",), "celery", 1, 0, b""))
BODIES = [
    [[], {}, {"callbacks": None}],
    [[1, 2.5, "é", None, True], {"a": {"b": [1]}}, {}],
    [[datetime(2026, 1, 2, tzinfo=timezone.utc), uuid.UUID(int=7), Decimal("1.5")], {}, {}],
    [["__type__"], {"__type__": "datetime"}, {}],
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_every_body_is_decoded_as_kombu_decodes_it(body: object, serializer: str) -> None:
    content_type, encoding, text = dumps(body, serializer=serializer)
    fields = {
        "body": text,
        "content_type": content_type,
        "content_encoding": encoding,
        "accept": {content_type},
    }
    assert FairMessage(HOLDING, {}, **fields).payload == Message(**fields).payload


def test_what_is_not_accepted_is_not_decoded() -> None:
    content_type, encoding, text = dumps([[], {}, {}], serializer="json")
    message = FairMessage(
        HOLDING, {}, body=text, content_type=content_type, content_encoding=encoding, accept=set()
    )
    with pytest.raises(ContentDisallowed):
        _ = message.payload


def test_the_registry_still_tells_whose_json_it_is() -> None:
    # Without it bodies are decoded by kombu, which is merely slower.
    assert registry._decoders["application/json"] is loads

"""The published AsyncAPI document."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tocsin_common import asyncapi
from tocsin_common.events import EVENT_TYPES, Event, decode
from tocsin_common.requests import ENDPOINTS
from tocsin_common.streams import stream_of

COMMITTED = Path(__file__).parents[3] / "asyncapi.yaml"
GOLDEN = Path(__file__).parent / "golden"


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == asyncapi.text(), "run: python -m tocsin_common.asyncapi > asyncapi.yaml"


def test_every_event_and_every_question_has_a_channel_a_message_and_a_schema() -> None:
    document = yaml.safe_load(COMMITTED.read_text())
    names = {kind.__name__ for kind in EVENT_TYPES}
    asked = {kind.__name__ for endpoint in ENDPOINTS for kind in (endpoint.request, endpoint.reply)}
    assert set(document["channels"]) == names | asked
    assert set(document["components"]["messages"]) == names | asked | {"Problem"}
    assert names <= set(document["components"]["schemas"])


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_golden_events_fit_their_schema_and_their_address(kind: type[Event]) -> None:
    document = asyncapi.document()
    golden = GOLDEN / f"{kind.__struct_config__.tag}.json"
    schema = {"$ref": f"#/components/schemas/{kind.__name__}", "components": document["components"]}
    jsonschema.validate(json.loads(golden.read_bytes()), schema)
    address = asyncapi.ADDRESSES[kind]
    pattern = re.sub(r"\\{original\\}", ".+", re.escape(address))
    event = decode(golden.read_bytes())
    assert re.fullmatch(re.sub(r"\\{\w+\\}", "[^.]+", pattern), event.subject)
    assert stream_of(event.subject) is stream_of(address)


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi.document()
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        place = document
        for part in reference.split("/"):
            place = place[part]

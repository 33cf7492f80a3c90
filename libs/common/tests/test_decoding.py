"""What cannot be read is said to be so, with the place and what it may be, whatever the bytes are."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.alerts import PRICE_RULE as RULE

from tocsin_common import events
from tocsin_common.decoding import decode
from tocsin_common.documents import AlertRule, Subscriber
from tocsin_common.errors import Malformed

DEEP = 100_000


def problem(data: object, kind: object = AlertRule) -> str:
    with pytest.raises(Malformed) as caught:
        decode(data if isinstance(data, bytes) else msgspec.json.encode(data), kind)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "place", "allowed"),
    [
        ({"kind": "pricee"}, "$.kind", "signal, outcome, feed, price, move, volume, indicator, paper, system"),
        ({"direction": "sideways"}, "$.direction", "above, below, either"),
        ({"severity": "loud"}, "$.severity", "critical, info, warning"),
        ({"channels": ["email", "pigeon"]}, "$.channels[1]", "apprise, console, discord, email, telegram"),
    ],
)
def test_a_wrong_choice_is_named_with_those_there_are(change: dict[str, object], place: str, allowed: str) -> None:
    said = problem({**RULE, **change})
    assert f"at `{place}`; it may be {allowed}" in said


def test_a_choice_inside_a_list_of_documents_is_found() -> None:
    subscriber = {"subscriber_id": "me", "name": "Me", "destinations": [{"channel": "pigeon", "address": "loft"}]}
    assert "at `$[0].destinations[0].channel`; it may be apprise, " in problem([subscriber], list[Subscriber])


def test_where_there_is_no_choice_none_is_named() -> None:
    for change in ({"level": "high"}, {"level": -1}, {"kind": 5}, {"exchang": 1}):
        assert "it may be" not in problem({**RULE, **change})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'{"kind": "price", "name": "\xff"}',
        b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"kind": "pricee", "x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        b'{"kind": "price", "channels": ["pigeon"], "channels": 5}',
        b'{"kind": "price", "channels": ["pigeon"], "x": tru',
    ],
)
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    assert problem(data)
    with pytest.raises(Malformed):
        events.decode(data)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["price", "pigeon", "above"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from([*RULE, "channels"]), inside),
)


@given(st.dictionaries(st.sampled_from([*RULE, "channels", "direction", "severity", "hours"]), json))
def test_whatever_a_field_holds_the_answer_is_a_document_or_a_problem(change: dict[str, object]) -> None:
    with suppress(Malformed):
        decode(msgspec.json.encode({**RULE, **change}), AlertRule)  # type: ignore[arg-type]

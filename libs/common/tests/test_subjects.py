"""Names in subjects: reversible, legal, and split as the server splits them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_common import subjects
from tocsin_common.streams import STREAMS, stream_of

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(NAMES)
def test_any_name_survives_the_way_into_a_subject_and_back(name: str) -> None:
    token = subjects.encode_token(name)
    assert subjects.decode_token(token) == name
    assert re.fullmatch(r"[-_=A-Za-z0-9]+", token)


@given(NAMES, NAMES)
def test_different_names_never_share_a_token(one: str, other: str) -> None:
    assert (subjects.encode_token(one) == subjects.encode_token(other)) == (one == other)


@given(st.text("ABCab01-_=./:é", max_size=12))
def test_a_token_that_was_not_encoded_by_us_is_refused(token: str) -> None:
    try:
        name = subjects.decode_token(token)
    except ValueError:
        return
    assert subjects.encode_token(name) == token


@pytest.mark.parametrize(
    ("symbol", "token"), [("BTC/USDT", "BTC-USDT"), ("BTC/USDT:USDT", "BTC-USDT_USDT"), ("A.B-C", "A=2EB=2DC")]
)
def test_symbols_stay_readable(symbol: str, token: str) -> None:
    assert subjects.encode_token(symbol) == token


def test_the_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        subjects.encode_token("")


@given(NAMES, NAMES)
def test_every_instrument_has_a_partition(exchange: str, symbol: str) -> None:
    assert 0 <= subjects.partition_of(exchange, symbol) < subjects.PARTITIONS


def test_the_partition_of_an_instrument_is_for_ever() -> None:
    assert [subjects.partition_of("binance", symbol) for symbol in ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")] == [
        19,
        47,
        56,
    ]


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.d", False),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.b", "a.b", True),
        ("a.b", "a", False),
        (">", "a", True),
    ],
)
def test_patterns_match_as_the_server_matches_them(pattern: str, subject: str, expected: bool) -> None:
    assert subjects.matches(pattern, subject) is expected


def test_no_two_streams_take_the_same_subject() -> None:
    for stream in STREAMS:
        for pattern in stream.subjects:
            example = pattern.replace("*", "x").replace(">", "x.y")
            assert [s.name for s in STREAMS if any(subjects.matches(p, example) for p in s.subjects)] == [stream.name]


def test_a_subject_nobody_stores_is_a_mistake() -> None:
    with pytest.raises(LookupError, match=r"market\.unknown"):
        stream_of("market.unknown")

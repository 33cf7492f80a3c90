"""The strategies' reasons in other languages: all that ours say is known, with every figure where it belongs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.words.phrases import NUMBER, PARTS, phrases, reason
from signal_engine.strategies import STRATEGIES
from signal_engine.strategies.votes import VOTES
from tocsin_common.events import Language, Side

OTHERS: list[Language] = [language for language in get_args(Language) if language != "en"]


class Row(dict[str, Any]):
    """Every figure that a strategy may ask for."""

    def __missing__(self, name: str) -> float:
        return 12.5 + len(name)


def rows() -> Iterator[Row]:
    """Markets of every kind as far as words depend on it."""
    blocks = itertools.product((None, 1.0), repeat=2)
    for way, close, (bull, bear) in itertools.product((-1, 0, 1), (1.0, 2.0, 3.0), blocks):
        yield Row(
            {vote.column: way for vote in VOTES}
            | {"trend": way, "open": 2.0, "close": close, "bull_block_low": bull, "bear_block_low": bear}
        )


def said() -> set[str]:
    """Whatever our strategies may say, without the figures."""
    found: set[str] = set()
    for strategy, side in itertools.product((kind(kind.params_type()) for kind in STRATEGIES.values()), get_args(Side)):
        found.update(*(strategy.judge(row, side).reasons for row in plausible(strategy.name)))
    return found


def plausible(name: str) -> list[Row]:
    if name == "confluence":
        return list(rows())
    return [Row(bull_block_low=1.0, bear_block_low=1.0)]


@pytest.mark.parametrize("language", OTHERS)
def test_all_that_our_strategies_say_is_known_and_nothing_else_is_kept(language: Language) -> None:
    spoken = {NUMBER.sub("{}", part) for text in said() for part in text.split(PARTS)}
    assert spoken == phrases(language).keys()


@pytest.mark.parametrize("language", OTHERS)
def test_every_figure_stays_in_its_place(language: Language) -> None:
    for text in said():
        assert NUMBER.findall(reason(text, language)) == NUMBER.findall(text)


def test_a_reason_is_said_in_other_words() -> None:
    english = "EMA 12 (-1.5e-05) crossed above EMA 26 (64123.5)"
    assert reason(english, "id") == "EMA 12 (-1.5e-05) memotong EMA 26 (64123.5) ke atas"
    assert reason(english, "en") == english


@given(st.text(max_size=100), st.sampled_from(sorted(phrases("id"))))
def test_what_is_not_known_stays_as_it_was_said(text: str, phrase: str) -> None:
    for hostile in (text, f"{phrase}{text}!", phrase, f"{text}{PARTS}{phrase}", "{0.__class__}"):
        said = reason(hostile, "id")
        assert said == hostile or "{" not in hostile

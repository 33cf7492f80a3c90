"""What outsiders write shows as text wherever an alert takes it: in titles, texts, fields, digests, pictures and the
bot's sentences. That every channel shows an alert as it is, is a law of the channels' suite.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageFont
from tests.channels.telegram import TEXT_MAX, parse
from tests.hostile import CLUSTERS, CORPUS, FROM_OUTSIDE, TEXTS, flat, shows

from alerting.bot.phrases import VALUE_MAX, phrases
from alerting.channels import Message
from alerting.channels.discord import payload
from alerting.channels.telegram import markup
from alerting.channels.text import ELLIPSIS, cut, one_line, shown, utf16_length
from alerting.digests.compose import MAX_LINES, compose
from alerting.matching.causes import Cause, Match, Notice
from alerting.matching.indicators import Reached
from alerting.matching.moves import Move
from alerting.matching.paper import Drawdown, Opened
from alerting.matching.prices import Crossing
from alerting.matching.system import Trouble
from alerting.matching.volumes import Spike
from alerting.picture.canvas import SIGNS, legible
from alerting.picture.chart import Candles, Chart
from alerting.picture.draw import draw
from alerting.picture.report import draw_report
from alerting.reports.reported import Reported
from alerting.words.render import of_match
from alerting.words.voice import Voice
from tocsin_common.documents import SignalRule
from tocsin_common.errors import Malformed
from tocsin_common.events import AlertRaised, AnyEvent, DigestLine, PortfolioOpened, SignalRaised, decode
from tocsin_common.events import StrategyQuarantined as Quarantined

GOLDEN = Path(__file__).parents[3] / "libs/common/tests/golden"
OURS = frozenset({"type", "kind", "zone", "period", "equity", "drawdown", "timeframe", "language"})
"""Strings of events that nobody outside chooses, or that are numbers."""

VOICES = [Voice("en"), Voice("id", "Asia/Jakarta")]


def an_event(name: str, text: str) -> AnyEvent:
    """The golden event with `text` wherever its type takes any text."""
    tree = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    for (holder, key), free in zip(list(strings_of(tree)), places(name), strict=True):
        holder[key] = text if free else holder[key]
    return decode(json.dumps(tree).encode())


@cache
def places(name: str) -> list[bool]:
    """For each string of a golden event, whether its type takes any text there."""
    tree = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    found = []
    for holder, key in list(strings_of(tree)):
        usual, holder[key] = holder[key], "any"
        try:
            decode(json.dumps(tree).encode())
            found.append(True)
        except Malformed:
            found.append(False)
        holder[key] = usual
    return found


def strings_of(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, str) and key not in OURS:
            yield tree, key
        elif isinstance(value, dict | list):
            yield from strings_of(value)


def causes(text: str) -> Iterator[Cause]:
    """Everything that rings, with `text` for all that has a name or says something."""
    for name in ("signal.v1", "outcome.v1", "feed.v1", "paper_fill.v1"):
        yield an_event(name, text)  # type: ignore[misc]
    for name in ("quarantine.v1", "dead.v1"):
        event = an_event(name, text)
        yield Trouble(event, "quarantine" if isinstance(event, Quarantined) else "dead_letter", text, text, 0)  # type: ignore[arg-type]
    opened, report = an_event("paper_opened.v1", text), an_event("alert.v1+report", text)
    assert isinstance(opened, PortfolioOpened)
    assert isinstance(report, AlertRaised)
    assert report.report
    yield Opened(opened)
    yield Reported(report.report, 0)
    yield Drawdown(text, 1, 10.0, opened.cash, opened.cash / 2, 0)
    yield Crossing(text, text, 100.0, "above", 99.0, 101.0, 0, text)
    yield Move(text, text, 5.0, 900, "up", 100.0, 106.0, 0, text)
    yield Spike(text, text, text, 20, 1.0, 5.0, 100.0, 0)
    yield Reached(text, text, text, "rsi_14", "below", "ema_200", 29.0, 30.0, 100.0, 0)
    yield Notice(text, 0, text)


def messages(text: str) -> Iterator[Message]:
    for cause in causes(text):
        rule = SignalRule(rule_id="r", name=text[:200], note=text[:2000], subscribers=["ann"], severity="critical")
        for voice in VOICES:
            said = of_match(Match.of(rule, 1, cause, 0), voice)
            yield Message("d", "a", said.title, said.text, said.fields, 0, voice=voice)


@pytest.mark.parametrize("text", FROM_OUTSIDE, ids=range(len(FROM_OUTSIDE)))
def test_whatever_rules_and_events_say_an_alert_is_one_that_receivers_take(text: str) -> None:
    for message in messages(text):
        assert message.title == flat(message.title) != ""
        assert "" not in message.fields.values()
        assert not [one for one in message.fields.values() if "\n" in one]
        rule = message.fields.get(message.voice.say("fields.rule"))
        assert rule is None or rule == one_line(text[:200])
        seen = parse(markup(message), "HTML")
        assert shows(seen.bold[0], message.title)
        assert utf16_length(seen.text) <= TEXT_MAX
        assert json.loads(json.dumps(payload(message)))["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize("text", FROM_OUTSIDE, ids=range(len(FROM_OUTSIDE)))
def test_a_digest_has_a_line_for_each_of_its_alerts_and_no_other(text: str) -> None:
    line = an_event("digest_line.v1", text)
    assert isinstance(line, DigestLine)
    assert line.title == text
    for count in (2, MAX_LINES, MAX_LINES + 1):
        lines = [msgspec.structs.replace(line, reason="hourly", ts_ms=n) for n in range(count)]
        said = compose(lines, "telegram", Voice(), now_ms=0)
        shown_lines = Message("d", "a", said.title, said.text, said.fields, 0).text.splitlines()
        assert len(shown_lines) == (1 if count > MAX_LINES else count)
        assert count > MAX_LINES or all(one.endswith(one_line(text)) for one in shown_lines)


def test_what_is_written_on_a_picture_is_nothing_but_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is ever opened as a file."""
    prices = np.full(3, 100.0)
    rows = Candles(np.arange(3) * 3_600_000, prices, prices, prices, prices, prices)
    for text in FROM_OUTSIDE:
        assert not [char for char in legible(text) if not (" " <= char <= "~" or char in SIGNS)]
    for text in ("usual", " ".join(TEXTS), "\N{BELL}" * 10_000):
        signal, report = an_event("signal.v1", text), an_event("alert.v1+report", text)
        assert isinstance(signal, SignalRaised)
        assert isinstance(report, AlertRaised)
        assert report.report
        assert draw(Chart(msgspec.structs.replace(signal, timeframe="1h"), rows, {text: prices})).startswith(b"\x89PNG")
        assert draw_report(report.report).startswith(b"\x89PNG")
        monkeypatch.setattr(Image, "open", None)  # what is opened, the first picture opened
        monkeypatch.setattr(ImageFont, "truetype", None)


@pytest.mark.parametrize("text", CORPUS, ids=range(len(CORPUS)))
def test_the_bots_sentences_hold_what_they_are_given_and_no_more(text: str) -> None:
    for language in ("en", "id"):
        say = phrases(language)
        usual = parse(say("rules.refused", problem="x"), "HTML")
        seen = parse(say("rules.refused", problem=text), "HTML")
        before, _, after = usual.text.partition("x")
        before = before if CORPUS[text] else before.rstrip()
        assert seen.text.startswith(before)
        assert seen.text.endswith(after)
        value = seen.text.removeprefix(before).removesuffix(after)
        assert shows(value, CORPUS[text])
        assert utf16_length(value) <= VALUE_MAX
        plain = say.plain("rules.refused", problem=text).strip()
        assert shows(plain.removeprefix(before).removesuffix(after), CORPUS[text])


@pytest.mark.parametrize("text", CORPUS, ids=range(len(CORPUS)))
def test_what_is_shown_of_a_text_is_shown_again_alike(text: str) -> None:
    assert shown(text) == CORPUS[text]
    assert shown(shown(text)) == shown(text)
    assert one_line(text) == flat(CORPUS[text])


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_no_sign_is_cut_in_two(cluster: str) -> None:
    for before in ("", "x", "e\u0301x"):
        text = before + cluster * 20
        for limit in range(utf16_length(text) + 2):
            kept = cut(text, limit).removesuffix(ELLIPSIS)
            assert utf16_length(cut(text, limit)) <= limit
            assert kept in (before, "", before[:2]) or kept.removeprefix(before) == cluster * (
                len(kept.removeprefix(before)) // len(cluster)
            )


def test_a_message_is_clean_however_it_came_about() -> None:
    message = Message("d", "a", "t", "x", {}, 0)
    assert replace(message, title="a\r\nb", fields={"n\n": "v\x00"}) == replace(message, title="a b", fields={"n": "v"})

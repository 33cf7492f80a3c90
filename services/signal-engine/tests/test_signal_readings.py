"""Indicators of every closed candle, for rules that look at them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.engine import Engine
from signal_engine.history import anchored, signals_of
from signal_engine.indicators.registry import INDICATORS, by_column
from signal_engine.readings import Readings
from signal_engine.strategies import build
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, IndicatorsComputed
from tocsin_common.streams import INDICATORS as STREAM
from tocsin_common.streams import Stream

Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]
Play = Callable[..., Awaitable[None]]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]

COLUMNS = ["rsi_14", "ema_200", "swing_high_price_5"]


@pytest.fixture(scope="module")
def candles(minutes: pl.DataFrame) -> pl.DataFrame:
    """3,000 minutes of two markets: more than EMA 200 remembers."""
    rows = minutes.filter(pl.col("symbol") != "MATIC/USDT")
    return rows.group_by("symbol", maintain_order=True).head(3_000).select(minutes.columns)


@pytest.fixture(scope="module")
def computed(candles: pl.DataFrame, chop: Chop) -> list[IndicatorsComputed]:
    engine, found = Engine([build("ema_cross")], ["1m"], indicators=COLUMNS), []
    for message in chop(candles, random.Random(5)):
        engine.add([message])
        engine.evaluate()
        found += engine.compute()
    return found


def test_every_candle_has_the_values_of_the_whole_history(
    candles: pl.DataFrame, computed: list[IndicatorsComputed]
) -> None:
    warm_up = Readings(COLUMNS).warm_up_candles
    frame = anchored(candles.with_columns(new=pl.lit(value=True)), 60_000, warm_up)
    rows = frame.with_columns(ind.rsi(14), ind.ema(200)).filter("new")
    symbols = candles["symbol"].unique().sort().to_list()
    expected = {(symbols[row["series"]], row["open_ms"]): row for row in rows.iter_rows(named=True)}
    assert computed[-1].values.keys() >= {"rsi_14", "ema_200"}
    for event in computed:
        row = expected[event.symbol, event.open_ms]
        for name in event.values.keys() & {"rsi_14", "ema_200"}:
            assert event.values[name] == row[name]


def test_what_is_not_warm_is_absent(candles: pl.DataFrame, computed: list[IndicatorsComputed]) -> None:
    firsts = candles.group_by("symbol").agg(pl.col("open_ms").min()).rows()
    first_ms = dict(firsts)
    for event in computed:
        preceding = (event.open_ms - first_ms[event.symbol]) // 60_000
        assert ("rsi_14" in event.values) == (preceding >= ind.memory_of("rsi_14"))
        if preceding < ind.memory_of("ema_200"):
            assert "ema_200" not in event.values


def test_what_is_asked_for_changes_no_signal(candles: pl.DataFrame, chop: Chop) -> None:
    engine = Engine([build("ema_cross")], ["1m"], indicators=["ema_200"])
    engine.add(chop(candles, random.Random(2)))
    assert engine.evaluate() == signals_of([build("ema_cross")], candles)
    assert engine.windows.kept_candles > engine.evaluation.warm_up_candles


async def test_they_are_published_once_each_with_their_round_and_after_a_restart_go_on(
    candles: pl.DataFrame, chop: Chop, play: Play, stored: StoredEvents, computed: list[IndicatorsComputed]
) -> None:
    bus, messages = MemoryBus(), [[message] for message in chop(candles, random.Random(3))]
    half = len(messages) // 2
    for part in (messages[:half], messages[half:]):
        await play(bus, Engine([build("ema_cross")], ["1m"], indicators=COLUMNS), part)
    published = await stored(bus, STREAM)
    place = ("symbol", "open_ms")
    assert sorted(published, key=lambda event: [getattr(event, name) for name in place]) == sorted(
        computed, key=lambda event: [getattr(event, name) for name in place]
    )
    assert published[0].subject.startswith("indicators.binance.")


async def test_nothing_is_computed_when_nothing_is_asked_for(
    candles: pl.DataFrame, chop: Chop, play: Play, stored: StoredEvents
) -> None:
    bus, engine = MemoryBus(), Engine([build("ema_cross")], ["1m"])
    await play(bus, engine, [list(chop(candles, random.Random(3)))])
    assert await stored(bus, STREAM) == []
    assert engine.windows.kept_candles == engine.evaluation.warm_up_candles


@pytest.mark.parametrize("indicator", INDICATORS, ids=lambda indicator: indicator.name)
def test_every_indicator_is_found_by_the_name_of_its_column(indicator: Any) -> None:
    column = indicator()
    assert by_column(column.meta.output_name()).meta.eq(column)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("astrology_14", "no indicator behind the column 'astrology_14'; there are adx_14, atr_14, "),
        ("rsi", "it would be 'rsi_14'"),
        ("rsi_14_3", "it would be 'rsi_14'"),
        ("rsi_014", "it would be 'rsi_14'"),
        ("rsi_1", "rsi_1 cannot be computed"),
        ("obv", "no bounded memory"),
        ("ema_2000", "candles to warm up, 8192 at most are kept"),
    ],
)
def test_a_column_that_cannot_be_had_is_refused_in_a_sentence(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        Readings([name])

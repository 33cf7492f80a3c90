"""What holds for every shipped strategy, on any candles."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_engine.engine import Engine
from signal_engine.evaluation import Evaluation, order
from signal_engine.history import signals_of
from signal_engine.lookahead import check_lookahead
from signal_engine.rehearsal import rehearse
from signal_engine.strategies import BY_DEFAULT, STRATEGIES, AnyStrategy, build
from tocsin_common.events import CandlesClosed, SignalRaised, encode
from tocsin_trading.timeframes import TIMEFRAME_MS

Market = Callable[..., pl.DataFrame]
WithHigher = Callable[..., pl.DataFrame]
Chunk = Callable[..., CandlesClosed]

TIMEFRAMES = ("5m", "15m", "1h", "4h")
JUDGED_ALONE = {"vwap_reversion": ("5m", "15m", "1h"), "confluence": ("15m",)}
"""Timeframes of the strategies that do not judge all of them."""

CANDLES = 1_600
"""Candles of 15m in which those of 4h get warm, too."""


def all_strategies() -> list[AnyStrategy]:
    return [build(name) for name in STRATEGIES]


def as_bytes(signals: list[SignalRaised]) -> list[bytes]:
    return [encode(signal) for signal in sorted(signals, key=order)]


@pytest.fixture(scope="module")
def in_a_month(month: pl.DataFrame) -> list[SignalRaised]:
    return signals_of(all_strategies(), month)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from((1, 3, 20)), share=st.floats(0.5, 1))
def test_later_candles_change_no_earlier_signal(
    market: Market, with_higher: WithHigher, seed: int, step: int, share: float
) -> None:
    whole = wandering(market, with_higher, seed, step)
    cut_ms = int(share * CANDLES) * TIMEFRAME_MS["15m"]
    length_ms = pl.col("timeframe").replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64)
    past = whole.filter(pl.col("open_ms") + length_ms <= cut_ms)
    strategies = [build(name) for name in BY_DEFAULT]
    earlier = [signal for signal in signals_of(strategies, whole) if signal.confirmed_ms <= cut_ms]
    assert as_bytes(signals_of(strategies, past)) == as_bytes(earlier)


def bounds(kind: type[AnyStrategy]) -> Iterator[dict[str, object]]:
    """The ends of every parameter's range, each alone."""
    for name, field in kind.params_type.model_fields.items():
        for limit in ("ge", "le"):
            yield from ({name: getattr(one, limit)} for one in field.metadata if hasattr(one, limit))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_runs_at_both_ends_of_every_parameter(name: str) -> None:
    built = []
    for params in bounds(STRATEGIES[name]):
        with suppress(ValueError):  # some bounds do not go with the other parameters' defaults
            built.append(build(name, params, instance=f"{name}_{len(built)}"))
    evaluation = Evaluation(built)
    rehearse(evaluation)
    assert len(built) >= 6
    assert evaluation.quarantined == []


def wandering(market: Market, with_higher: WithHigher, seed: int, step: int) -> pl.DataFrame:
    """A random walk on a coarse grid, with bursts of volume: equal highs, flat stretches, jumps."""
    rng = np.random.default_rng(seed)
    closes = 1_000 + np.cumsum(rng.integers(-step, step + 1, CANDLES)) / 8
    volumes = dict(enumerate((rng.integers(0, 50, CANDLES) / 8).tolist()))
    return with_higher(market(closes.clip(50).tolist(), volumes, "15m"), "1h", "4h")


def test_live_equals_history_byte_for_byte_in_several_timeframes(
    month: pl.DataFrame, in_a_month: list[SignalRaised], candles_event: Chunk
) -> None:
    rng, engine = random.Random(0), Engine(all_strategies(), TIMEFRAMES)
    found, complete_ms = list[SignalRaised](), 0
    for until_ms, messages in slices(month, candles_event, rng):
        for message in messages:
            engine.add([message])
            if rng.random() < 0.05:
                found += engine.evaluate(complete_ms)
        complete_ms = until_ms
        found += engine.evaluate(complete_ms)
    assert as_bytes(found) == as_bytes(in_a_month)
    assert (engine.evaluation.quarantined, engine.evaluation.dropped) == ([], {})


def slices(candles: pl.DataFrame, message: Chunk, rng: random.Random) -> Iterator[tuple[int, list[CandlesClosed]]]:
    """Cuts time at random: all that closed up to a moment comes together, in any order of its series."""
    closes_ms = pl.col("open_ms") + pl.col("timeframe").replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64)
    ordered = candles.with_columns(closes_ms=closes_ms).sort("closes_ms")
    start_ms, end_ms = ordered["closes_ms"][0] - 1, ordered["closes_ms"][-1]
    while start_ms < end_ms:
        until_ms = start_ms + rng.choice((5, 15, 60, 240, 1_440)) * 60_000
        part = ordered.filter(pl.col("closes_ms").is_between(start_ms, until_ms, closed="right"))
        messages = [message(rows) for _, rows in part.group_by("symbol", "timeframe", maintain_order=True)]
        rng.shuffle(messages)
        yield until_ms, messages
        start_ms = until_ms


def test_every_strategy_fires_on_real_candles_and_none_on_every_one(
    month: pl.DataFrame, in_a_month: list[SignalRaised]
) -> None:
    counts = Counter(signal.strategy for signal in in_a_month)
    for name in STRATEGIES:
        timeframes = JUDGED_ALONE.get(name, TIMEFRAMES)
        share = counts[name] / len(month.filter(pl.col("timeframe").is_in(timeframes)))
        assert 0.001 < share < 0.03, name
        assert {signal.side for signal in in_a_month if signal.strategy == name} == {"long", "short"}


def test_prices_and_confidence_make_sense_on_every_real_signal(in_a_month: list[SignalRaised]) -> None:
    for signal in in_a_month:
        assert 40 <= signal.confidence <= 100
        assert signal.reasons
        path = [signal.stop, signal.entry, *signal.targets]
        assert path == sorted(path, reverse=signal.side == "short")
        assert signal.risk is not None
        assert min(signal.stop, signal.entry) <= signal.risk.invalidation <= max(signal.stop, signal.entry)


@pytest.mark.parametrize("name", STRATEGIES)
def test_confidence_tells_entries_apart(name: str, in_a_month: list[SignalRaised]) -> None:
    found = {signal.confidence for signal in in_a_month if signal.strategy == name}
    assert len(found) >= 5
    assert max(found) - min(found) >= 20


def test_nothing_fires_while_a_market_stands_still(market: Market, with_higher: WithHigher) -> None:
    still = market([100.0] * CANDLES, timeframe="15m").with_columns(high=pl.lit(100.0), low=pl.lit(100.0))
    for volume in (0.0, 1.0):
        candles = with_higher(still.with_columns(volume=pl.lit(volume)), "1h", "4h")
        assert signals_of(all_strategies(), candles) == []


def test_a_market_upside_down_gives_the_other_side_on_the_same_candles(
    month: pl.DataFrame, in_a_month: list[SignalRaised]
) -> None:
    top = 2 * pl.col("high").max().over("symbol")
    flipped = {"open": "open", "high": "low", "low": "high", "close": "close"}
    mirror = month.with_columns((top - pl.col(of)).alias(name) for name, of in flipped.items())
    others = {"long": "short", "short": "long"}

    def told(signal: SignalRaised, side: str) -> tuple[object, ...]:
        return signal.strategy, signal.symbol, signal.timeframe, signal.candle_open_ms, side, signal.confidence

    expected = {told(signal, others[signal.side]) for signal in in_a_month}
    found = {told(signal, signal.side) for signal in signals_of(all_strategies(), mirror)}
    assert found == expected


def test_no_strategy_looks_ahead_in_any_timeframe(month: pl.DataFrame) -> None:
    some = month.filter((pl.col("symbol") == "ETH/USDT") & (pl.col("timeframe") != "5m"))
    short = some.filter(pl.col("open_ms") < pl.col("open_ms").min() + 17 * TIMEFRAME_MS["1d"])
    verdicts = check_lookahead([build(name) for name in BY_DEFAULT], short, cuts=5, seed=1)
    assert {name: len(verdict.differing) for name, verdict in verdicts.items() if verdict.differing} == {}
    assert all(verdict.signals for verdict in verdicts.values())

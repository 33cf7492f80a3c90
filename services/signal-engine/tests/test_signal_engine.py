"""Live equals history, whatever the grouping."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import polars as pl
import pytest

from signal_engine.engine import Engine
from signal_engine.evaluation import Evaluation, order
from signal_engine.history import signals_of
from signal_engine.rehearsal import rehearse
from signal_engine.strategies import BY_DEFAULT, AnyStrategy, build
from tocsin_common.events import CandlesClosed, SignalRaised, encode
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]
Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]


def all_strategies() -> list[AnyStrategy]:
    return [build(name) for name in BY_DEFAULT]


def as_bytes(signals: list[SignalRaised]) -> list[bytes]:
    return [encode(signal) for signal in sorted(signals, key=order)]


def fed(engine: Engine, messages: Iterator[CandlesClosed], rng: random.Random) -> list[SignalRaised]:
    """Evaluates after a random number of messages, again and again."""
    signals = []
    for message in messages:
        engine.add([message])
        if rng.random() < 0.3:
            signals += engine.evaluate()
    return signals + engine.evaluate()


@pytest.mark.parametrize("seed", range(3))
def test_live_equals_history_byte_for_byte_on_minutes(minutes: pl.DataFrame, chop: Chop, seed: int) -> None:
    rng = random.Random(seed)
    found = fed(Engine(all_strategies(), ["1m"]), chop(minutes, rng), rng)
    assert len(found) > 100
    assert as_bytes(found) == as_bytes(signals_of(all_strategies(), minutes))


def test_live_equals_history_byte_for_byte_on_ten_years(four_hours: pl.DataFrame, chop: Chop) -> None:
    rng = random.Random(7)
    found = fed(Engine(all_strategies(), ["4h"]), chop(four_hours, rng), rng)
    assert len(found) > 100
    assert as_bytes(found) == as_bytes(signals_of(all_strategies(), four_hours))


def test_a_restart_anywhere_changes_nothing(minutes: pl.DataFrame, chop: Chop) -> None:
    rng = random.Random(11)
    messages = list(chop(minutes, rng))
    expected = as_bytes(signals_of(all_strategies(), minutes))
    for cut in rng.sample(range(len(messages)), 5):
        before, after = Engine(all_strategies(), ["1m"]), Engine(all_strategies(), ["1m"])
        before.add(messages[:cut])
        after.add(messages[:cut], warm_up=True)
        after.add(messages[cut:])
        assert as_bytes(before.evaluate() + after.evaluate()) == expected


@pytest.mark.parametrize("seed", range(3))
def test_evaluating_some_before_a_mark_changes_nothing_late_candles_and_higher_timeframes_included(
    month: pl.DataFrame, chop: Chop, seed: int
) -> None:
    rng = random.Random(seed)
    candles = month.filter(pl.col("timeframe").is_in(["15m", "1h", "4h"]))
    messages = list(chop(candles, rng))
    for _ in range(len(messages) // 10):
        at = rng.randrange(len(messages) - 9)
        messages.insert(at + rng.randrange(1, 9), messages.pop(at))
    whole, sliced = (Engine(all_strategies(), ["15m", "1h", "4h"]) for _ in range(2))
    found: list[SignalRaised] = []
    time_ms = 0
    while messages:
        part, messages = messages[:12], messages[12:]
        for message in part:
            sliced.add([message])
            if rng.random() < 0.5:
                sliced.evaluate_some()
        whole.add(part)
        time_ms = max(time_ms, *(TIMEFRAME_MS[one.timeframe] + one.open_ms[-1] for one in part))
        signals = whole.evaluate(time_ms)
        assert [encode(signal) for signal in sliced.evaluate(time_ms)] == [encode(signal) for signal in signals]
        found += signals
    assert len(found) > 100


def test_no_strategy_looks_ahead(minutes: pl.DataFrame) -> None:
    cut = minutes["open_ms"].median()
    whole = signals_of(all_strategies(), minutes)
    past = signals_of(all_strategies(), minutes.filter(pl.col("open_ms") <= cut))
    assert as_bytes(past) == as_bytes([signal for signal in whole if signal.candle_open_ms <= cut])


def test_a_market_is_not_affected_by_its_neighbours(minutes: pl.DataFrame) -> None:
    alone = signals_of(all_strategies(), minutes.filter(pl.col("symbol") == "ETH/USDT"))
    together = signals_of(all_strategies(), minutes)
    assert as_bytes(alone) == as_bytes([signal for signal in together if signal.symbol == "ETH/USDT"])


def test_history_warms_up_and_raises_nothing(minutes: pl.DataFrame, candles_event: Chunk) -> None:
    rows = minutes.filter(pl.col("symbol") == "ADA/USDT")
    engine = Engine(all_strategies(), ["1m"])
    engine.add([candles_event(rows[:2_500], origin="history")])
    assert engine.evaluate() == []
    engine.add([candles_event(rows[2_500:])])
    later = [s for s in signals_of(all_strategies(), rows) if s.candle_open_ms >= rows["open_ms"][2_500]]
    assert as_bytes(engine.evaluate()) == as_bytes(later)
    assert engine.tally == {"warmed": 2_500, "evaluated": 2_500, "duplicate": 0, "late": 0, "dropped": 0}


def test_a_timeframe_nobody_asked_for_and_a_correction_are_left_alone(
    minutes: pl.DataFrame, candles_event: Chunk
) -> None:
    rows = minutes.head(1_000)
    engine = Engine(all_strategies(), ["1m"])
    engine.add([candles_event(rows, timeframe="5m"), candles_event(rows, revision=1)])
    assert engine.evaluate() == []
    assert engine.tally == {"correction": 1_000}


@pytest.mark.parametrize("seed", range(3))
def test_late_candles_have_the_same_effect_however_messages_are_batched(
    minutes: pl.DataFrame, chop: Chop, seed: int
) -> None:
    rng = random.Random(seed)
    messages = list(chop(minutes.filter(pl.col("symbol") != "MATIC/USDT"), rng))
    for _ in range(20):  # some messages arrive late, some twice
        late = messages.pop(rng.randrange(len(messages)))
        messages.insert(rng.randrange(len(messages)), late)
        messages.insert(rng.randrange(len(messages)), rng.choice(messages))
    one_by_one = Engine(all_strategies(), ["1m"])
    expected = []
    for message in messages:
        one_by_one.add([message])
        expected += one_by_one.evaluate()
    batched = Engine(all_strategies(), ["1m"])
    assert as_bytes(fed(batched, iter(messages), rng)) == as_bytes(expected)
    assert batched.tally == one_by_one.tally
    assert batched.tally["late"] > 0


def test_signals_come_in_the_order_of_confirmation(minutes: pl.DataFrame, chop: Chop) -> None:
    engine = Engine(all_strategies(), ["1m"])
    engine.add(chop(minutes, random.Random(1)))
    signals = engine.evaluate()
    keys = [(s.confirmed_ms, s.exchange, s.symbol, s.timeframe, s.strategy) for s in signals]
    assert keys == sorted(keys)
    assert len({signal.signal_id for signal in signals}) == len(signals)


def test_a_message_that_is_out_of_order_within_itself_is_left_out(minutes: pl.DataFrame, candles_event: Chunk) -> None:
    engine = Engine(all_strategies(), ["1m"])
    engine.add([candles_event(minutes.head(500).reverse())])
    assert engine.tally == {"disordered": 500}


def test_the_rehearsal_asks_every_strategy_and_finds_nothing_wrong_with_them() -> None:
    evaluation = Evaluation(all_strategies())
    assert {signal.side for signal in rehearse(evaluation)} == {"long", "short"}
    assert (evaluation.quarantined, evaluation.dropped) == ([], {})

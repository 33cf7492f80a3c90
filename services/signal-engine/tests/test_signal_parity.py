"""Live against history: what differs is found, and what honestly cannot be equal is counted by its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
import polars as pl
import pytest

from signal_engine.engine import Engine
from signal_engine.excuses import Judges, Live
from signal_engine.parity import Parity, parity_of
from signal_engine.recording import Recording
from signal_engine.strategies import BY_DEFAULT, build
from signal_engine.strategies.ema_cross import EmaCross, EmaCrossParams
from tocsin_common.events import CandlesClosed, SignalRaised, StrategyQuarantined

Chunk = Callable[..., CandlesClosed]

END_MS = 2**62
JUDGES = Judges([build(name) for name in BY_DEFAULT], ["1m"])
ROWS = 40
"""Candles in a message."""


def recorded(messages: Iterable[CandlesClosed], since_ms: int = 0) -> Recording:
    recording = Recording(JUDGES.reach_ms(since_ms))
    for message in messages:
        recording.add(message)
    return recording


def live_of(messages: Sequence[CandlesClosed]) -> list[SignalRaised]:
    """The signals of an engine that evaluates after every message."""
    engine, signals = Engine(JUDGES.strategies, JUDGES.timeframes), list[SignalRaised]()
    for message in messages:
        engine.add([message])
        signals += engine.evaluate()
    return signals


def compared(
    messages: Sequence[CandlesClosed],
    signals: Sequence[SignalRaised],
    *,
    quarantines: Sequence[StrategyQuarantined] = (),
    trimmed: bool = False,
    settled_ms: int = END_MS,
    since_ms: int = 0,
    until_ms: int = END_MS,
) -> Parity:
    live = Live(recorded(messages, since_ms), signals, quarantines, settled_ms, trimmed)
    return parity_of(JUDGES, live, since_ms=since_ms, until_ms=until_ms)


@pytest.fixture(scope="module")
def market(minutes: pl.DataFrame, candles_event: Chunk) -> list[CandlesClosed]:
    """5,000 candles of one market, in messages of ROWS."""
    rows = minutes.filter(pl.col("symbol") == "ETH/USDT")
    return [candles_event(part) for part in rows.iter_slices(ROWS)]


@pytest.fixture(scope="module")
def signals(market: list[CandlesClosed]) -> list[SignalRaised]:
    return live_of(market)


def test_an_honest_engine_is_equal(market: list[CandlesClosed], signals: list[SignalRaised]) -> None:
    found = compared(market, signals)
    assert (found.same, found.differing, found.excused) == (len(signals), [], {})
    assert found.percent == "100.00"
    assert len(signals) > 50


def test_a_changed_figure_is_shown_with_both_values(market: list[CandlesClosed], signals: list[SignalRaised]) -> None:
    altered = msgspec.structs.replace(signals[20], stop=signals[20].stop * (1 + 1e-15))
    found = compared(market, [*signals[:20], altered, *signals[21:]])
    (mismatch,) = found.differing
    assert mismatch.difference == ("stop", altered.stop, signals[20].stop)
    assert found.percent == f"{100 * (len(signals) - 1) / len(signals) - 0.005:.2f}"


def test_a_missing_and_an_invented_signal_are_found(market: list[CandlesClosed], signals: list[SignalRaised]) -> None:
    invented = msgspec.structs.replace(signals[30], side="long" if signals[30].side == "short" else "short")
    found = compared(market, [*signals[:20], *signals[21:], invented])
    assert [(one.left, one.right) for one in found.differing] == [(None, signals[20]), (invented, None)]
    assert found.same == len(signals) - 1


def test_the_percentage_is_never_rounded_up() -> None:
    assert Parity(199_999, [None] * 1, {}, {}, {}).percent == "99.99"  # type: ignore[list-item]
    assert Parity(2, [None] * 1, {}, {}, {}).percent == "66.66"  # type: ignore[list-item]
    assert Parity(0, [None] * 1, {}, {}, {}).percent == "0.00"  # type: ignore[list-item]


def test_candles_that_only_warm_up_are_counted(market: list[CandlesClosed]) -> None:
    half = len(market) // 2
    backfilled = [msgspec.structs.replace(one, origin="history") for one in market[:half]] + market[half:]
    live = live_of(backfilled)
    found = compared(backfilled, live)
    assert found.differing == []
    assert (found.same, found.excused.keys()) == (len(live), {"warm_up"})


def test_what_was_judged_before_a_late_candle_came_is_counted(market: list[CandlesClosed]) -> None:
    late = [*market[:60], *market[61:64], market[60], *market[64:]]
    found = compared(late, live_of(late))
    assert found.differing == []
    assert found.excused.keys() == {"late"}


def test_a_stream_that_lost_its_beginning_excuses_only_what_depends_on_it(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    kept = market[50:]
    found = compared(kept, signals, trimmed=True)
    assert found.differing == []
    assert found.excused.keys() == {"aged_out"}
    reach_ms = (JUDGES.warm_up_candles + 128) * 60_000
    whole = [signal for signal in signals if signal.confirmed_ms > kept[0].open_ms[0] + reach_ms]
    assert found.same >= len(whole) > 10
    assert compared(kept, signals).differing  # a stream that lost nothing excuses nothing


def test_what_may_still_wait_at_the_last_mark_is_counted(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    settled_ms = signals[-1].confirmed_ms - 1
    assert compared(market, signals[:-1], settled_ms=settled_ms).excused == {"unsettled": 1}
    assert compared(market, signals[:-2], settled_ms=settled_ms).differing


def test_signals_of_strategies_that_are_not_configured_are_counted(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    other = msgspec.structs.replace(signals[5], strategy="somebody_elses")
    slower = msgspec.structs.replace(signals[6], timeframe="5m")
    found = compared(market, [*signals, other, slower])
    assert (found.differing, found.excused) == ([], {"unknown": 2})


def test_a_range_is_judged_as_if_all_of_history_were_there(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    since_ms, until_ms = signals[200].confirmed_ms, signals[260].confirmed_ms
    inside = [signal for signal in signals if since_ms <= signal.confirmed_ms < until_ms]
    found = compared(market, signals, since_ms=since_ms, until_ms=until_ms)
    assert (found.same, found.differing) == (len(inside), [])
    assert len(recorded(market, since_ms)) < len(recorded(market))


def test_a_strategy_that_was_configured_later_is_told_with_the_moment(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    ema = [signal for signal in signals if signal.strategy == "ema_cross"]
    later = [signal for signal in signals if signal.strategy != "ema_cross" or signal in ema[3:]]
    found = compared(market, later)
    assert len(found.differing) == 3
    assert found.begun_later == {"ema_cross": ema[3].confirmed_ms}
    assert compared(market, [signal for signal in signals if signal is not ema[3]]).begun_later == {}


def test_what_a_strategy_in_quarantine_did_not_say_is_counted(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    ema = [signal for signal in signals if signal.strategy == "ema_cross"]
    quarantine = StrategyQuarantined(
        strategy="ema_cross",
        strategy_version=ema[0].strategy_version,
        params_hash=ema[0].params_hash,
        reason="raised",
        error="it broke",
        at_ms=ema[5].confirmed_ms,
    )
    off = [signal for signal in signals if signal not in ema[5:8]]
    found = compared(market, off, quarantines=[quarantine])
    assert (found.differing, found.excused) == ([], {"quarantined": 3})
    assert len(compared(market, [one for one in off if one is not ema[2]], quarantines=[quarantine]).differing) == 1


class Breaks(EmaCross):
    """Asks for a column that is not there."""

    name = "breaks"

    def long(self) -> pl.Expr:
        return super().long() & (pl.col("no_such_column") > 0)


def test_a_strategy_that_breaks_when_judged_again_proves_nothing(
    market: list[CandlesClosed], signals: list[SignalRaised]
) -> None:
    judges = Judges([*JUDGES.strategies, Breaks(EmaCrossParams())], ["1m"])
    live = Live(recorded(market), signals, [], END_MS, trimmed=False)
    found = parity_of(judges, live, since_ms=0, until_ms=END_MS)
    assert (found.differing, found.ok) == ([], False)
    assert "no_such_column" in found.broke["breaks"]

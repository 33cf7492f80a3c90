"""What a candle knows of the whole market, and when: it waits for the others, and sees none that has not closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.engine import Engine
from signal_engine.evaluation import Evaluation
from signal_engine.history import signals_of
from signal_engine.lookahead import check_lookahead
from signal_engine.readings import Readings
from signal_engine.strategies import AnyStrategy, Judgement, Params, Row, Strategy, build
from tocsin_common.events import CandlesClosed, Side, SignalRaised, encode
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]
Market = Callable[..., pl.DataFrame]

HOUR_MS = TIMEFRAME_MS["1h"]


def both() -> list[AnyStrategy]:
    return [build("breadth_thrust"), build("btc_divergence")]


def as_bytes(signals: Sequence[SignalRaised]) -> list[bytes]:
    return sorted(encode(signal) for signal in signals)


class Follows(Strategy[Params]):
    """Goes with the side most symbols take in its own candle, and says how many these are."""

    name, version, params_type = "follows", "1", Params

    def market(self) -> list[pl.Expr]:
        return [pl.col("advancers"), pl.col("decliners")]

    def indicators(self) -> list[pl.Expr]:
        return []

    def long(self) -> pl.Expr:
        return pl.col("advancers@market") > pl.col("decliners@market")

    def short(self) -> pl.Expr:
        return pl.col("advancers@market") < pl.col("decliners@market")

    def judge(self, row: Row, side: Side) -> Judgement:
        told = {name: row[f"{name}@market"] for name in ("advancers", "decliners")}
        return Judgement(confidence=50, reasons=["the others do"], features=told)


class KnowsTheNextCandle(Follows):
    """Takes the side that the others take in the candle that has just begun."""

    name = "knows_the_next_candle"

    def market(self) -> list[pl.Expr]:
        return [expr.shift(-1).over("window") for expr in super().market()]


class CentredBreadth(Follows):
    """Smooths the market on both sides of a candle."""

    name = "centred_breadth"

    def market(self) -> list[pl.Expr]:
        return [expr.rolling_mean(5, center=True).over("window") for expr in super().market()]


def test_who_looks_at_what_others_have_not_closed_yet_is_caught_and_who_does_not_is_left_alone(
    six_symbols: pl.DataFrame,
) -> None:
    some = six_symbols.filter(pl.col("symbol").is_in(["BTC/USDT", "ETH/USDT", "SOL/USDT"])).head(3 * 325)
    for cheat in (KnowsTheNextCandle, CentredBreadth):
        verdict = check_lookahead([cheat(Params())], some, cuts=0, seed=1)[cheat.name]
        assert len(verdict.differing) > verdict.signals / 10 > 2
    verdicts = check_lookahead([Follows(Params()), *both()], some, cuts=3, seed=1)
    assert [name for name, one in verdicts.items() if one.differing] == []
    assert verdicts["follows"].signals > 20


@pytest.fixture
def candles(market: Market, candles_event: Chunk) -> Callable[..., CandlesClosed]:
    """A message of the candles of a symbol that rises by 1 in each, or falls, from one place to another."""

    def make(symbol: str, first: int, last: int, step: float = 1.0) -> CandlesClosed:
        closes = [1_000 + step * n for n in range(last)]
        rows = market(closes, timeframe="1h").with_columns(symbol=pl.lit(symbol))
        return candles_event(rows.slice(first, last - first))

    return make


WARM = 400


@pytest.fixture
def engine(candles: Callable[..., CandlesClosed]) -> Engine:
    """An engine that has seen WARM hours of three symbols."""
    engine = Engine([Follows(Params())], ["1h"])
    engine.add([candles(symbol, 0, WARM) for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT")], warm_up=True)
    return engine


def seen(signals: Sequence[SignalRaised]) -> dict[str, tuple[float, float]]:
    return {one.symbol: (one.features["advancers"], one.features["decliners"]) for one in signals}


def test_a_candle_waits_for_the_others_that_close_with_it(
    engine: Engine, candles: Callable[..., CandlesClosed]
) -> None:
    close_ms = (WARM + 1) * HOUR_MS
    engine.add([candles("ETH/USDT", WARM, WARM + 1)])
    assert engine.evaluate(close_ms - 1) == []
    engine.add([candles("SOL/USDT", WARM, WARM + 1, -1.0), candles("BTC/USDT", WARM, WARM + 1)])
    assert engine.evaluate(close_ms - 1) == []
    found = engine.evaluate(close_ms)
    assert seen(found) == dict.fromkeys(("BTC/USDT", "ETH/USDT", "SOL/USDT"), (2, 1))
    assert {one.confirmed_ms for one in found} == {close_ms}
    assert engine.evaluate(close_ms + HOUR_MS) == []


def test_what_comes_after_the_mark_counts_from_then_on(engine: Engine, candles: Callable[..., CandlesClosed]) -> None:
    engine.add([candles("ETH/USDT", WARM, WARM + 1)])
    assert seen(engine.evaluate((WARM + 1) * HOUR_MS)) == {"ETH/USDT": (1, 0)}
    engine.add([candles("SOL/USDT", WARM, WARM + 1)])
    assert seen(engine.evaluate((WARM + 1) * HOUR_MS + 5_000)) == {"SOL/USDT": (2, 0)}


def test_candles_of_others_are_part_of_the_market_and_raise_nothing(
    engine: Engine, candles: Callable[..., CandlesClosed]
) -> None:
    engine.add([candles("ETH/USDT", WARM, WARM + 1)])
    engine.watch([candles("XRP/USDT", WARM, WARM + 1), candles("ADA/USDT", WARM, WARM + 1, -1.0)])
    assert seen(engine.evaluate((WARM + 1) * HOUR_MS)) == {"ETH/USDT": (2, 1)}
    assert {one.symbol for one in engine.windows.series} == {"BTC/USDT", "ETH/USDT", "SOL/USDT"}


def test_after_a_restart_what_waited_waits_again_and_nothing_comes_twice(
    engine: Engine, candles: Callable[..., CandlesClosed]
) -> None:
    early_ms, close_ms = (WARM + 1) * HOUR_MS - 1, (WARM + 1) * HOUR_MS
    messages = [candles("ETH/USDT", WARM, WARM + 1), candles("SOL/USDT", WARM, WARM + 1)]
    engine.add(messages)
    assert engine.evaluate(early_ms) == []
    again = Engine([Follows(Params())], ["1h"])
    again.clear(early_ms)
    again.add([candles(symbol, 0, WARM) for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT")], warm_up=True)
    again.add(messages, warm_up=True)
    again.resume(early_ms)
    assert as_bytes(again.evaluate(close_ms)) == as_bytes(engine.evaluate(close_ms)) != []
    assert again.evaluate(close_ms + 1) == engine.evaluate(close_ms + 1) == []


def test_nobody_else_waits(month: pl.DataFrame, candles_event: Chunk) -> None:
    rows = month.filter((pl.col("symbol") == "ETH/USDT") & (pl.col("timeframe") == "15m"))
    found = []
    for strategies in ([build("ema_cross")], [build("ema_cross"), *both()]):
        engine = Engine(strategies, ["15m"])
        engine.add([candles_event(rows.head(WARM))], warm_up=True)
        engine.add([candles_event(rows.slice(WARM, 400))])
        found.append(engine.evaluate(0))
    assert as_bytes(found[0]) == as_bytes(found[1]) != []


def test_a_mistake_in_what_is_asked_of_the_market_takes_only_its_strategy_out(six_symbols: pl.DataFrame) -> None:
    class Mistaken(Follows):
        name = "mistaken"

        def market(self) -> list[pl.Expr]:
            return [pl.col("no_such_column").alias("advancers"), pl.col("decliners")]

        def memory(self, expr: pl.Expr) -> int:
            return 0 if expr.meta.output_name() == "advancers" else super().memory(expr)

    broke: list[str] = []
    found = signals_of(
        [Mistaken(Params()), build("btc_divergence")], six_symbols, broke=lambda one: broke.append(one.strategy.name)
    )
    assert broke == ["mistaken"]
    assert {one.strategy for one in found} == {"btc_divergence"}


def test_who_reads_what_it_did_not_ask_of_the_market_is_told() -> None:
    class Unasked(Follows):
        name = "unasked"

        def indicators(self) -> list[pl.Expr]:
            return [ind.correlation(50)]

    with pytest.raises(ValueError, match=r"unasked reads close@market, which its market\(\) does not name"):
        Evaluation([Unasked(Params())])


def test_columns_of_the_market_are_not_published_as_readings() -> None:
    with pytest.raises(ValueError, match="there is no indicator behind the column 'breadth_10'"):
        Readings(["breadth_10"])


def test_variants_share_what_they_ask_of_the_market() -> None:
    variants = [build("breadth_thrust"), build("breadth_thrust", {"channel": 30}, instance="wide")]
    across = Evaluation(variants).across
    assert across is not None
    assert across.warm_up_candles == 384

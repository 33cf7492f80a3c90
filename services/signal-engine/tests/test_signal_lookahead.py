"""Who looks into the future is caught, however it is done; who does not is left alone."""

from __future__ import annotations

import polars as pl
import pytest

from signal_engine import indicators as ind
from signal_engine.lookahead import Verdict, check_lookahead
from signal_engine.strategies import Judgement, Params, Row, Strategy
from tocsin_common.events import Side
from tocsin_trading.timeframes import TIMEFRAME_MS

SWING = 5
OPEN, HIGH, LOW, CLOSE = (pl.col(name) for name in ("open", "high", "low", "close"))


class Crosses(Strategy[Params]):
    """Honest: goes with a close that crosses the column `line`. Each cheat below draws that line in its own way."""

    version = "1"
    name = "honest"
    params_type = Params

    def line(self) -> pl.Expr:
        return CLOSE.rolling_mean(20)

    def indicators(self) -> list[pl.Expr]:
        return [self.line().over("window").alias("line"), ind.atr(self.params.atr_period)]

    @property
    def warm_up_candles(self) -> int:
        return 150

    def long(self) -> pl.Expr:
        return ind.crosses_above(CLOSE, pl.col("line"))

    def short(self) -> pl.Expr:
        return ind.crosses_below(CLOSE, pl.col("line"))

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(confidence=50, reasons=["crossed"], features={})


class OneCandlePeek(Crosses):
    name = "one_candle_peek"

    def line(self) -> pl.Expr:
        return CLOSE.shift(-1)


class CentredWindow(Crosses):
    name = "centred_window"

    def line(self) -> pl.Expr:
        return CLOSE.rolling_mean(21, min_samples=1, center=True)


class GlobalNormalisation(Crosses):
    name = "global_normalisation"

    def line(self) -> pl.Expr:
        return CLOSE.mean()


class HourBeforeItsClose(Crosses):
    """The close of the hour that a candle is in, merged into all of its candles."""

    name = "hour_before_its_close"

    def indicators(self) -> list[pl.Expr]:
        hour = pl.col("open_ms") // TIMEFRAME_MS["4h"]
        return [CLOSE.last().over("window", hour).alias("line"), ind.atr(self.params.atr_period)]


class UnconfirmedSwing(Crosses):
    """Buys the low of a swing at the low itself, sells its high at the high."""

    name = "unconfirmed_swing"

    def indicators(self) -> list[pl.Expr]:
        lowest = LOW.rolling_min(2 * SWING + 1, center=True).over("window").alias("swing_low")
        highest = HIGH.rolling_max(2 * SWING + 1, center=True).over("window").alias("swing_high")
        return [lowest, highest, ind.atr(self.params.atr_period)]

    def long(self) -> pl.Expr:
        return pl.col("swing_low") == LOW

    def short(self) -> pl.Expr:
        return pl.col("swing_high") == HIGH


class PeekInTheFeatures(Crosses):
    """Its entries are honest; its figures know the next close."""

    name = "peek_in_the_features"

    def indicators(self) -> list[pl.Expr]:
        return [*super().indicators(), CLOSE.shift(-1).over("window").fill_null(0.0).alias("next_close")]

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(confidence=50, reasons=["crossed"], features={"next_close": row["next_close"]})


class LastCandle(Crosses):
    """Fires on the last candle of a window: on all of history hardly ever, live on every candle."""

    name = "last_candle"

    def line(self) -> pl.Expr:
        return CLOSE.shift(-1)

    def long(self) -> pl.Expr:
        return pl.col("line").is_null()

    def short(self) -> pl.Expr:
        return pl.lit(value=False)


CHEATS = [
    OneCandlePeek,
    CentredWindow,
    GlobalNormalisation,
    HourBeforeItsClose,
    UnconfirmedSwing,
    PeekInTheFeatures,
]


@pytest.fixture(scope="module")
def hours(shared_data: object) -> pl.DataFrame:
    """600 candles of 1h of two markets, and the 4h candles made of them."""
    rows = pl.scan_parquet(f"{shared_data}/candles/binance_1h_136_symbols_2024.parquet").rename({"ts_ms": "open_ms"})
    some = rows.filter(pl.col("symbol").is_in(["BTC/USDT", "DOGE/USDT"])).sort("symbol", "open_ms")
    short = some.collect().group_by("exchange", "symbol", "timeframe", maintain_order=True).head(600)
    four = pl.col("open_ms") // TIMEFRAME_MS["4h"] * TIMEFRAME_MS["4h"]
    long = short.group_by("exchange", "symbol", four, maintain_order=True).agg(
        pl.lit("4h").alias("timeframe"), OPEN.first(), HIGH.max(), LOW.min(), CLOSE.last(), pl.col("volume").sum()
    )
    return pl.concat([short, long.select(short.columns)])


@pytest.fixture(scope="module")
def fewer(hours: pl.DataFrame) -> pl.DataFrame:
    """The first 400 hours of them: a cheat shows soon."""
    length = pl.col("timeframe").replace_strict(TIMEFRAME_MS, return_dtype=pl.Int64)
    return hours.filter(pl.col("open_ms") + length <= pl.col("open_ms").min() + 400 * TIMEFRAME_MS["1h"])


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_is_caught(cheat: type[Crosses], fewer: pl.DataFrame) -> None:
    verdict = check_lookahead([cheat(Params())], fewer, cuts=5, seed=1)[cheat.name]
    assert verdict.signals > 10
    assert len(verdict.differing) > verdict.signals / 10


def test_the_first_difference_is_told_with_both_values(fewer: pl.DataFrame) -> None:
    peek = check_lookahead([PeekInTheFeatures(Params())], fewer, cuts=0, seed=1)["peek_in_the_features"]
    first = peek.differing[0]
    name, whole, cut = first.difference
    assert name == "features"
    assert whole != cut == {"next_close": 0.0}
    assert first.signal.confirmed_ms == min(one.signal.confirmed_ms for one in peek.differing)


def test_what_only_shows_when_the_data_end_is_found_by_a_random_cut(hours: pl.DataFrame) -> None:
    verdict = check_lookahead([LastCandle(Params())], hours, cuts=20, seed=1)["last_candle"]
    assert verdict.signals < len(hours) / 100
    assert len(verdict.differing) > 20


def test_an_honest_strategy_passes(hours: pl.DataFrame) -> None:
    verdict = check_lookahead([Crosses(Params())], hours, cuts=10, seed=1)["honest"]
    assert verdict.signals > 10
    assert not verdict.differing


def test_progress_is_told_to_the_last_cut(hours: pl.DataFrame) -> None:
    told: list[tuple[int, int]] = []
    honest: dict[str, Verdict] = dict(
        check_lookahead([Crosses(Params())], hours.head(300), cuts=3, seed=1, progress=lambda *at: told.append(at))
    )
    assert honest["honest"].signals > 0
    assert [done for done, _ in told] == list(range(1, told[0][1] + 1))

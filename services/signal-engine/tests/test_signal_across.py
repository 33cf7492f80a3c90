"""Strategies that look at the whole market say the same live, in history, in any order and in any number of parts."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine import indicators as ind
from signal_engine.engine import Engine
from signal_engine.excuses import Judges, Live
from signal_engine.history import signals_of
from signal_engine.lookahead import check_lookahead
from signal_engine.metrics import Metrics
from signal_engine.parity import parity_of
from signal_engine.recording import Recording
from signal_engine.rounds import Rounds
from signal_engine.strategies import AnyStrategy, Judgement, Params, Row, Strategy, build
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, ClockAdvanced, Side, SignalRaised, encode
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import CLOCK, SIGNALS, Stream
from tocsin_common.subjects import clock
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]
Market = Callable[..., pl.DataFrame]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]

NAMES = ("breadth_thrust", "btc_divergence")
HOUR_MS = TIMEFRAME_MS["1h"]
SYMBOLS = [f"{base}/USDT" for base in ("BTC", "ETH", "SOL", "ADA", "XRP", "DOGE")]


def both() -> list[AnyStrategy]:
    return [build(name) for name in NAMES]


@pytest.fixture(scope="module")
def hours(shared_data: Path) -> pl.DataFrame:
    """800 candles of 1h of six symbols, bitcoin among them."""
    rows = pl.scan_parquet(shared_data / "candles" / "binance_1h_136_symbols_2024.parquet").rename({"ts_ms": "open_ms"})
    start = rows.select(pl.col("open_ms").min()).collect().item()
    some = pl.col("symbol").is_in(SYMBOLS) & (pl.col("open_ms") < start + 800 * HOUR_MS)
    return rows.filter(some).sort("open_ms", "symbol").collect()


@pytest.fixture(scope="module")
def expected(hours: pl.DataFrame) -> list[SignalRaised]:
    return signals_of(both(), hours)


@pytest.fixture(scope="module")
def spans(hours: pl.DataFrame, candles_event: Chunk) -> list[list[CandlesClosed]]:
    """What closes within each 20 hours, a message for a symbol."""
    parts = hours.with_columns(span=pl.col("open_ms") // (20 * HOUR_MS)).partition_by("span", maintain_order=True)
    return [[candles_event(one) for one in part.partition_by("symbol", maintain_order=True)] for part in parts]


async def publish(bus: MemoryBus, spans: Sequence[Sequence[CandlesClosed]], rng: random.Random) -> list[ClockAdvanced]:
    """Every span in any order, some messages twice, and a mark that says that they are there."""
    marks = []
    for span in spans:
        shuffled = rng.sample(span, len(span))
        again = [msgspec.structs.replace(one, open_ms=list(one.open_ms[:3]), **_first(one)) for one in span[:1]]
        receipts = await bus.publish([*shuffled, *again])
        end_ms = max(one.open_ms[-1] for one in span) + HOUR_MS
        seq = receipts[-1].seq
        mark = ClockAdvanced(stage="market", source="replay", time_ms=end_ms, trades_seq=0, candles_seq=seq)
        marks.append(mark)
    await bus.publish(marks)
    return marks


def _first(event: CandlesClosed) -> dict[str, list[float]]:
    return {name: getattr(event, name)[:3] for name in ("open", "high", "low", "close", "volume")}


async def live(bus: MemoryBus, partitions: frozenset[int], marks: int, writer: str) -> ClockAdvanced:
    """One life of a replica: it handles so many of the marks that are new, and is closed."""
    rounds = Rounds(bus, Engine(both(), ["1h"]), Metrics(CollectorRegistry()), partitions=partitions, writer=writer)
    await rounds.resume()
    messages = await bus.reader(CLOCK, after=0).through((await bus.stream_state(CLOCK)).last_seq)
    waiting = [one for one in messages if one.subject == clock("market")]
    fresh = [one for one in waiting if rounds.last is None or not rounds.last.covers(one.event())]  # type: ignore[arg-type]
    for message in fresh[:marks]:
        await rounds.handle([Incoming(message.event(), message)])
    await rounds.close()
    assert rounds.last is not None
    return rounds.last


def as_bytes(signals: Sequence[SignalRaised]) -> list[bytes]:
    return sorted(encode(signal) for signal in signals)


def test_both_fire_on_either_side_of_real_markets_and_never_on_bitcoin_against_itself(
    expected: list[SignalRaised],
) -> None:
    sides = Counter((signal.strategy, signal.side) for signal in expected)
    assert len(sides) == 4, sides
    assert not any(signal.symbol == "BTC/USDT" for signal in expected if signal.strategy == "btc_divergence")


@pytest.mark.parametrize("seed", range(2))
async def test_any_order_within_a_mark_gives_what_history_gives(
    seed: int, spans: Sequence[Sequence[CandlesClosed]], expected: list[SignalRaised], stored: StoredEvents
) -> None:
    bus = MemoryBus()
    await publish(bus, spans, random.Random(seed))
    await live(bus, ALL, len(spans), "one")
    assert as_bytes(await stored(bus, SIGNALS)) == as_bytes(expected)


async def test_three_replicas_that_restart_again_and_again_give_what_one_gives(
    spans: Sequence[Sequence[CandlesClosed]], expected: list[SignalRaised], stored: StoredEvents
) -> None:
    bus, rng = MemoryBus(), random.Random(3)
    marks = await publish(bus, spans, rng)
    last: ClockAdvanced | None = None
    for life in itertools.count():
        owner = {number: rng.randrange(3) for number in ALL}
        for replica in range(3):
            ours = frozenset(number for number, owns in owner.items() if owns == replica)
            last = await live(bus, ours, 7, f"{replica}-{life}")
        assert last is not None
        signals_seq = (await bus.stream_state(SIGNALS)).last_seq
        await bus.publish([msgspec.structs.replace(last, stage="signals", signals_seq=signals_seq)])
        if last.covers(marks[-1]):
            break
    found = await stored(bus, SIGNALS)
    assert as_bytes([one for one in found if isinstance(one, SignalRaised)]) == as_bytes(expected)


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
    hours: pl.DataFrame,
) -> None:
    some = hours.filter(pl.col("symbol").is_in(SYMBOLS[:3])).head(3 * 325)
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


def test_nobody_else_waits(candles: Callable[..., CandlesClosed], market: Market, candles_event: Chunk) -> None:
    rising = market([1_000.0 - n for n in range(WARM)] + [1_000.0], timeframe="1h")
    engines = [Engine(strategies, ["1h"]) for strategies in ([build("ema_cross")], [build("ema_cross"), *both()])]
    for engine in engines:
        engine.add([candles_event(rising.head(WARM))], warm_up=True)
        engine.add([candles_event(rising.tail(1))])
    alone, beside = (engine.evaluate(0) for engine in engines)
    assert as_bytes(alone) == as_bytes(beside)


def test_a_mistake_in_what_is_asked_of_the_market_takes_only_its_strategy_out(hours: pl.DataFrame) -> None:
    class Mistaken(Follows):
        name = "mistaken"

        def market(self) -> list[pl.Expr]:
            return [pl.col("no_such_column").alias("advancers"), pl.col("decliners")]

        def memory(self, expr: pl.Expr) -> int:
            return 0 if expr.meta.output_name() == "advancers" else super().memory(expr)

    broke: list[str] = []
    found = signals_of(
        [Mistaken(Params()), build("btc_divergence")], hours, broke=lambda one: broke.append(one.strategy.name)
    )
    assert broke == ["mistaken"]
    assert {one.strategy for one in found} == {"btc_divergence"}


def test_the_correlation_of_a_signal_is_that_of_the_closes_up_to_its_candle(
    hours: pl.DataFrame, expected: list[SignalRaised]
) -> None:
    signal = next(one for one in expected if one.strategy == "btc_divergence")
    until = hours.filter(pl.col("open_ms") <= signal.candle_open_ms)
    own, bitcoin = (until.filter(symbol=symbol)["close"].tail(101).diff() for symbol in (signal.symbol, "BTC/USDT"))
    together = pl.DataFrame({"own": own, "bitcoin": bitcoin}).drop_nulls()
    correlation = together.select(pl.corr("own", "bitcoin")).item()
    assert signal.features["correlation"] == pytest.approx(correlation, abs=1e-9)
    assert ind.correlation().meta.output_name() == "correlation_100"


def test_parity_knows_which_signals_were_judged_before_a_candle_of_the_market_came(
    spans: Sequence[Sequence[CandlesClosed]],
) -> None:
    judges = Judges(both(), ["1h"])
    engine, recording, live_signals, passed_ms = Engine(both(), ["1h"]), Recording(), list[SignalRaised](), 0
    for number, span in enumerate(spans):
        late = span[1:4] if number >= 17 else []  # three of six come behind the mark that says that they are there
        for messages, time_ms in ((span[:1] + span[4:] if late else span, _ends_ms(span)), (late, _ends_ms(span) + 1)):
            engine.add(messages)
            for message in messages:
                recording.add(message, passed_ms)
            live_signals += engine.evaluate(time_ms)
            passed_ms = time_ms
    found = parity_of(judges, Live(recording, live_signals, [], passed_ms, trimmed=False), since_ms=0, until_ms=2**62)
    assert found.differing == []
    assert found.excused.keys() == {"late_for_market"}
    assert found.same > 10


def _ends_ms(span: Sequence[CandlesClosed]) -> int:
    return max(one.open_ms[-1] for one in span) + HOUR_MS

"""Strategies that look at the whole market say the same live, in history, in any order and in any number of parts."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine import indicators as ind
from signal_engine.engine import Engine
from signal_engine.excuses import Judges, Live
from signal_engine.history import signals_of
from signal_engine.metrics import Metrics
from signal_engine.parity import parity_of
from signal_engine.recording import Recording
from signal_engine.rounds import Rounds
from signal_engine.strategies import AnyStrategy, build
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, ClockAdvanced, SignalRaised, encode
from tocsin_common.partitions.sharing import ALL
from tocsin_common.streams import CLOCK, SIGNALS, Stream
from tocsin_common.subjects import clock
from tocsin_trading.timeframes import TIMEFRAME_MS

Chunk = Callable[..., CandlesClosed]
Market = Callable[..., pl.DataFrame]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]

NAMES = ("breadth_thrust", "btc_divergence")
HOUR_MS = TIMEFRAME_MS["1h"]


def both() -> list[AnyStrategy]:
    return [build(name) for name in NAMES]


@pytest.fixture(scope="module")
def expected(six_symbols: pl.DataFrame) -> list[SignalRaised]:
    return signals_of(both(), six_symbols)


@pytest.fixture(scope="module")
def spans(six_symbols: pl.DataFrame, candles_event: Chunk) -> list[list[CandlesClosed]]:
    """What closes within each 20 hours, a message for a symbol."""
    parts = six_symbols.with_columns(span=pl.col("open_ms") // (20 * HOUR_MS)).partition_by("span", maintain_order=True)
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


def test_the_correlation_of_a_signal_is_that_of_the_closes_up_to_its_candle(
    six_symbols: pl.DataFrame, expected: list[SignalRaised]
) -> None:
    signal = next(one for one in expected if one.strategy == "btc_divergence")
    until = six_symbols.filter(pl.col("open_ms") <= signal.candle_open_ms)
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

"""A bad strategy is taken out of the evaluation, loudly, and the others do not notice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.evaluation import Evaluation
from signal_engine.quarantine import BAD_ENTRIES
from signal_engine.rehearsal import rehearse
from signal_engine.strategies import AnyStrategy, Judgement, Row, build
from signal_engine.strategies.ema_cross import EmaCross, EmaCrossParams
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.events import CandlesClosed, Side, StrategyQuarantined
from tocsin_common.streams import ENGINE, SIGNALS, Stream

Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]
Play = Callable[..., Awaitable[None]]
StoredEvents = Callable[[MemoryBus, Stream], Awaitable[list[Any]]]

BUDGET_S = 1.0
"""Some hundred times what an honest strategy takes here: a busy machine may trip nobody else."""

HOUR_S = 3600.0


class Raises(EmaCross):
    name = "raises"

    def recent(self) -> list[pl.Expr]:
        return [pl.col("close").map_batches(lambda _: 1 / 0, return_dtype=pl.Float64).alias("anything")]


class NoSuchColumn(EmaCross):
    name = "no_such_column"

    def long(self) -> pl.Expr:
        return super().long() & (pl.col("no_such_column") > 0)


class NoSuchIndicator(EmaCross):
    name = "no_such_indicator"

    def indicators(self) -> list[pl.Expr]:
        return [*super().indicators(), pl.col("no_such_column").alias("anything")]

    def memory(self, expr: pl.Expr) -> int:
        return 1 if expr.meta.output_name() == "anything" else super().memory(expr)


class NumberForCondition(EmaCross):
    name = "number_for_condition"

    def short(self) -> pl.Expr:
        return pl.col("close") - pl.col("open")


class TextForStop(EmaCross):
    name = "text_for_stop"

    def stop(self, side: Side) -> pl.Expr:
        return pl.lit("somewhere below")


class NoStop(EmaCross):
    name = "no_stop"

    def stop(self, side: Side) -> pl.Expr:
        return pl.when(pl.col("close") < 0).then("close")


class StopOnTheWrongSide(EmaCross):
    name = "stop_on_the_wrong_side"

    def stop(self, side: Side) -> pl.Expr:
        return super().stop("short" if side == "long" else "long")


class JudgeRaises(EmaCross):
    name = "judge_raises"

    def judge(self, row: Row, side: Side) -> Judgement:
        raise ZeroDivisionError


class Infinite(EmaCross):
    name = "infinite"

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(confidence=50, reasons=[], features={"fondness": float("inf")})


class Unwritable(EmaCross):
    name = "unwritable"

    def judge(self, row: Row, side: Side) -> Judgement:
        return Judgement(confidence=50, reasons=[], features={"count": np.int64(1)})  # type: ignore[dict-item]


class Endless(EmaCross):
    name = "endless"

    def judge(self, row: Row, side: Side) -> Judgement:
        while True:
            pass


class EndlessColumn(EmaCross):
    """An indicator written in Python, which Polars calls from a thread of its own."""

    name = "endless_column"

    def indicators(self) -> list[pl.Expr]:
        column = pl.col("close").map_batches(self.loop, return_dtype=pl.Float64).over("window")
        return [*super().indicators(), column.alias("anything")]

    def memory(self, expr: pl.Expr) -> int:
        return 1 if expr.meta.output_name() == "anything" else super().memory(expr)

    def loop(self, _: pl.Series) -> pl.Series:
        while True:
            pass


class Sleeper(EmaCross):
    name = "sleeper"

    def judge(self, row: Row, side: Side) -> Judgement:
        while True:
            time.sleep(HOUR_S)


BAD = [
    (Raises, "raised", "ZeroDivisionError"),
    (NoSuchColumn, "wrong_columns", "no_such_column"),
    (NoSuchIndicator, "wrong_columns", "no_such_column"),
    (NumberForCondition, "wrong_columns", "short is of type Float64, not Boolean"),
    (TextForStop, "wrong_columns", "the stop of a long is of type String, not a number"),
    (NoStop, "bad_entries", "entries made sense: not_finite"),
    (StopOnTheWrongSide, "bad_entries", "entries made sense: wrong_side"),
    (JudgeRaises, "bad_entries", "entries made sense: judge_failed"),
    (Infinite, "bad_entries", "entries made sense: not_finite"),
    (Unwritable, "bad_entries", "entries made sense: judge_failed"),
    (Endless, "too_slow", "still in judge (test_signal_quarantine.py, line "),
    (EndlessColumn, "too_slow", "still in loop (test_signal_quarantine.py, line "),
    (Sleeper, "too_slow", "still in judge (test_signal_quarantine.py, line "),
]


def good() -> list[AnyStrategy]:
    return [build("ema_cross"), build("donchian_breakout")]


@pytest.fixture(scope="module")
def boundaries(minutes: pl.DataFrame, chop: Chop) -> list[list[CandlesClosed]]:
    """1,200 minutes of three markets, a dozen messages to a mark."""
    messages = list(chop(minutes.group_by("symbol", maintain_order=True).head(1_200), random.Random(1)))
    return [messages[start : start + 12] for start in range(0, len(messages), 12)]


@pytest.fixture(scope="module")
def undisturbed(boundaries: Sequence[Sequence[CandlesClosed]], play: Play, stored: StoredEvents) -> list[Any]:
    async def run() -> list[Any]:
        bus = MemoryBus()
        await play(bus, Engine(good(), ["1m"]), boundaries)
        return await stored(bus, SIGNALS)

    return asyncio.run(run())


@pytest.mark.parametrize(("kind", "reason", "text"), BAD, ids=lambda value: getattr(value, "name", ""))
async def test_a_bad_strategy_is_quarantined_with_an_event_and_a_metric_and_no_other_signal_changes(
    kind: type[EmaCross],
    reason: str,
    text: str,
    boundaries: Sequence[Sequence[CandlesClosed]],
    undisturbed: list[Any],
    play: Play,
    stored: StoredEvents,
) -> None:
    bus, registry = MemoryBus(), CollectorRegistry()
    strategies = [kind(EmaCrossParams(), "variant"), *good()]
    budget_s = BUDGET_S if reason == "too_slow" else None
    await play(bus, Engine(strategies, ["1m"], budget_s=budget_s), boundaries, registry)
    assert len(undisturbed) > 30
    assert await stored(bus, SIGNALS) == undisturbed
    (event,) = await stored(bus, ENGINE)
    assert isinstance(event, StrategyQuarantined)
    assert (event.strategy, event.definition, event.reason) == ("variant", kind.name, reason)
    assert text in event.error
    assert event.subject == "engine.quarantine.variant"
    assert event.at_ms in {mark[-1].open_ms[-1] + 60_000 for mark in boundaries}
    counted = {"strategy": "variant", "reason": reason}
    assert registry.get_sample_value("tocsin_strategies_quarantined_total", counted) == 1


async def test_the_event_names_the_candle_in_hand(
    boundaries: Sequence[Sequence[CandlesClosed]], play: Play, stored: StoredEvents
) -> None:
    bus = MemoryBus()
    await play(bus, Engine([Endless(EmaCrossParams()), *good()], ["1m"], budget_s=BUDGET_S), boundaries)
    (event,) = await stored(bus, ENGINE)
    crosses = [signal for signal in await stored(bus, SIGNALS) if signal.strategy == "ema_cross"]
    places = [(one.exchange, one.symbol, one.timeframe, one.candle_open_ms) for one in crosses]
    assert (event.exchange, event.symbol, event.timeframe, event.candle_open_ms) in places
    assert event.candle_open_ms < event.at_ms


async def test_after_a_restart_a_quarantined_strategy_is_tried_again(
    boundaries: Sequence[Sequence[CandlesClosed]], undisturbed: list[Any], play: Play, stored: StoredEvents
) -> None:
    bus, half = MemoryBus(), len(boundaries) * 3 // 4
    for part in (boundaries[:half], boundaries[half:]):
        await play(bus, Engine([NoSuchColumn(EmaCrossParams()), *good()], ["1m"]), part)
    assert await stored(bus, SIGNALS) == undisturbed
    first, second = await stored(bus, ENGINE)
    assert first.at_ms < second.at_ms


async def test_what_the_rehearsal_found_is_told_when_the_engine_resumes(
    boundaries: Sequence[Sequence[CandlesClosed]], undisturbed: list[Any], play: Play, stored: StoredEvents
) -> None:
    bus, engine = MemoryBus(), Engine([Endless(EmaCrossParams()), *good()], ["1m"], budget_s=BUDGET_S)
    rehearse(engine.evaluation)
    engine.evaluation.forget()
    await play(bus, engine, boundaries)
    (event,) = await stored(bus, ENGINE)
    assert (event.reason, event.at_ms) == ("too_slow", 0)
    assert await stored(bus, SIGNALS) == undisturbed


class Now(EmaCross):
    """Judges longs only, which is a mistake now and then."""

    name = "now_and_then"

    def judge(self, row: Row, side: Side) -> Judgement:
        return super().judge({} if side == "short" else row, side)


def test_an_entry_that_cannot_be_judged_now_and_then_is_dropped_and_counted(minutes: pl.DataFrame, chop: Chop) -> None:
    engine = Engine([Now(EmaCrossParams())], ["1m"])
    engine.add(chop(minutes, random.Random(3)))
    assert {signal.side for signal in engine.evaluate()} == {"long"}
    assert engine.evaluation.dropped["now_and_then", "judge_failed"] > BAD_ENTRIES
    assert engine.evaluation.quarantined == []


def test_a_strategy_without_a_limit_may_take_its_time(minutes: pl.DataFrame, chop: Chop) -> None:
    class Slow(EmaCross):
        name = "slow"

        def judge(self, row: Row, side: Side) -> Judgement:
            ends = time.monotonic() + 0.02
            while time.monotonic() < ends:
                pass
            return super().judge(row, side)

    candles = minutes.head(1_000)
    for budget_s, quarantined in ((None, 0), (30.0, 0), (0.03, 1)):
        engine = Engine([Slow(EmaCrossParams())], ["1m"], budget_s=budget_s)
        engine.add(chop(candles, random.Random(3)))
        engine.evaluate()
        assert len(engine.evaluation.quarantined) == quarantined


def test_bad_entries_in_the_rehearsal_prove_nothing() -> None:
    evaluation = Evaluation([Infinite(EmaCrossParams()), *good()])
    rehearse(evaluation)
    assert evaluation.dropped["infinite", "not_finite"] > BAD_ENTRIES
    assert evaluation.quarantined == []
    evaluation.forget()
    assert evaluation.dropped == {}


def test_the_rehearsal_finds_a_strategy_that_breaks_before_the_market_does() -> None:
    evaluation = Evaluation([NoSuchIndicator(EmaCrossParams()), *good()])
    rehearse(evaluation)
    assert [one.strategy.name for one in evaluation.quarantined] == ["no_such_indicator"]

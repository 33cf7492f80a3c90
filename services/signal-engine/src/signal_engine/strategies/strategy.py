"""What a strategy is: parameters, indicator expressions, entry conditions, a stop, and a judgement of each entry.

Everything else (windows, higher timeframes, targets, sizes, expiry, ids) is the same for all and done by the engine.

Confidence, 0..100, says how good an entry looks beside the same strategy's other entries: BASE_CONFIDENCE for one that
just fulfils the conditions, and up to GRADED_POINTS more for named strengths (`confidence`). It is a rank and not a
probability: what share of signals of a given confidence reached their targets is measured from their outcomes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import polars as pl
from pydantic import Field, ValidationError, field_validator

from signal_engine import indicators as ind
from signal_engine.market import VALUES
from tocsin_common.config import Section
from tocsin_common.events import Side
from tocsin_common.ids import derive

Row = Mapping[str, float]
"""One fired candle: open, high, low, close, volume and every column of the strategy, by name."""


LOOK_BACK_CANDLES = 5
"""How many candles before the fired one `recent`, `long`, `short` and `stop` may look at."""

BASE_CONFIDENCE, GRADED_POINTS = 40, 60


class Params(Section):
    """Parameters every strategy has: where a signal is wrong, what it aims for, how long it lives."""

    atr_period: int = Field(default=14, ge=5, le=50, description="Candles of the average true range.")
    stop_atr: float = Field(
        default=2.0, ge=0.5, le=10, description="Distance from entry to stop, in ATRs; this is 1 R."
    )
    targets_r: tuple[Annotated[float, Field(gt=0, le=20)], ...] = Field(
        default=(1.0, 2.0, 3.0), min_length=1, max_length=5, description="Targets as multiples of R, nearest first."
    )
    expiry_candles: int = Field(default=48, ge=1, le=1000, description="Candles after which a signal is over.")

    @field_validator("targets_r")
    @classmethod
    def _ascending(cls, targets: tuple[float, ...]) -> tuple[float, ...]:
        if list(targets) != sorted(set(targets)):
            raise ValueError("must ascend, nearest target first")
        return targets


@dataclass(frozen=True, slots=True)
class Judgement:
    """How good an entry looks: confidence 0..100, why in short sentences, and the figures behind it (all finite).

    `invalidation` is the price at which the reason for the trade is gone, between stop and entry; None: the stop.
    """

    confidence: int
    reasons: list[str]
    features: dict[str, float]
    invalidation: float | None = None


P = TypeVar("P", bound=Params)


class Strategy(ABC, Generic[P]):
    """A named, versioned rule. A change that alters any signal is a new `version`.

    `timeframes` are those it judges; empty: all that are configured. One may be built for fewer. `instance` is the name
    it runs under: its own, or another one where variants run side by side.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    params_type: ClassVar[type[Params]]
    timeframes: tuple[str, ...] = ()
    stop_basis: ClassVar[Literal["atr", "structure"]] = "atr"
    """What `stop` measures: override both together."""

    def __init__(self, params: P, instance: str | None = None, timeframes: Sequence[str] = ()) -> None:
        self.params = params
        self.instance = instance or self.name
        if timeframes:
            self.timeframes = tuple(timeframes)
        values = sorted(params.model_dump().items())
        self.params_hash = derive("params", *(part for key, value in values for part in (key, repr(value))))
        self.atr_column = f"atr_{params.atr_period}"

    @abstractmethod
    def indicators(self) -> list[pl.Expr]:
        """Columns over the candles of the judged timeframe (see `indicators`); the ATR of `atr_period` is there too."""

    def higher(self) -> Mapping[str, Sequence[pl.Expr]]:
        """Columns over the candles of higher timeframes, by timeframe; `ema_50` of `1h` is the column `ema_50@1h`.

        A candle sees the higher candle that closed last when it closed itself, at the same moment included. The column
        is null where that candle is missing (a gap) and before its indicator is warm. Prices (`pl.col("close")`) may
        be asked for as well.
        """
        return {}

    def market(self) -> Sequence[pl.Expr]:
        """Columns over the candles of the whole market, all symbols of an exchange in one currency, in the timeframe
        judged; `breadth_10` is the column `breadth_10@market`, and `indicators` may read it as well.

        Such a candle has the prices of the reference (bitcoin in that currency, see `market.py`) and the numbers of
        `advancers` and `decliners`. A candle sees the market as of its own close, the same moment included: it is
        judged when all that closed then is there. The column is null where the market, or the reference, has no candle.
        """
        return []

    def memory(self, expr: pl.Expr) -> int:
        """Candles after which what came before them weighs less than 1e-9 in this column.

        Override it for indicators of your own, and for those that never forget, with the candles you need of them.
        Raises ValueError for an indicator of which it does not know.
        """
        return 0 if expr.meta.output_name() in VALUES else ind.memory_of(expr)

    @property
    def warm_up_candles(self) -> int:
        """How many candles must precede one before it may fire: all that its columns, and those before it, are of."""
        market = max((self.memory(expr) for expr in self.market()), default=0)
        return LOOK_BACK_CANDLES + max(self.memory(expr) for expr in self.columns()) + market

    def columns(self) -> list[pl.Expr]:
        """`indicators`, and the ATR."""
        return [*self.indicators(), ind.atr(self.params.atr_period)]

    def recent(self) -> list[pl.Expr]:
        """Further columns, from those of the last LOOK_BACK_CANDLES and of higher timeframes."""
        return []

    @abstractmethod
    def long(self) -> pl.Expr:
        """When to buy. It may look back with `shift`: at least `warm_up_candles` of the same market come before."""

    @abstractmethod
    def short(self) -> pl.Expr:
        """When to sell; never true together with `long`."""

    def stop(self, side: Side) -> pl.Expr:
        """The price at which the trade is over: below the close of a long, above that of a short. This far is 1 R."""
        distance = self.params.stop_atr * pl.col(self.atr_column)
        return pl.col("close") - distance if side == "long" else pl.col("close") + distance

    @abstractmethod
    def judge(self, row: Row, side: Side) -> Judgement:
        """Confidence (see `confidence`) and reasons of a candle that fired."""


AnyStrategy = Strategy[Any]


def ramp(value: float, low: float, high: float) -> float:
    """0 at `low` and below, 1 at `high` and above, linear between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def confidence(*strengths: tuple[float, float]) -> int:
    """BASE_CONFIDENCE plus points for strengths, each (points, how strong 0..1); the points make GRADED_POINTS."""
    if sum(points for points, _ in strengths) != GRADED_POINTS:
        raise ValueError(f"the points of all strengths are {GRADED_POINTS} together")
    return round(BASE_CONFIDENCE + sum(points * strength for points, strength in strengths))


def checked(kind: type[P], values: Mapping[str, object]) -> P:
    """Build parameters. Raises ValueError with every mistake: key, value and what was expected."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(details) for details in error.errors())) from None


def _sentence(details: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return f"{key}: there is no such parameter"
    message = details["msg"].removeprefix("Value error, ")
    return f"{key} {details['input']!r}: {message[0].lower()}{message[1:]}" if key else message

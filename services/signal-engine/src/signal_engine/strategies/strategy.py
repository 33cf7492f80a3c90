"""What a strategy is: parameters, indicator expressions, entry conditions, and a judgement of each entry.

Everything else (windows, stops, targets, expiry, ids) is the same for all and lives in `evaluation.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import polars as pl
from pydantic import Field, ValidationError, field_validator

from tocsin_common.config import Section
from tocsin_common.events import Side
from tocsin_common.ids import derive

Row = Mapping[str, float]
"""One fired candle: open, high, low, close, volume and every indicator of the strategy, by column name."""


LOOK_BACK_CANDLES = 5
"""How many candles before the fired one `recent`, `long` and `short` may look at."""


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
    """How good an entry looks: confidence 0..100, why in short sentences, and the figures behind it (all finite)."""

    confidence: int
    reasons: list[str]
    features: dict[str, float]


P = TypeVar("P", bound=Params)


class Strategy(ABC, Generic[P]):
    """A named, versioned rule. A change that alters any signal is a new `version`."""

    name: ClassVar[str]
    version: ClassVar[str]
    params_type: ClassVar[type[Params]]

    def __init__(self, params: P) -> None:
        self.params = params
        values = sorted(params.model_dump().items())
        self.params_hash = derive("params", *(part for key, value in values for part in (key, repr(value))))
        self.atr_column = f"atr_{params.atr_period}"

    @property
    @abstractmethod
    def warm_up_candles(self) -> int:
        """How many candles must precede one before it may fire."""

    @abstractmethod
    def indicators(self) -> list[pl.Expr]:
        """Columns computed over the whole window, the ATR of `atr_period` among them (see `indicators.py`)."""

    def recent(self) -> list[pl.Expr]:
        """Further columns, from the indicators of the last LOOK_BACK_CANDLES."""
        return []

    @abstractmethod
    def long(self) -> pl.Expr:
        """When to buy. It may look back with `shift`: at least `warm_up_candles` of the same market come before."""

    @abstractmethod
    def short(self) -> pl.Expr:
        """When to sell; never true together with `long`."""

    @abstractmethod
    def judge(self, row: Row, side: Side) -> Judgement:
        """Confidence and reasons of a candle that fired."""


AnyStrategy = Strategy[Any]


def ramp(value: float, low: float, high: float) -> float:
    """0 at `low` and below, 1 at `high` and above, linear between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


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

"""Why a strategy is taken out of the evaluation, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars.exceptions import (
    ColumnNotFoundError,
    DuplicateError,
    InvalidOperationError,
    PanicException,
    SchemaError,
    ShapeError,
)

from signal_engine.limited import TooSlow
from signal_engine.strategies import AnyStrategy
from signal_engine.window import Series
from tocsin_common.events import QuarantineReason, StrategyQuarantined

BROKEN = (Exception, PanicException, TooSlow)
"""What may come out of a strategy: its expressions and its methods are somebody else's."""

BAD_ENTRIES = 10
"""Entries in a row, none good among them, after which a strategy is not believed to make a good one."""

FAULTS = frozenset({"judge_failed", "not_finite", "wrong_side", "confidence_out_of_range"})
"""Reasons to drop an entry that speak of the strategy. The others come of the market: in a crash a wide stop may lie
below zero."""

MAX_ERROR_CHARS = 500

_COLUMNS = (ColumnNotFoundError, DuplicateError, InvalidOperationError, SchemaError, ShapeError)


class BadEntries(Exception):
    """A strategy made nothing but bad entries for too long."""


class WrongColumns(Exception):
    """Conditions or stops are not of the type they must be of."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One strategy that is off, and the candle that was in hand where it is known."""

    strategy: AnyStrategy
    reason: QuarantineReason
    error: str
    series: Series | None = None
    candle_open_ms: int | None = None

    def event(self, at_ms: int) -> StrategyQuarantined:
        """The fact of it, at the mark of this time."""
        one, where = self.strategy, self.series._asdict() if self.series else {}
        return StrategyQuarantined(
            strategy=one.instance,
            definition="" if one.instance == one.name else one.name,
            strategy_version=one.version,
            params_hash=one.params_hash,
            reason=self.reason,
            error=self.error,
            at_ms=at_ms,
            candle_open_ms=self.candle_open_ms,
            **where,
        )


def reason_of(error: BaseException) -> QuarantineReason:
    """The reason, which is also the label of the metric."""
    if isinstance(error, TooSlow):
        return "too_slow"
    if isinstance(error, BadEntries):
        return "bad_entries"
    return "wrong_columns" if isinstance(error, (WrongColumns, *_COLUMNS)) else "raised"


def described(error: BaseException) -> str:
    """What went wrong, on one line and bounded."""
    ours = isinstance(error, TooSlow | BadEntries | WrongColumns)
    text = str(error) if ours else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:MAX_ERROR_CHARS]


def check_types(rows: pl.DataFrame) -> None:
    """Conditions hold or do not, and stops are prices. Raises WrongColumns, naming the first that is neither."""
    for side in ("long", "short"):
        if (found := rows.get_column(side).dtype) != pl.Boolean:
            raise WrongColumns(f"{side} is of type {found}, not Boolean")
        if not (found := rows.get_column(f"stop_{side}").dtype).is_numeric():
            raise WrongColumns(f"the stop of a {side} is of type {found}, not a number")

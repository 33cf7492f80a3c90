"""An alert in the making: a kind, a symbol, its parameters. The menu and the typed command write it alike. Pure.

It is its own state: every button carries all that was chosen so far, so a menu outlives restarts and replicas. Lengths
of time are written as people write them (`15m`), levels as plain decimals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from alerting.bot import arguments
from alerting.management.permissions import OF
from tocsin_common.documents import (
    AlertRule,
    MoveRule,
    OutcomeRule,
    PriceRule,
    SignalRule,
    Subscriber,
    Timeframe,
    VolumeRule,
)
from tocsin_common.ids import derive

KINDS = ("price", "move", "volume", "signal", "outcome")
ANY = "*"
"""Any symbol: of signals and outcomes only."""

OF_ALL = frozenset({"signal", "outcome"})
RESULTS = (ANY, "target", "stop")
NUMBER_CHARS = 16


class Unfit(Exception):
    """The draft stands for no alert."""


@dataclass(frozen=True, slots=True)
class Draft:
    """`parts` are kind, symbol and parameters, as far as they are chosen."""

    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str, separator: str | None = None) -> Draft:
        return cls(tuple(text.split(separator)) if text else ())

    @classmethod
    def typed(cls, text: str) -> Draft:
        """With blanks between the parts; the commas that people write into numbers say nothing."""
        return cls.of(text.replace(",", ""))

    def plus(self, *more: str) -> str:
        """What a button carries that adds to it."""
        return ",".join([*self.parts, *more])

    @property
    def kind(self) -> str:
        """Raises Unfit."""
        if self.parts[0] not in KINDS:
            raise Unfit(self.parts[0])
        return self.parts[0]

    @property
    def symbol(self) -> str:
        """ANY, or a symbol. Raises Unfit."""
        if self.parts[1].lower() in (ANY, "any") and self.kind in OF_ALL:
            return ANY
        symbol = arguments.symbol(self.parts[1])
        if symbol is None:
            raise Unfit(self.parts[1])
        return symbol

    def rule(self, exchange: str, owner: Subscriber) -> AlertRule:
        """The alert it stands for; the same draft is the same alert. Raises Unfit."""
        kind, symbol, given = self.kind, self.symbol, self.parts[2:]
        try:
            fields = FIELDS[kind](given)
        except (ValueError, IndexError):
            raise Unfit(" ".join(given)) from None
        name = " ".join([kind, symbol, *given])
        rule_id = f"{owner.subscriber_id}{OF}{derive('bot alert', exchange, kind, symbol, repr(fields))}"
        common: dict[str, Any] = {"rule_id": rule_id, "name": name, "subscribers": [owner.subscriber_id], **fields}
        where: dict[str, Any] = {"exchange": exchange, "symbol": symbol}
        if kind in OF_ALL:
            where = {"symbols": [] if symbol == ANY else [symbol]}
        rule: AlertRule = RULES[kind](**common, **where)
        return rule


def _price(given: Sequence[str]) -> dict[str, Any]:
    [level] = given
    return {"level": positive(level)}


def _move(given: Sequence[str]) -> dict[str, Any]:
    percent, window = given
    window_s = arguments.length_s(window) or 0
    if not 60 <= window_s <= 7 * 86_400:
        raise ValueError(window)
    return {"percent": positive(percent, most=1000), "window_s": window_s}


def _volume(given: Sequence[str]) -> dict[str, Any]:
    factor, timeframe = given
    if timeframe not in get_args(Timeframe) or positive(factor, most=1000) <= 1:
        raise ValueError(timeframe)
    return {"factor": positive(factor), "timeframe": cast("Timeframe", timeframe)}


def _signal(given: Sequence[str]) -> dict[str, Any]:
    [confidence] = given or ["0"]
    if not (confidence.isascii() and confidence.isdigit() and len(confidence) <= 3 and int(confidence) <= 100):
        raise ValueError(confidence)
    return {"min_confidence": int(confidence)}


def _outcome(given: Sequence[str]) -> dict[str, Any]:
    [result] = given or [ANY]
    if result not in RESULTS:
        raise ValueError(result)
    return {"results": [] if result == ANY else [result]}


def positive(text: str, *, most: float = 1e15) -> float:
    """A number as people write it: `65000`, `0.5`, `5%`. Raises ValueError."""
    written = text.removesuffix("%")
    if len(written) > NUMBER_CHARS or not written.isascii() or not set(written) <= set("0123456789."):
        raise ValueError(text)
    value = float(written)
    if not 0 < value <= most or not math.isfinite(value):
        raise ValueError(text)
    return value


FIELDS = {"price": _price, "move": _move, "volume": _volume, "signal": _signal, "outcome": _outcome}
RULES: dict[str, Any] = {
    "price": PriceRule,
    "move": MoveRule,
    "volume": VolumeRule,
    "signal": SignalRule,
    "outcome": OutcomeRule,
}
NEEDS = {"price": 3, "move": 4, "volume": 4, "signal": 3, "outcome": 3}
"""Parts of a finished draft."""

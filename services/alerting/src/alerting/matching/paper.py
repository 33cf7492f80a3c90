"""What becomes of paper portfolios: where they are opened, what they buy and sell, how far they fall. Pure.

Of every portfolio the highest equity is remembered, of rules on drawdowns that they rang. Both can be taken back to
before the batch in hand (see `kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from alerting.matching.kept import Kept
from alerting.matching.levels import rearmed_at
from alerting.matching.rules import Rules
from tocsin_common.documents import PaperRule
from tocsin_common.events import EquityMarked, OrderFilled, PortfolioOpened, SignalSkipped
from tocsin_common.ids import derive

PLACE = "paper"
"""Stands for the exchange of what a portfolio does as a whole; the portfolio for its symbol."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A portfolio starts."""

    event: PortfolioOpened

    @property
    def exchange(self) -> str:
        return PLACE

    @property
    def symbol(self) -> str:
        return self.event.portfolio

    @property
    def cause_id(self) -> str:
        return self.event.event_id

    @property
    def ts_ms(self) -> int:
        return self.event.ts_ms


@dataclass(frozen=True, slots=True)
class Drawdown:
    """A portfolio's `equity`, at its event `n`, was at least `percent` below its `peak`."""

    portfolio: str
    n: int
    percent: float
    peak: Decimal
    equity: Decimal
    ts_ms: int

    @property
    def exchange(self) -> str:
        return PLACE

    @property
    def symbol(self) -> str:
        return self.portfolio

    @property
    def cause_id(self) -> str:
        return derive("drawdown", self.portfolio, self.n, self.percent)


PortfolioEvent = PortfolioOpened | OrderFilled | SignalSkipped | EquityMarked
PaperCause = Opened | OrderFilled | Drawdown

Fallen = tuple[str, int, str]
"""Rule, its revision, and the portfolio at whose drawdown it rang, and is not armed again."""


class PaperWatch:
    """Finds what rules look for in the events of portfolios, one after another."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.peaks: Kept[str, Decimal] = Kept()
        self.fallen: Kept[Fallen, bool] = Kept()

    def in_paper(
        self, event: PortfolioEvent, counts: Callable[[PaperRule, Drawdown], bool]
    ) -> Iterator[tuple[PaperRule, PaperCause]]:
        """What rings at one event; of drawdowns, only what `counts`."""
        match event:
            case PortfolioOpened():
                self.peaks.put(event.portfolio, event.cash)
                for rule in self._rules.for_paper(event.portfolio, "portfolio_opened", ""):
                    yield rule, Opened(event)
            case OrderFilled():
                for rule in self._rules.for_paper(event.portfolio, became_of(event), event.symbol):
                    yield rule, event
            case EquityMarked():
                yield from self._drawdowns(event, counts)

    def _drawdowns(
        self, event: EquityMarked, counts: Callable[[PaperRule, Drawdown], bool]
    ) -> Iterator[tuple[PaperRule, Drawdown]]:
        peak = max(self.peaks.get(event.portfolio) or event.equity, event.equity)
        self.peaks.put(event.portfolio, peak)
        if peak <= 0:
            return
        fallen_percent = float((1 - event.equity / peak) * 100)
        for rule in self._rules.for_paper(event.portfolio, "drawdown", ""):
            key = (rule.rule_id, self._rules.revision(rule), event.portfolio)
            if self.fallen.get(key):
                if fallen_percent < rearmed_at(rule.drawdown_percent):
                    self.fallen.put(key, None)
            elif fallen_percent >= rule.drawdown_percent:
                found = Drawdown(event.portfolio, event.n, rule.drawdown_percent, peak, event.equity, event.ts_ms)
                if counts(rule, found):
                    self.fallen.put(key, True)
                    yield rule, found


def became_of(fill: OrderFilled) -> str:
    """A portfolio enters with one fill, and leaves with one."""
    return "position_opened" if fill.position_amount else "position_closed"

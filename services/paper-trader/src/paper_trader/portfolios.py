"""Portfolio documents: read from their bucket, checked, and handed over when the trader is ready for them."""

from __future__ import annotations

import structlog
from msgspec import structs

from paper_trader.metrics import Metrics
from paper_trader.turn import State
from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.decoding import decode
from tocsin_common.documents import Portfolio
from tocsin_common.errors import Malformed
from tocsin_common.streams import PORTFOLIOS

log = structlog.get_logger()


class PortfolioWatch:
    """The portfolios as people want them to be, by id; a deleted one is a disabled one, for it may hold positions."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self._bucket = bus.bucket(PORTFOLIOS)
        self._metrics = metrics
        self._wanted: dict[str, Portfolio] = {}
        self._ids: dict[str, str] = {}

    async def load(self) -> None:
        """Read what is there now."""
        for _, entry in sorted((await self._bucket.all()).items()):
            self._take(entry)

    async def follow(self) -> None:
        """Keep up with changes, for ever."""
        async for entry in self._bucket.watch():
            self._take(entry)

    def changes(self, state: State) -> list[Portfolio]:
        """The documents that differ from what the simulation has; its currency and cash are fixed once it opened."""
        changed = []
        for name, portfolio in sorted(self._wanted.items()):
            account = state.accounts.get(name)
            wanted = portfolio
            if account is not None and account.is_open:
                kept = account.portfolio
                wanted = structs.replace(portfolio, currency=kept.currency, cash=kept.cash)
            if account is None or account.portfolio != wanted:
                changed.append(wanted)
        return changed

    def _take(self, entry: Entry) -> None:
        if entry.value is None:
            known = self._wanted.get(self._ids.get(entry.key, ""))
            if known is not None:
                self._wanted[known.portfolio_id] = structs.replace(known, enabled=False)
            return
        try:
            portfolio = decode(entry.value, Portfolio)
            check(portfolio)
        except Malformed as error:
            self._metrics.refused()
            log.error("portfolio document refused", key=entry.key, error=str(error))
            return
        self._ids[entry.key] = portfolio.portfolio_id
        self._wanted[portfolio.portfolio_id] = portfolio


def check(portfolio: Portfolio) -> None:
    """Refuse numbers no portfolio can trade with. Raises Malformed naming the field and what it may be."""
    limits = {
        "cash": portfolio.cash.is_finite() and portfolio.cash > 0,
        "risk_fraction": 0 < portfolio.risk_fraction <= 1,
        "max_position_fraction": 0 < portfolio.max_position_fraction <= 1,
        "fee_rate": 0 <= portfolio.fee_rate < 1,
        "slippage_rate": 0 <= portfolio.slippage_rate < 1,
    }
    wrong = [name for name, holds in limits.items() if not holds]
    if wrong:
        raise Malformed(
            f"{portfolio.portfolio_id}: {', '.join(wrong)} out of range; cash is above 0, risk and position fractions "
            "in (0, 1], rates in [0, 1)"
        )

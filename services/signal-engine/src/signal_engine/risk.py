"""How much to trade on a signal: the risk block."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tocsin_common.events import Risk, Side, StopBasis

MAINTENANCE_MARGIN = 0.01
"""Share of a position's value below which an exchange liquidates it. The first tiers of Binance, Bybit and OKX ask
0.4 to 0.5 % on large markets and up to 1 % on many others."""

BEYOND_STOP_R = 0.5
"""How far beyond the stop, in R, the liquidation must lie: a stop may fill late in a fast market."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """Whose money it is: `equity` in the quote currency, and how much of it, in percent, one stop may cost."""

    equity: float = 10_000.0
    risk_percent: float = 1.0
    leverage_max: float = 5.0

    def risk(
        self, side: Side, entry: float, stop: float, *, basis: StopBasis, invalidation: float | None
    ) -> Risk | None:
        """The block of one signal; None where stop and entry are no such prices, which `problem_of` says."""
        r = entry - stop if side == "long" else stop - entry
        if not (math.isfinite(entry) and entry > 0 and math.isfinite(r) and r > 0):
            return None
        cap = min(self.leverage_max, leverage_cap(side, r / entry))
        return Risk(
            stop_basis=basis,
            r=r,
            invalidation=stop if invalidation is None else invalidation,
            equity=self.equity,
            risk_percent=self.risk_percent,
            size=min(self.equity * self.risk_percent / 100 / r, self.equity * cap / entry),
            leverage_cap=cap,
        )


def leverage_cap(side: Side, stop_distance: float) -> float:
    """The most leverage, in hundredths, whose liquidation lies BEYOND_STOP_R beyond a stop this share of entry away.

    An isolated linear position with leverage L and maintenance margin m is liquidated at entry * (1 - 1/L) / (1 - m)
    when long and at entry * (1 + 1/L) / (1 + m) when short (Binance, "Liquidation price of USDT-margined futures",
    without the fee). Solved for L at the price entry * (1 -+ d), d being the stop's distance with its margin.
    """
    distance = stop_distance * (1 + BEYOND_STOP_R)
    if side == "long":
        margin = 1 - (1 - distance) * (1 - MAINTENANCE_MARGIN)
    else:
        margin = (1 + distance) * (1 + MAINTENANCE_MARGIN) - 1
    return math.floor(100 / margin) / 100

"""The strategies there are, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from signal_engine.strategies.bollinger_squeeze import BollingerSqueeze
from signal_engine.strategies.breadth_thrust import BreadthThrust
from signal_engine.strategies.btc_divergence import BtcDivergence
from signal_engine.strategies.confluence import Confluence
from signal_engine.strategies.donchian_breakout import DonchianBreakout
from signal_engine.strategies.ema_cross import EmaCross
from signal_engine.strategies.macd_trend import MacdTrend
from signal_engine.strategies.rsi_reversion import RsiReversion
from signal_engine.strategies.smart_money import SmartMoney
from signal_engine.strategies.strategy import (
    LOOK_BACK_CANDLES,
    AnyStrategy,
    Judgement,
    Params,
    Row,
    Strategy,
    checked,
    confidence,
    ramp,
)
from signal_engine.strategies.supertrend import Supertrend
from signal_engine.strategies.vwap_reversion import VwapReversion

__all__ = [
    "BY_DEFAULT",
    "LOOK_BACK_CANDLES",
    "STRATEGIES",
    "AnyStrategy",
    "Judgement",
    "Params",
    "Row",
    "Strategy",
    "build",
    "confidence",
    "ramp",
]

STRATEGIES: dict[str, type[AnyStrategy]] = {
    EmaCross.name: EmaCross,
    RsiReversion.name: RsiReversion,
    DonchianBreakout.name: DonchianBreakout,
    MacdTrend.name: MacdTrend,
    BollingerSqueeze.name: BollingerSqueeze,
    Supertrend.name: Supertrend,
    VwapReversion.name: VwapReversion,
    SmartMoney.name: SmartMoney,
    Confluence.name: Confluence,
    BreadthThrust.name: BreadthThrust,
    BtcDivergence.name: BtcDivergence,
}

BY_DEFAULT = tuple(name for name in STRATEGIES if name not in {BreadthThrust.name, BtcDivergence.name})
"""Who does not say which gets these. Those that look at the whole market have to be asked for: they cost every replica
a look at every candle, and a second query."""


def build(
    name: str,
    params: Mapping[str, object] | None = None,
    *,
    instance: str | None = None,
    timeframes: Sequence[str] = (),
    kinds: Mapping[str, type[AnyStrategy]] = STRATEGIES,
) -> AnyStrategy:
    """A strategy out of `kinds` with these parameters, defaults for the rest. It runs under `instance` (default: its
    own name) and judges `timeframes` (default: those it is made for).

    Raises ValueError naming everything that is wrong.
    """
    kind = kinds.get(name)
    if kind is None:
        raise ValueError(f"there is no strategy {name!r}; the strategies are {', '.join(sorted(kinds))}")
    return kind(checked(kind.params_type, params or {}), instance, timeframes)

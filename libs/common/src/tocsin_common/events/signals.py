"""Facts about signals: what a strategy saw, and how it ended."""

from __future__ import annotations

from typing import Literal

import msgspec

from tocsin_common import subjects
from tocsin_common.events.event import Event
from tocsin_common.ids import derive

Side = Literal["long", "short"]
StopBasis = Literal["atr", "structure"]


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """What a signal costs when it is wrong, and how much to trade so that it costs no more.

    `stop_basis` is what the stop is measured by, `r` its distance from entry in price; beyond `invalidation` (between
    stop and entry) the reason for the trade is gone. `size` is the amount of the base currency that loses
    `risk_percent` of `equity` (quote currency) at the stop, or less where `leverage_cap` allows no more: with that
    leverage or less a position is not liquidated before its stop.
    """

    stop_basis: StopBasis
    r: float
    invalidation: float
    equity: float
    risk_percent: float
    size: float
    leverage_cap: float


class SignalRaised(Event, frozen=True, kw_only=True, tag="signal.v1"):
    """A strategy saw its conditions met on a closed candle.

    `confirmed_ms` is when a live observer could first have known (the close of the candle). `entry` is that
    close; `stop` and `targets` (nearest first) are prices; the signal dies at `expires_ms` (exclusive). `strategy`
    is the name the strategy runs under, `definition` the strategy's own name where that is another one.
    """

    strategy: str
    strategy_version: str
    params_hash: str
    exchange: str
    symbol: str
    timeframe: str
    candle_open_ms: int
    confirmed_ms: int
    side: Side
    confidence: int
    entry: float
    stop: float
    targets: list[float]
    expires_ms: int
    reasons: list[str]
    features: dict[str, float] = {}
    definition: str = ""
    risk: Risk | None = None

    @property
    def signal_id(self) -> str:
        strategy = (self.strategy, self.strategy_version, self.params_hash)
        return derive("signal", *strategy, self.exchange, self.symbol, self.timeframe, self.candle_open_ms, self.side)

    @property
    def subject(self) -> str:
        return subjects.signal(self.exchange, self.symbol, self.timeframe, self.strategy)

    @property
    def event_id(self) -> str:
        return self.signal_id


class OutcomeMeasured(Event, frozen=True, kw_only=True, tag="outcome.v1"):
    """How a signal ended: `target_<n>` (its last target), `stop`, `expired` or `invalidated`.

    R is the distance entry to stop. `r_multiple` is the result, `mfe_r` and `mae_r` the best and worst excursion
    (mae_r <= 0 <= mfe_r) while it was alive, `targets_hit` how many targets were touched. `basis` says whether
    trades or only candles were available; a candle that touches both stop and target counts as the stop.
    """

    signal_id: str
    strategy: str
    exchange: str
    symbol: str
    timeframe: str
    side: Side
    result: str
    confirmed_ms: int
    ended_ms: int
    exit_price: float
    r_multiple: float
    mfe_r: float
    mae_r: float
    targets_hit: int
    basis: Literal["trades", "candles"]

    @property
    def subject(self) -> str:
        return subjects.outcome(self.exchange, self.symbol, self.timeframe, self.strategy)

    @property
    def event_id(self) -> str:
        return derive("outcome", self.signal_id)

"""What answers look like, for the OpenAPI document; the answers are JSON from PostgreSQL, never these classes."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from tocsin_common.events import AlertKind, ChannelName, DeliveryState, Origin, Side, StopBasis

Item = TypeVar("Item")
Money = Annotated[str, Field(description="An exact decimal.", examples=["10250.40"], pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Millis = Annotated[int, Field(description="Milliseconds UTC.", examples=[1723075200000])]
SignalId = Annotated[str, Field(examples=["82323675c6a5094d8c3f8372549a9495"])]
Exchange = Annotated[str, Field(description="ccxt id.", examples=["binance"])]
Symbol = Annotated[str, Field(description="Unified symbol.", examples=["BTC/USDT"])]
Strategy = Annotated[str, Field(examples=["ema_cross"])]
Timeframe = Annotated[str, Field(examples=["5m"])]


class Page(BaseModel, Generic[Item]):
    items: list[Item]
    next: str | None = Field(description="Path of the next page; null at the end.")
    next_cursor: str | None


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["limit: input should be less than or equal to 1000"])
    errors: list[dict[str, str]] | None = Field(default=None, description="`parameter` and `detail` of each mistake.")


class Candle(BaseModel):
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    open_ms: Millis
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int | None = Field(description="Trades inside the candle, where the source says.")
    origin: Origin
    revision: int = Field(description="0 as first published; higher ones are corrections.")


class Result(BaseModel):
    result: str = Field(description="target_n, stop, expired or invalidated.", examples=["target_1"])
    ended_ms: Millis
    exit_price: float
    r_multiple: float = Field(description="Result in multiples of the distance from entry to stop.")
    mfe_r: float = Field(description="Maximum favourable excursion, in R.")
    mae_r: float = Field(description="Maximum adverse excursion, in R (never above 0).")
    targets_hit: int
    basis: Literal["trades", "candles"]


class Outcome(Result):
    signal_id: SignalId
    strategy: Strategy
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    side: Side
    confirmed_ms: Millis


class Risk(BaseModel):
    stop_basis: StopBasis
    r: float = Field(description="Distance from entry to stop, in price.")
    invalidation: float = Field(description="Beyond this price the reason for the trade is gone.")
    equity: float = Field(description="Quote currency, as configured.")
    risk_percent: float = Field(description="Share of the equity that the stop may cost.")
    size: float = Field(description="Amount of the base currency that costs so much at the stop.")
    leverage_cap: float = Field(description="The most leverage whose liquidation lies beyond the stop.")


class Signal(BaseModel):
    signal_id: SignalId
    strategy: Strategy
    strategy_version: str
    params_hash: str
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    candle_open_ms: Millis
    confirmed_ms: int = Field(description="When a live observer could first have known.")
    side: Side
    confidence: int = Field(ge=0, le=100)
    entry: float
    stop: float
    targets: list[float]
    expires_ms: Millis
    reasons: list[str]
    features: dict[str, float]
    definition: str = Field(description="The strategy's own name where `strategy` is that of a variant, else empty.")
    risk: Risk | None = Field(description="What it costs when it is wrong, and a size for that.")
    state: str = Field(description="`active`, or the outcome's result.", examples=["active", "stop"])
    outcome: Result | None


class Alert(BaseModel):
    event_id: str
    alert_id: str
    decision: Literal["raised", "suppressed"]
    rule_id: str
    kind: AlertKind | None
    cause_id: str = Field(description="The signal, or whatever else the rule saw.")
    ts_ms: Millis
    exchange: Exchange | None
    symbol: Symbol | None
    title: str | None
    text: str | None
    fields: dict[str, str] | None
    subscribers: list[str] | None = Field(description="Who is told, when raised.")
    subscriber_id: str | None = Field(description="Who is not told, when suppressed; null: anybody.")
    reason: str | None = Field(description="Why it was suppressed.")
    detail: str | None = Field(description="What its owner can do about that, where it follows from nothing else.")


class Delivery(BaseModel):
    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    state: DeliveryState
    attempt: int
    queued_ms: Millis
    at_ms: Millis
    reason: str
    provider_ref: str


class DeliveryStep(BaseModel):
    state: DeliveryState
    attempt: int
    at_ms: Millis
    reason: str


class DeliveryStory(Delivery):
    steps: list[DeliveryStep]


class AlertStory(Alert):
    deliveries: list[DeliveryStory]


class Portfolio(BaseModel):
    portfolio: str
    currency: str = Field(examples=["USDT"])
    opened_ms: Millis
    initial_cash: Money
    cash: Money | None = Field(description="At the last mark; null before the first.")
    equity: Money | None
    marked_ms: Millis | None


class Fill(BaseModel):
    portfolio: str
    n: int = Field(description="Numbers the portfolio's events from 1.")
    ts_ms: Millis
    position_id: str
    signal_id: SignalId
    exchange: Exchange
    symbol: Symbol
    side: Literal["buy", "sell"]
    reason: str
    amount: Money
    price: Money
    market_price: Money
    fee: Money
    basis: Literal["trade", "candle"]
    basis_ref: str
    position_amount: Money
    position_entry_price: Money
    realised_pnl: Money
    cash_after: Money


class Skip(BaseModel):
    portfolio: str
    n: int
    ts_ms: Millis
    signal_id: SignalId
    reason: str


class SignalStory(Signal):
    """A signal and all that followed from it."""

    alerts: list[AlertStory]
    fills: list[Fill]
    skips: list[Skip]


class Position(BaseModel):
    portfolio: str
    position_id: str
    signal_id: SignalId
    exchange: Exchange
    symbol: Symbol
    side: Side
    state: Literal["open", "closed"]
    amount: Money
    entry_price: Money
    realised_pnl: Money = Field(description="Before fees.")
    fees: Money
    fills: int
    opened_ms: Millis
    closed_ms: Millis | None


class Holding(BaseModel):
    position_id: str
    exchange: Exchange
    symbol: Symbol
    amount: Money
    mark_price: Money
    value: Money


class Equity(BaseModel):
    portfolio: str
    n: int
    ts_ms: Millis
    cash: Money
    equity: Money
    holdings: list[Holding]


class Stats(BaseModel):
    """A win is an outcome above 0 R. Rates and averages are null without outcomes."""

    strategy: Strategy
    timeframe: Timeframe
    signals: int
    active: int
    outcomes: int
    results: dict[str, int] = Field(description="Outcomes by result.")
    wins: int
    losses: int
    win_rate: float | None
    win_rate_low: float | None = Field(
        description="With 95 % confidence the win rate lies above it (Wilson's interval)."
    )
    win_rate_high: float | None = Field(description="And below this.")
    average_r: float | None
    average_win_r: float | None
    average_loss_r: float | None
    profit_factor: float | None
    total_r: float


class StatsAnswer(BaseModel):
    items: list[Stats]


class StreamPosition(BaseModel):
    last_seq: int
    projected_seq: int
    lag: int = Field(description="Sequences not projected yet.")


class Counts(BaseModel):
    rows: dict[str, int] = Field(description="Rows by table.")
    streams: dict[str, StreamPosition]


class HealthAnswer(BaseModel):
    status: Literal["ok", "not ready"]
    projector: str = Field(description="running, standby, waiting, starting, stopped or disabled.")
    problems: dict[str, str]

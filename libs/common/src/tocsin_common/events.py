"""Every event on the wire: frozen, tagged with type and schema version, JSON.

Conventions: `..._ms` is integer milliseconds UTC; `ts_ms` is the time in the market (or of the decision),
`received_ms` and `at_ms` are our own clock. Market prices and amounts are float64; ledgers hold Decimal.
`symbol` is ccxt unified and `exchange` a ccxt id. Schemas only grow: a new meaning is a new version.

An event knows its `subject` and its derived `event_id`; the bus needs nothing else to publish it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from tocsin_common import subjects
from tocsin_common.errors import Malformed
from tocsin_common.ids import derive

Side = Literal["long", "short"]
Origin = Literal["trades", "exchange", "history"]
FeedState = Literal["connected", "disconnected", "stale", "gap_found", "gap_filled", "gap_unfilled"]
DeliveryState = Literal["queued", "attempting", "retrying", "sent", "failed", "unknown", "expired"]
ChannelName = Literal["console", "telegram", "email", "discord", "webhook"]
CHANNELS: tuple[ChannelName, ...] = ("console", "telegram", "email", "discord", "webhook")
TERMINAL_STATES: frozenset[DeliveryState] = frozenset({"sent", "failed", "unknown", "expired"})

MAX_COLUMN = 10_000
"""Most rows one columnar event may carry: a message stays below the server's 8 MiB payload limit."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A fact. Subclasses give the subject it is published on and the id derived from its cause."""

    @property
    def subject(self) -> str:
        raise NotImplementedError

    @property
    def event_id(self) -> str:
        raise NotImplementedError


class TradesReceived(Event, frozen=True, kw_only=True, tag="trades.v1"):
    """Trades of one instrument that arrived together; equally long columns, in exchange order.

    `side` has one character per trade: `b` taker bought, `s` taker sold, `-` unknown. `source` and `cursor`
    say where a restarted source goes on: `cursor` is the position in the source after this batch (0: the source
    has no positions).
    """

    exchange: str
    symbol: str
    source: str
    cursor: int
    received_ms: int
    ts_ms: list[int]
    price: list[float]
    amount: list[float]
    side: str
    trade_id: list[str | None]

    def __post_init__(self) -> None:
        _same_length(self.ts_ms, self.price, self.amount, self.side, self.trade_id)

    @property
    def subject(self) -> str:
        return subjects.trades(self.exchange, self.symbol)

    @property
    def event_id(self) -> str:
        content = msgspec.msgpack.encode((self.ts_ms, self.price, self.amount, self.side, self.trade_id))
        return derive("trades", self.exchange, self.symbol, self.source, self.cursor, content)


class CandlesClosed(Event, frozen=True, kw_only=True, tag="candles.v1"):
    """Closed candles of one instrument and timeframe, oldest first; one when live, many in a replay.

    `origin`: `trades` built here from TRADES; `exchange` as the exchange (or a candle file) gave it, the market's
    own pace; `history` backfill that only warms indicators up. `trades` counts the trades inside each candle
    (None where the source does not say). `revision` 0 is as first published, higher ones are corrections.
    """

    exchange: str
    symbol: str
    timeframe: str
    origin: Origin
    open_ms: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    trades: list[int] | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        columns = [self.open_ms, self.open, self.high, self.low, self.close, self.volume]
        _same_length(*columns, *([] if self.trades is None else [self.trades]))

    @property
    def subject(self) -> str:
        return subjects.candles(self.exchange, self.symbol, self.timeframe)

    @property
    def event_id(self) -> str:
        span = (self.open_ms[0], self.open_ms[-1], len(self.open_ms))
        return derive("candles", self.exchange, self.symbol, self.timeframe, self.revision, *span)


class FeedChanged(Event, frozen=True, kw_only=True, tag="feed.v1"):
    """A feed connected, went stale, or has a gap `from_ms <= t < to_ms`. `symbol` None: the whole connection."""

    exchange: str
    symbol: str | None
    state: FeedState
    ts_ms: int
    from_ms: int | None = None
    to_ms: int | None = None
    reason: str = ""

    @property
    def subject(self) -> str:
        return subjects.feed(self.exchange)

    @property
    def event_id(self) -> str:
        return derive("feed", self.exchange, self.symbol, self.state, self.ts_ms, self.from_ms, self.to_ms)


class ClockAdvanced(Event, frozen=True, kw_only=True, tag="clock.v1"):
    """A watermark: everything before market time `time_ms` is on the streams up to these sequences.

    Stage `market` is written by market-ingest after the candles of a boundary, stage `signals` by signal-engine
    after the signals those candles gave. Consumers that join streams advance from mark to mark, so their result
    does not depend on which stream happened to be faster. `trades_from_seq` and `candles_from_seq` are the first
    sequences that still belong to an open candle: where a restart rebuilds from. `ended`: the source has no more.
    `totals` are running counts since the source began (read, published, rejected, late ...), so that they survive
    a restart.
    """

    stage: Literal["market", "signals"]
    source: str
    time_ms: int
    trades_seq: int
    candles_seq: int
    signals_seq: int = 0
    cursor: int = 0
    trades_from_seq: int = 0
    candles_from_seq: int = 0
    ended: bool = False
    totals: dict[str, int] = {}

    @property
    def subject(self) -> str:
        return subjects.clock(self.stage)

    @property
    def event_id(self) -> str:
        progress = (self.time_ms, self.trades_seq, self.candles_seq, self.signals_seq, self.cursor, self.ended)
        return derive("clock", self.stage, self.source, *progress)


class SignalRaised(Event, frozen=True, kw_only=True, tag="signal.v1"):
    """A strategy saw its conditions met on a closed candle.

    `confirmed_ms` is when a live observer could first have known (the close of the candle). `entry` is that
    close; `stop` and `targets` (nearest first) are prices; the signal dies at `expires_ms` (exclusive).
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


class PortfolioOpened(Event, frozen=True, kw_only=True, tag="paper_opened.v1"):
    """A paper portfolio starts with `cash` units of `currency`. `n` numbers a portfolio's events from 1."""

    portfolio: str
    n: int
    ts_ms: int
    currency: str
    cash: Decimal

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "opened")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class OrderFilled(Event, frozen=True, kw_only=True, tag="paper_fill.v1"):
    """A simulated order was filled. Cash moves by -+ amount*price - fee, to the last decimal.

    `basis_ref` is the trade id (or `ts_ms` where trades carry none) or the candle's open time that gave
    `market_price`; `price` is that after slippage. `position_amount` is signed (short is negative) after the fill.
    """

    portfolio: str
    n: int
    ts_ms: int
    position_id: str
    signal_id: str
    exchange: str
    symbol: str
    side: Literal["buy", "sell"]
    reason: str
    amount: Decimal
    price: Decimal
    market_price: Decimal
    fee: Decimal
    basis: Literal["trade", "candle"]
    basis_ref: str
    position_amount: Decimal
    position_entry_price: Decimal
    realised_pnl: Decimal
    cash_after: Decimal

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "fill")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class SignalSkipped(Event, frozen=True, kw_only=True, tag="paper_skip.v1"):
    """A portfolio did not follow a signal; `reason` says why."""

    portfolio: str
    n: int
    ts_ms: int
    signal_id: str
    reason: str

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "skip")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One open position at its mark: `value = amount * mark_price` (negative for a short)."""

    position_id: str
    exchange: str
    symbol: str
    amount: Decimal
    mark_price: Decimal
    value: Decimal


class EquityMarked(Event, frozen=True, kw_only=True, tag="paper_equity.v1"):
    """Equity at a moment: `equity = cash + sum(holding.value)`, exactly."""

    portfolio: str
    n: int
    ts_ms: int
    cash: Decimal
    holdings: list[Holding]
    equity: Decimal

    @property
    def subject(self) -> str:
        return subjects.paper(self.portfolio, "equity")

    @property
    def event_id(self) -> str:
        return derive("paper", self.portfolio, self.n)


class AlertRaised(Event, frozen=True, kw_only=True, tag="alert.v1"):
    """A rule matched. `cause_id` is the signal's id, or the id of the trade that crossed the level."""

    alert_id: str
    rule_id: str
    kind: Literal["signal", "price"]
    cause_id: str
    ts_ms: int
    exchange: str
    symbol: str
    title: str
    text: str
    fields: dict[str, str]
    subscribers: list[str]

    @property
    def subject(self) -> str:
        return subjects.alert("raised", self.rule_id)

    @property
    def event_id(self) -> str:
        return self.alert_id


class AlertSuppressed(Event, frozen=True, kw_only=True, tag="alert_suppressed.v1"):
    """A rule matched, but a subscriber is not told; `reason` says why."""

    alert_id: str
    rule_id: str
    cause_id: str
    subscriber_id: str
    ts_ms: int
    reason: str

    @property
    def subject(self) -> str:
        return subjects.alert("suppressed", self.rule_id)

    @property
    def event_id(self) -> str:
        return derive("suppressed", self.alert_id, self.subscriber_id, self.reason)


class DeliveryChanged(Event, frozen=True, kw_only=True, tag="delivery.v1"):
    """One step in the life of a delivery. Terminal: sent, failed, unknown, expired.

    `attempt` counts requests started. `at_ms` is our clock. `reason` explains failed, retrying, unknown and
    expired; `provider_ref` is the receiver's own id of the message, where it gave one.
    """

    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    state: DeliveryState
    attempt: int
    at_ms: int
    reason: str = ""
    provider_ref: str = ""

    @property
    def subject(self) -> str:
        return subjects.delivery(self.channel, self.delivery_id)

    @property
    def event_id(self) -> str:
        return derive("delivery", self.delivery_id, self.state, self.attempt)


class SendDue(Event, frozen=True, kw_only=True, tag="send.v1"):
    """Work: one message to one subscriber on one channel, not after `deadline_ms` (our clock)."""

    delivery_id: str
    alert_id: str
    subscriber_id: str
    channel: ChannelName
    title: str
    text: str
    fields: dict[str, str]
    ts_ms: int
    queued_ms: int
    deadline_ms: int

    @property
    def subject(self) -> str:
        return subjects.send(self.channel)

    @property
    def event_id(self) -> str:
        return derive("send", self.delivery_id)


class DeadLetter(Event, frozen=True, kw_only=True, tag="dead.v1"):
    """A message no retry can help: the original, byte for byte, and why it was given up."""

    service: str
    stream: str
    seq: int
    original_subject: str
    reason: str
    error: str
    payload: bytes

    @property
    def subject(self) -> str:
        return subjects.dead(self.service, self.original_subject)

    @property
    def event_id(self) -> str:
        return derive("dead", self.service, self.stream, self.seq, self.payload)


AnyEvent = (
    TradesReceived
    | CandlesClosed
    | FeedChanged
    | ClockAdvanced
    | SignalRaised
    | OutcomeMeasured
    | PortfolioOpened
    | OrderFilled
    | SignalSkipped
    | EquityMarked
    | AlertRaised
    | AlertSuppressed
    | DeliveryChanged
    | SendDue
    | DeadLetter
)
EVENT_TYPES: tuple[type[Event], ...] = AnyEvent.__args__

_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """Serialise an event as JSON, its `type` first."""
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """Parse any event. Raises Malformed, naming the place in the document that is wrong."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"not a valid event: {error}") from error


def _same_length(*columns: list[int] | list[float] | list[str | None] | str) -> None:
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or not 0 < lengths.pop() <= MAX_COLUMN:
        sizes = [len(column) for column in columns]
        raise ValueError(f"columns must be equally long, 1 to {MAX_COLUMN} rows, not {sizes}")

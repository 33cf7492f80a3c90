"""Every event on the wire: frozen, tagged with type and schema version, JSON.

Conventions: `..._ms` is integer milliseconds UTC; `ts_ms` is the time in the market (or of the decision),
`received_ms` and `at_ms` are our own clock. Market prices and amounts are float64; ledgers hold Decimal.
`symbol` is ccxt unified and `exchange` a ccxt id. Schemas only grow: a new meaning is a new version.

An event knows its `subject` and its derived `event_id`; the bus needs nothing else to publish it.
"""

from __future__ import annotations

import msgspec

from tocsin_common.decoding import UNREADABLE
from tocsin_common.errors import Malformed
from tocsin_common.events.alerts import (
    CHANNELS,
    SEVERITIES,
    TERMINAL_STATES,
    AlertKind,
    AlertRaised,
    AlertSuppressed,
    AsideReason,
    ChannelName,
    DeadLetter,
    DeliveryChanged,
    DeliveryState,
    DigestPart,
    Language,
    SendDue,
    Severity,
)
from tocsin_common.events.bot import BotAsked, BotOutcome, BotState
from tocsin_common.events.digests import DigestEnded, DigestLine
from tocsin_common.events.engine import (
    IndicatorsComputed,
    IndicatorsOffered,
    Pace,
    QuarantineReason,
    RoundsChanged,
    StrategyQuarantined,
)
from tocsin_common.events.event import MAX_COLUMN, Event, encoder
from tocsin_common.events.management import DestinationChanged, DestinationState, DocumentChanged, DocumentKind
from tocsin_common.events.market import (
    CandlesClosed,
    ClockAdvanced,
    Difference,
    FeedChanged,
    FeedState,
    Origin,
    TradesReceived,
)
from tocsin_common.events.paper import EquityMarked, Holding, OrderFilled, PortfolioOpened, SignalSkipped
from tocsin_common.events.quotes import FundingChanged, QuoteMoved, TickerUpdated
from tocsin_common.events.signals import OutcomeMeasured, Risk, Side, SignalRaised, StopBasis
from tocsin_common.events.summary import PERIODS, Account, Named, Period, Score, Summary, Unusual

AnyEvent = (
    TradesReceived
    | CandlesClosed
    | FeedChanged
    | QuoteMoved
    | FundingChanged
    | TickerUpdated
    | ClockAdvanced
    | SignalRaised
    | IndicatorsComputed
    | IndicatorsOffered
    | StrategyQuarantined
    | RoundsChanged
    | OutcomeMeasured
    | PortfolioOpened
    | OrderFilled
    | SignalSkipped
    | EquityMarked
    | AlertRaised
    | AlertSuppressed
    | DeliveryChanged
    | DigestLine
    | DigestEnded
    | SendDue
    | BotAsked
    | DestinationChanged
    | DocumentChanged
    | DeadLetter
)
EVENT_TYPES: tuple[type[Event], ...] = AnyEvent.__args__

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """Serialise an event as JSON, its `type` first."""
    return encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """Parse any event. Raises Malformed, naming the place in the document that is wrong."""
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise Malformed(f"not a valid event: {error}") from error


__all__ = [
    "CHANNELS",
    "EVENT_TYPES",
    "MAX_COLUMN",
    "PERIODS",
    "SEVERITIES",
    "TERMINAL_STATES",
    "Account",
    "AlertKind",
    "AlertRaised",
    "AlertSuppressed",
    "AnyEvent",
    "AsideReason",
    "BotAsked",
    "BotOutcome",
    "BotState",
    "CandlesClosed",
    "ChannelName",
    "ClockAdvanced",
    "DeadLetter",
    "DeliveryChanged",
    "DeliveryState",
    "DestinationChanged",
    "DestinationState",
    "Difference",
    "DigestEnded",
    "DigestLine",
    "DigestPart",
    "DocumentChanged",
    "DocumentKind",
    "EquityMarked",
    "Event",
    "FeedChanged",
    "FeedState",
    "FundingChanged",
    "Holding",
    "IndicatorsComputed",
    "IndicatorsOffered",
    "Language",
    "Named",
    "OrderFilled",
    "Origin",
    "OutcomeMeasured",
    "Pace",
    "Period",
    "PortfolioOpened",
    "QuarantineReason",
    "QuoteMoved",
    "Risk",
    "RoundsChanged",
    "Score",
    "SendDue",
    "Severity",
    "Side",
    "SignalRaised",
    "SignalSkipped",
    "StopBasis",
    "StrategyQuarantined",
    "Summary",
    "TickerUpdated",
    "TradesReceived",
    "Unusual",
    "decode",
    "encode",
]

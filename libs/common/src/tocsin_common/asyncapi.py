"""The AsyncAPI document of everything on the bus, made from the event types and the stream declarations.

python -m tocsin_common.asyncapi > asyncapi.yaml
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from typing import Any

import msgspec
import yaml

from tocsin_common import events
from tocsin_common.bus.serving import Problem
from tocsin_common.events import EVENT_TYPES, Event
from tocsin_common.requests import ENDPOINTS, Endpoint
from tocsin_common.streams import DAY_S, Stream, stream_of

ADDRESSES: dict[type[Event], str] = {
    events.TradesReceived: "market.trades.{exchange}.{symbol}",
    events.CandlesClosed: "market.candles.{exchange}.{symbol}.{timeframe}",
    events.FeedChanged: "market.feed.{exchange}",
    events.QuoteMoved: "market.quotes.{exchange}.{symbol}",
    events.FundingChanged: "market.funding.{exchange}.{symbol}",
    events.TickerUpdated: "market.tickers.{exchange}.{symbol}",
    events.ClockAdvanced: "clock.{stage}",
    events.SignalRaised: "signals.{exchange}.{symbol}.{timeframe}.{strategy}",
    events.IndicatorsComputed: "indicators.{exchange}.{symbol}.{timeframe}",
    events.IndicatorsOffered: "engine.offered.indicators",
    events.StrategyQuarantined: "engine.quarantine.{strategy}",
    events.RoundsChanged: "engine.rounds.{pace}",
    events.OutcomeMeasured: "outcomes.{exchange}.{symbol}.{timeframe}.{strategy}",
    events.PortfolioOpened: "paper.{portfolio}.opened",
    events.OrderFilled: "paper.{portfolio}.fill",
    events.SignalSkipped: "paper.{portfolio}.skip",
    events.EquityMarked: "paper.{portfolio}.equity",
    events.AlertRaised: "alerts.raised.{rule}.{exchange}.{symbol}",
    events.AlertSuppressed: "alerts.suppressed.{rule}",
    events.DeliveryChanged: "deliveries.{channel}.{delivery}",
    events.DigestLine: "digests.line.{channel}.{subscriber}.{delivery}",
    events.DigestEnded: "digests.ended.{channel}.{subscriber}.{delivery}",
    events.SendDue: "send.{channel}.{severity}",
    events.BotAsked: "bot.{bot}.{update}",
    events.DocumentChanged: "management.{kind}.{id}",
    events.DestinationChanged: "management.destination.{subscriber}",
    events.DeadLetter: "dead.{service}.{original}",
}
"""The subject each event is published on; `subjects.py` builds them."""

PARAMETERS = {
    "exchange": "ccxt exchange id, as a subject token.",
    "symbol": "Unified ccxt symbol as a subject token: BTC/USDT:USDT reads BTC-USDT_USDT.",
    "timeframe": "1m, 5m, 15m, 1h, 4h or 1d; 1s where it is switched on.",
    "strategy": "Name of the strategy, as a subject token.",
    "pace": "slow or recovered.",
    "stage": "market or signals.",
    "portfolio": "Id of the portfolio, as a subject token.",
    "rule": "Id of the alert rule, as a subject token.",
    "channel": "console, telegram, email, discord, webhook, webpush or apprise.",
    "subscriber": "Id of the subscriber, as a subject token.",
    "delivery": "Id of the delivery.",
    "severity": "info, warning or critical.",
    "bot": "The public part of the bot's token.",
    "update": "Telegram's number of the update.",
    "kind": "rule, subscriber or silence.",
    "id": "Id of the document, as a subject token.",
    "service": "The service that gave the message up.",
    "original": "The subject of the message that was given up.",
}


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document as plain data."""
    asked: list[type[msgspec.Struct]] = [kind for one in ENDPOINTS for kind in (one.request, one.reply)]
    asked.append(Problem)
    _, schemas = msgspec.json.schema_components([*EVENT_TYPES, *asked], ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tocsin events",
            "version": version("tocsin-common"),
            "description": "Every event is an immutable fact on a NATS JetStream stream. Its header Nats-Msg-Id is"
            " derived from what caused it: storing it twice stores it once.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {kind.__name__: _channel(kind) for kind in EVENT_TYPES} | _request_channels(),
        "operations": {
            f"publish{kind.__name__}": {"action": "send", "channel": {"$ref": f"#/channels/{kind.__name__}"}}
            for kind in EVENT_TYPES
        }
        | {f"answer{endpoint.request.__name__}": _answering(endpoint) for endpoint in ENDPOINTS},
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in EVENT_TYPES}
            | {kind.__name__: _plain_message(kind) for kind in asked},
            "schemas": schemas,
        },
    }


def text() -> str:
    """The document as YAML, as it is committed."""
    body = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)
    return f"# Made by `python -m tocsin_common.asyncapi`; do not edit.\n{body}"


def _channel(kind: type[Event]) -> dict[str, Any]:
    address = ADDRESSES[kind]
    stream = stream_of(address)
    names = re.findall(r"{(\w+)}", address)
    return {
        "address": address,
        "description": _kept(stream),
        "parameters": {name: {"description": PARAMETERS[name]} for name in names},
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
    }


def _kept(stream: Stream) -> str:
    kept = "until it is acknowledged" if stream.work_queue else "for ever"
    if stream.max_age_s:
        kept = f"for {stream.max_age_s / DAY_S:g} days"
    elif stream.max_per_subject > 0:
        kept = f"for the newest {stream.max_per_subject} of each subject"
    sentence = f"Stored on the stream {stream.name} {kept}."
    if stream.transform:
        sentence += " The stored subject has the instrument's partition before the exchange."
    return sentence


def _request_channels() -> dict[str, Any]:
    """A channel for each question, and one for the inbox its answer comes to."""
    channels: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        channels[endpoint.request.__name__] = {
            "address": endpoint.subject,
            "description": f"A NATS request that {endpoint.group} answers; nothing is stored.",
            "messages": _references(endpoint.request),
        }
        channels[endpoint.reply.__name__] = {
            "address": None,
            "description": "The reply, or a Problem, told by its header Nats-Service-Error-Code.",
            "messages": _references(endpoint.reply, Problem),
        }
    return channels


def _answering(endpoint: Endpoint[msgspec.Struct, msgspec.Struct]) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{endpoint.request.__name__}"},
        "reply": {"channel": {"$ref": f"#/channels/{endpoint.reply.__name__}"}},
    }


def _references(*kinds: type[msgspec.Struct]) -> dict[str, Any]:
    return {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in kinds}


def _plain_message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "title": kind.__name__,
        "summary": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }


def _message(kind: type[Event]) -> dict[str, Any]:
    return {
        "name": kind.__struct_config__.tag,
        "title": kind.__name__,
        "summary": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
        "headers": {
            "type": "object",
            "required": ["Nats-Msg-Id", "traceparent"],
            "properties": {
                "Nats-Msg-Id": {"type": "string", "description": "The event's derived id."},
                "traceparent": {"type": "string", "description": "The W3C trace context: what the event came of."},
            },
        },
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }


if __name__ == "__main__":
    sys.stdout.write(text())

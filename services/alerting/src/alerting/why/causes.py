"""The event that an alert would be about, found on its stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from alerting.matching.causes import Cause as Found
from alerting.matching.causes import time_of
from alerting.matching.paper import Opened
from alerting.matching.system import Trouble
from alerting.why.archive import Archive
from alerting.why.facets import Happened
from alerting.why.whereabouts import Whereabouts
from alerting.words.render import of_cause
from alerting.words.voice import Voice
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import (
    AlertKind,
    AlertRaised,
    AlertSuppressed,
    AnyEvent,
    DeadLetter,
    FeedChanged,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    RoundsChanged,
    SignalRaised,
    StrategyQuarantined,
)
from tocsin_common.streams import (
    ALERTING_DEAD,
    ALERTING_ENGINE,
    ALERTING_FEEDS,
    ALERTING_OUTCOMES,
    ALERTING_PAPER,
    ALERTING_SIGNALS,
    Durable,
)

KIND: dict[type[Happened], AlertKind] = {
    SignalRaised: "signal",
    OutcomeMeasured: "outcome",
    FeedChanged: "feed",
    PortfolioOpened: "paper",
    OrderFilled: "paper",
    StrategyQuarantined: "system",
    RoundsChanged: "system",
    DeadLetter: "system",
}
DURABLES: tuple[tuple[AlertKind, Durable], ...] = (
    ("signal", ALERTING_SIGNALS),
    ("outcome", ALERTING_OUTCOMES),
    ("feed", ALERTING_FEEDS),
    ("paper", ALERTING_PAPER),
    ("system", ALERTING_ENGINE),
    ("system", ALERTING_DEAD),
)
"""Where the events of a kind of alert are, and by which durable alerting looks at them."""


@dataclass(frozen=True, slots=True)
class Cause:
    """An event, the message that holds it, and the durable by which alerting looks at it."""

    message: Received
    event: Happened
    durable: Durable

    @property
    def kind(self) -> AlertKind:
        return KIND[type(self.event)]

    def title(self, voice: Voice) -> str:
        """For example: `Long BTC/USDT, 1h: EMA cross (2024-08-09 01:00 UTC)`."""
        found = as_found(self.event, self.message.stored_ms)
        said = of_cause(found, "", voice).title
        return voice.say("why.about", title=said, moment=voice.moment(time_of(found)))

    def words(self, voice: Voice) -> str:
        """What to call it."""
        return voice.say(f"event.{self.kind}")


class Causes:
    """Everything that stands on a stream of its own under the id by which alerts name it."""

    def __init__(self, bus: Bus, archive: Archive) -> None:
        self._archive = archive
        self._whereabouts = {
            durable: Whereabouts(bus, durable.stream, lambda event: (event.event_id,)) for _, durable in DURABLES
        }

    async def asked_about(self, wanted: str) -> Cause | None:
        """What has this id; None: nothing that is known. Raises Unreachable."""
        for _, durable in DURABLES:
            if found := _cause(await self._whereabouts[durable].messages(wanted), durable):
                return found
        signal = await self._archive.signal(wanted)
        return _cause([signal] if signal else [], ALERTING_SIGNALS)

    async def of(self, alert: AlertRaised | AlertSuppressed, kind: AlertKind) -> Cause | None:
        """What an alert of a kind is about; None where that is no event of its own. Raises Unreachable."""
        durables = [durable for one, durable in DURABLES if one == kind]
        for durable in durables:
            if found := _cause(await self._whereabouts[durable].messages(alert.cause_id), durable):
                return found
        older = await self._archive.cause(alert.cause_id, kind, alert) if durables else None
        return _cause([older] if older else [], durables[0]) if durables else None


def as_found(event: Happened, stored_ms: int) -> Found:
    """What rules make of an event."""
    match event:
        case PortfolioOpened():
            return Opened(event)
        case StrategyQuarantined() | RoundsChanged() | DeadLetter():
            return Trouble.of(event, stored_ms)
    return event


def _cause(messages: list[Received], durable: Durable) -> Cause | None:
    for message in messages:
        event: AnyEvent = message.event()
        if isinstance(event, get_args(Happened)):
            return Cause(message, event, durable)
    return None

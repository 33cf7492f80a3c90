"""The signal, outcome or change of a feed that an alert would be about, found on its stream."""

from __future__ import annotations

from dataclasses import dataclass

from alerting.causes import time_of
from alerting.render import of_cause
from alerting.voice import RECORD
from alerting.why.facets import Event
from alerting.why.whereabouts import Whereabouts
from alerting.wording import moment
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import FeedChanged, OutcomeMeasured, SignalRaised
from tocsin_common.streams import ALERTING_FEEDS, ALERTING_OUTCOMES, ALERTING_SIGNALS, Durable

WORDS: dict[type[Event], str] = {SignalRaised: "signal", OutcomeMeasured: "outcome", FeedChanged: "change of the feed"}


@dataclass(frozen=True, slots=True)
class Cause:
    """An event, the message that holds it, and the durable by which alerting looks at it."""

    message: Received
    event: Event
    durable: Durable

    @property
    def title(self) -> str:
        """For example: `Long BTC/USDT, 1h: EMA cross (2024-08-09 01:00 UTC)`."""
        return f"{of_cause(self.event, '', RECORD).title} ({moment(time_of(self.event))})"


class Causes:
    """Everything that stands on a stream of its own under the id by which alerts name it."""

    def __init__(self, bus: Bus) -> None:
        self._whereabouts = {
            durable: Whereabouts(bus, durable.stream, lambda event: (event.event_id,))
            for durable in (ALERTING_SIGNALS, ALERTING_OUTCOMES, ALERTING_FEEDS)
        }

    async def find(self, cause_id: str) -> Cause | None:
        """None: it is none of these, or older than what is remembered. Raises Unreachable."""
        for durable, whereabouts in self._whereabouts.items():
            for message in await whereabouts.messages(cause_id):
                event = message.event()
                if isinstance(event, SignalRaised | OutcomeMeasured | FeedChanged):
                    return Cause(message, event, durable)
        return None


def words_of(cause: Cause) -> str:
    """What to call it."""
    return WORDS[type(cause.event)]

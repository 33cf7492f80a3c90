"""What the stream ALERTS remembers of rules that may not ring too often: one look per line, when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.judging.limits import Line, Rung
from alerting.matching.causes import Match
from tocsin_common.bus.lookups import last_of
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.events import AlertRaised
from tocsin_common.streams import ALERTS
from tocsin_common.subjects import alert_raised, alerts_raised_by


async def recall(bus: Bus, rung: Rung, matches: Sequence[Match]) -> None:
    """Learn what has to be known of these matches. Nothing of what follows from them may be stored and undecided yet:
    what stands on the stream is then older, or stands by itself."""
    subjects = {line: _subject(line) for line in rung.unknown(matches)}
    async for line, message in last_of(bus, ALERTS, subjects):
        rung.learn(line, _rang_ms(line, message))


def _subject(line: Line) -> str:
    return alert_raised(line.rule_id, line.exchange, line.symbol) if line.exchange else alerts_raised_by(line.rule_id)


def _rang_ms(line: Line, message: Received | None) -> int | None:
    """When a line rang last. What an earlier writing of the rule rang does not count."""
    alert = message.event() if message else None
    return alert.ts_ms if isinstance(alert, AlertRaised) and alert.rule_revision == line.revision else None

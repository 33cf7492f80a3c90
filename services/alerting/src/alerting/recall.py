"""What the stream ALERTS remembers of rules that may not ring too often: one look per line, when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from alerting.causes import Match
from alerting.limits import Line, Rung
from tocsin_common.bus.protocol import Bus
from tocsin_common.events import AlertRaised
from tocsin_common.streams import ALERTS
from tocsin_common.subjects import alert_raised, alerts_raised_by

LOOKUPS_AT_ONCE = 64


async def recall(bus: Bus, rung: Rung, matches: Sequence[Match]) -> None:
    """Learn what has to be known of these matches. Nothing of what follows from them may be stored and undecided yet:
    what stands on the stream is then older, or stands by itself."""
    lines = rung.unknown(matches)
    for start in range(0, len(lines), LOOKUPS_AT_ONCE):
        part = lines[start : start + LOOKUPS_AT_ONCE]
        for line, last in zip(part, await asyncio.gather(*(_last(bus, line) for line in part)), strict=True):
            rung.learn(line, last)


async def _last(bus: Bus, line: Line) -> int | None:
    """When a line rang last. What an earlier writing of the rule rang does not count."""
    subject = (
        alert_raised(line.rule_id, line.exchange, line.symbol) if line.exchange else alerts_raised_by(line.rule_id)
    )
    message = await bus.last(ALERTS, subject)
    alert = message.event() if message else None
    return alert.ts_ms if isinstance(alert, AlertRaised) and alert.rule_revision == line.revision else None

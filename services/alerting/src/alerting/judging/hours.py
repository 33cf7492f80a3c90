"""Whether a moment lies in somebody's hours. Pure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from tocsin_common.documents import DAYS, Hours


def within(hours: Hours, ts_ms: int) -> bool:
    """Whether the clock on the wall shows a time in `hours`. A span past midnight belongs to the day it starts on."""
    local = datetime.fromtimestamp(ts_ms / 1000, ZoneInfo(hours.zone))
    clock, day = f"{local:%H:%M}", local.weekday()
    if hours.start < hours.end:
        inside = hours.start <= clock < hours.end
    else:
        inside = clock >= hours.start or clock < hours.end
        day -= clock < hours.start
    return inside and (not hours.days or DAYS[day] in hours.days)

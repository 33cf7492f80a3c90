"""The newest value of each subject, told at most so often. Pure: the caller's clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from market_ingest.quotes.rows import Told


class Latest:
    """Keeps what is still to be told. One value per subject: memory is bounded by the number of instruments."""

    def __init__(self, every_ms: Mapping[type[Told], int]) -> None:
        self._every_ms = every_ms
        self._waiting: dict[str, Told] = {}
        self._told: dict[str, Told] = {}

    def put(self, value: Told) -> None:
        """Take a value; it replaces an untold one, unless it is older or says nothing new."""
        newest = self._waiting.get(value.subject) or self._told.get(value.subject)
        if newest is None or (value.ts_ms >= newest.ts_ms and value.event_id != newest.event_id):
            self._waiting[value.subject] = value

    def due(self, now_ms: int) -> Sequence[Told]:
        """Take out what may be told now: `every_ms` after the subject's last one, on our clock."""
        found = [value for value in self._waiting.values() if self._is_due(value, now_ms)]
        for value in found:
            del self._waiting[value.subject]
            self._told[value.subject] = value
        return found

    def _is_due(self, value: Told, now_ms: int) -> bool:
        told = self._told.get(value.subject)
        return told is None or now_ms >= told.received_ms + self._every_ms[type(value)]

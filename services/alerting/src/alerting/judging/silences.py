"""The silences in force: for whom, and of what, no alert may go out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.matching.causes import Match
from tocsin_common.documents import Silence


class Silences:
    """All silences by id, those that are over included."""

    def __init__(self) -> None:
        self._silences: dict[str, Silence] = {}

    def __len__(self) -> int:
        return len(self._silences)

    def put(self, silence: Silence) -> None:
        self._silences[silence.silence_id] = silence

    def drop(self, silence_id: str) -> None:
        self._silences.pop(silence_id, None)

    def of(self, match: Match) -> list[Silence]:
        """The silences that a match falls under, each for its own subscribers or (none named) for everybody."""
        return [silence for silence in self._silences.values() if covers(silence, match)]


def covers(silence: Silence, match: Match) -> bool:
    """Whether a silence is of what a rule matched, at its market time. An empty list matches everything."""
    return silence.starts_ms <= match.ts_ms < silence.ends_ms and all(
        not wanted or given in wanted
        for wanted, given in (
            (silence.rules, match.rule.rule_id),
            (silence.exchanges, match.exchange),
            (silence.symbols, match.symbol),
            (silence.strategies, match.strategy),
            (silence.severities, match.rule.severity),
        )
    )


def over(silences: Sequence[Silence], subscriber_id: str | None) -> str:
    """The id of the first of the silences that is over a subscriber (None: over everybody); empty: of none."""
    for silence in silences:
        if not silence.subscribers or subscriber_id in silence.subscribers:
            return silence.silence_id
    return ""

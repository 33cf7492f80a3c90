"""Is a silent symbol quiet, or has its stream died? Thresholds come from each symbol's own pace. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 20.0
"""A silence this many times longer than the usual pause between trades deserves a look. Were trades independent, one
silence in e^20 would be this long; real ones come in bursts, so it is the look over REST that decides."""

SILENCE_S_MIN = 5.0
"""No silence shorter than this is looked into."""

LOOK_AGAIN_S_MAX = 3600.0

WEIGHT = 0.05
"""How much one pause counts in the average."""

EVERY_S = 0.1
"""Symbols are gone through at most this often."""


@dataclass(slots=True)
class _Pace:
    heard_s: float
    pause_s: float | None = None
    looks: int = 0


class Freshness:
    """The pace of every symbol of an exchange. `silence_s_max`: an unknown or slow symbol is looked at after this."""

    def __init__(self, silence_s_max: float) -> None:
        self._max_s = silence_s_max
        self._paces: dict[str, _Pace] = {}
        self._next_s = 0.0

    def begin(self, symbol: str, now_s: float) -> None:
        """From now on the symbol should be heard; what is known of its pace stays."""
        known = self._paces.get(symbol)
        self._paces[symbol] = _Pace(now_s, known.pause_s if known else None)

    def end(self, symbol: str) -> None:
        """Nobody waits for it any more."""
        self._paces.pop(symbol, None)

    def heard(self, symbol: str, trades: int, now_s: float) -> None:
        """Trades came."""
        pace = self._paces.get(symbol)
        if pace is None:
            return
        pause_s = (now_s - pace.heard_s) / trades
        pace.pause_s = pause_s if pace.pause_s is None else pace.pause_s + WEIGHT * (pause_s - pace.pause_s)
        pace.heard_s, pace.looks = now_s, 0

    def overdue(self, now_s: float) -> list[str]:
        """Symbols whose silence deserves a look now. Each is named once per threshold."""
        if now_s < self._next_s:
            return []
        self._next_s = now_s + EVERY_S
        found = [name for name, pace in self._paces.items() if now_s - pace.heard_s >= self._threshold_s(pace)]
        for name in found:
            self._paces[name].looks += 1
        return found

    def _threshold_s(self, pace: _Pace) -> float:
        """The silence after which a symbol is looked at; twice as long after every look that found nothing."""
        usual_s = self._max_s if pace.pause_s is None else min(self._max_s, PATIENCE * pace.pause_s)
        shortest_s = min(SILENCE_S_MIN, self._max_s)
        return min(max(shortest_s, usual_s) * 2.0 ** min(pace.looks, 20), max(self._max_s, LOOK_AGAIN_S_MAX))

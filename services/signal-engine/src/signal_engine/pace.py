"""How long rounds make a live market wait, and when that is too long.

A mark waits from the moment it is stored until its round begins, and the signals of its candles until the round ends.
The first moment is of the server's clock and the others of ours: clocks that differ show as waiting.
"""

from __future__ import annotations

import msgspec
import structlog

from tocsin_common.events import RoundsChanged

log = structlog.get_logger()

SLOW_ROUND_S = 2.0
"""Twice what a full house shall take: 2,000 symbols in 5 timeframes within a second of their close."""


class Pace:
    """Says when rounds become slow and when they are well again: waiting and round together longer than `limit_s`, and
    at most half as long. What is slow in between is one burst."""

    def __init__(self, limit_s: float) -> None:
        self._limit_ms = limit_s * 1000
        self._slow = 0
        self._worst: RoundsChanged | None = None

    def after(self, last: RoundsChanged) -> list[RoundsChanged]:
        """What is to be said after a round: nothing, mostly."""
        length_ms = _length_ms(last)
        if length_ms > self._limit_ms:
            return self._slowed(last)
        if self._worst is None or length_ms > self._limit_ms / 2:
            return []
        worst, rounds, self._worst, self._slow = self._worst, self._slow, None, 0
        log.info("rounds are fast again", slow_rounds=rounds, slowest_ms=_length_ms(worst))
        return [
            msgspec.structs.replace(
                worst, pace="recovered", at_ms=last.at_ms, candles_seq=last.candles_seq, rounds=rounds
            )
        ]

    def _slowed(self, last: RoundsChanged) -> list[RoundsChanged]:
        self._slow += 1
        if self._worst is None or _length_ms(last) > _length_ms(self._worst):
            self._worst = last
        if self._slow > 1:
            return []
        log.warning("slow round", **{name: getattr(last, name) for name in _TOLD})
        return [last]


_TOLD = ("waited_ms", "took_ms", "symbols", "candles", "longest", "longest_ms")


def _length_ms(last: RoundsChanged) -> int:
    return last.waited_ms + last.took_ms

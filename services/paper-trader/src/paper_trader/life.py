"""The life of one signal, from its confirmation to its outcome, and who follows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from paper_trader.tape import Segment, Tape
from tocsin_common.events import OutcomeMeasured, SignalRaised
from tocsin_trading.exits import Touch, first_touch
from tocsin_trading.instruments import parse_symbol
from tocsin_trading.outcomes import Excursion, Measure, is_coherent, measure
from tocsin_trading.prices import tick_of_clock


@dataclass(slots=True)
class Life:
    """A signal in the market; `place` names its instrument.

    `seen` holds the extremes of the slices before the current one. `waiting` and `holders` are the portfolios with
    an order on its way and with a position. `expired`: its outcome is out, its holders wait for a price to leave at.
    """

    signal: SignalRaised
    signal_id: str
    place: str
    seen: Excursion
    waiting: list[str] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    expired: bool = False

    @classmethod
    def of(cls, signal: SignalRaised) -> Life:
        place = place_of(signal.exchange, signal.symbol)
        return cls(signal, signal.signal_id, place, Excursion(signal.entry, signal.entry))

    def problem(self) -> str | None:
        """Why nobody can follow this signal and it has no outcome to wait for; None when it is sound."""
        signal = self.signal
        try:
            parse_symbol(signal.symbol)
        except ValueError:
            return "unknown_symbol"
        return None if is_coherent(signal.side, signal.entry, signal.stop, signal.targets) else "contradictory_levels"

    def invalidated(self, at_ms: int, tape: Tape) -> OutcomeMeasured:
        """The outcome of a signal with a problem."""
        nothing = Measure(r_multiple=0.0, mfe_r=0.0, mae_r=0.0, targets_hit=0)
        return self._event("invalidated", at_ms, self.signal.entry, nothing, tape)

    def touch(self, segment: Segment) -> Touch | None:
        """The first touch of stop or last target in the segment while the signal is alive."""
        signal = self.signal
        target = signal.targets[-1]
        if signal.side == "long":
            untouched = segment.lowest > signal.stop and segment.highest < target
        else:
            untouched = segment.highest < signal.stop and segment.lowest > target
        if untouched:
            return None
        return first_touch(segment.path, self._rows(segment), signal.side, signal.stop, target)

    def survive(self, segment: Segment) -> None:
        """The signal lived through the whole segment: remember its extremes."""
        if int(segment.path.since_ms[0]) >= self.signal.confirmed_ms:
            self.seen.low = min(self.seen.low, segment.lowest)
            self.seen.high = max(self.seen.high, segment.highest)
        else:
            self.seen.include(segment.path, self._rows(segment))

    def outcome(self, tape: Tape, touch: Touch | None) -> OutcomeMeasured:
        """The end of the signal: by a touch in the current segment, or by its expiry (None)."""
        signal, segment = self.signal, tape.segment
        if segment is not None:
            rows = self._rows(segment)
            self.seen.include(segment.path, slice(rows.start, touch.row) if touch else rows)
        if touch is None:
            price = tape.price_between(signal.confirmed_ms, signal.expires_ms)
            end = signal.entry if price is None else price
            result, ended_ms = "expired", signal.expires_ms
        else:
            assert segment is not None
            self.seen.include_end(segment.path, touch, signal.side)
            end, ended_ms = touch.price, segment.path.event_ms(touch.row)
            result = "stop" if touch.kind == "stop" else f"target_{len(signal.targets)}"
        measured = measure(signal.side, signal.entry, signal.stop, signal.targets, self.seen, end)
        return self._event(result, ended_ms, end, measured, tape)

    def _event(self, result: str, ended_ms: int, end: float, measured: Measure, tape: Tape) -> OutcomeMeasured:
        signal = self.signal
        return OutcomeMeasured(
            signal_id=self.signal_id,
            strategy=signal.strategy,
            exchange=signal.exchange,
            symbol=signal.symbol,
            timeframe=signal.timeframe,
            side=signal.side,
            result=result,
            confirmed_ms=signal.confirmed_ms,
            ended_ms=ended_ms,
            exit_price=end,
            r_multiple=measured.r_multiple,
            mfe_r=measured.mfe_r,
            mae_r=measured.mae_r,
            targets_hit=measured.targets_hit,
            basis=tape.basis,
        )

    def _rows(self, segment: Segment) -> slice:
        """The rows of a segment in which the signal is alive, unless something ends it."""
        start = segment.path.row_since(self.signal.confirmed_ms)
        return slice(start, max(start, segment.path.rows_before(tick_of_clock(self.signal.expires_ms))))


def place_of(exchange: str, symbol: str) -> str:
    """The name of an instrument inside this service; neither part contains a space."""
    return f"{exchange} {symbol}"

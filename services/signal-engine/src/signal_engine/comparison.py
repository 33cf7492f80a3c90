"""Two lists of signals side by side: what is in both, what is in one only, and what differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from signal_engine.evaluation import order
from tocsin_common.events import SignalRaised


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A signal on which the two lists do not agree; None: that list does not have it."""

    left: SignalRaised | None
    right: SignalRaised | None

    @property
    def signal(self) -> SignalRaised:
        """The signal that is there, to tell the candle by."""
        found = self.left or self.right
        assert found is not None, "a mismatch has at least one side"
        return found

    @property
    def difference(self) -> tuple[str, object, object]:
        """The first field that differs, with both values; `signal` and its side where the other list has none."""
        if self.left is None or self.right is None:
            return "signal", self.left and self.left.side, self.right and self.right.side
        left, right = (msgspec.structs.asdict(signal) for signal in (self.left, self.right))
        name = next(name for name in left if left[name] != right[name])
        return name, left[name], right[name]


def mismatches(left: Iterable[SignalRaised], right: Iterable[SignalRaised]) -> list[Mismatch]:
    """The signals on which two lists do not agree in every field, oldest first.

    Signals of one id (strategy, series, candle and side) are compared with each other.
    """
    of_left, of_right = ({signal.signal_id: signal for signal in signals} for signals in (left, right))
    pairs = (Mismatch(of_left.get(name), of_right.get(name)) for name in of_left.keys() | of_right.keys())
    return sorted((pair for pair in pairs if pair.left != pair.right), key=lambda pair: order(pair.signal))

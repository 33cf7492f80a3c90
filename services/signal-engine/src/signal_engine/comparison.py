"""Two lists of signals side by side: what is in both, what is in one only, and the first that differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from signal_engine.evaluation import order
from tocsin_common.events import SignalRaised

Place = tuple[str, str, str, str, str, str, int]
"""The candle of a series and the strategy that judged it."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A candle on which the two lists do not agree; None: that list has no signal there."""

    left: SignalRaised | None
    right: SignalRaised | None

    @property
    def signal(self) -> SignalRaised:
        """The signal that is there, to tell the candle by."""
        found = self.left or self.right
        assert found is not None, "a mismatch has at least one side"
        return found

    @property
    def place(self) -> Place:
        """Which candle it is, and whose signal."""
        return _place(self.signal)

    @property
    def difference(self) -> tuple[str, object, object]:
        """The first field that differs, with both values; `signal` and its side where the other list has none."""
        if self.left is None or self.right is None:
            return "signal", self.left and self.left.side, self.right and self.right.side
        left, right = (msgspec.structs.asdict(signal) for signal in (self.left, self.right))
        name = next(name for name in left if left[name] != right[name])
        return name, left[name], right[name]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts of candles: `same` in every field of the signal, `different` in at least one; and the first mismatch."""

    same: int = 0
    different: int = 0
    only_left: int = 0
    only_right: int = 0
    first: Mismatch | None = None

    @property
    def compared(self) -> int:
        return self.same + self.different + self.only_left + self.only_right


def compare(left: Iterable[SignalRaised], right: Iterable[SignalRaised]) -> Comparison:
    """Compare two lists candle by candle in every field of the signals: prices, confidence, reasons, features and so
    on. Equal fields are an equal id, which is derived from them."""
    of_left, of_right = _by_place(left), _by_place(right)
    found = _mismatches(of_left, of_right)
    return Comparison(
        same=len(of_left.keys() | of_right.keys()) - len(found),
        different=sum(one.left is not None and one.right is not None for one in found),
        only_left=sum(one.right is None for one in found),
        only_right=sum(one.left is None for one in found),
        first=found[0] if found else None,
    )


def mismatches(left: Iterable[SignalRaised], right: Iterable[SignalRaised]) -> list[Mismatch]:
    """The candles on which two lists do not agree, oldest first."""
    return _mismatches(_by_place(left), _by_place(right))


def _mismatches(left: Mapping[Place, SignalRaised], right: Mapping[Place, SignalRaised]) -> list[Mismatch]:
    pairs = (Mismatch(left.get(place), right.get(place)) for place in left.keys() | right.keys())
    return sorted((pair for pair in pairs if pair.left != pair.right), key=lambda pair: order(pair.signal))


def _by_place(signals: Iterable[SignalRaised]) -> dict[Place, SignalRaised]:
    return {_place(signal): signal for signal in signals}


def _place(signal: SignalRaised) -> Place:
    source = (signal.exchange, signal.symbol, signal.timeframe)
    return (*source, signal.strategy, signal.strategy_version, signal.params_hash, signal.candle_open_ms)

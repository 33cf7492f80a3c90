"""From messages on CANDLES to the candles the engine looks at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import structlog

from tocsin_common.bus.protocol import Received
from tocsin_common.errors import Malformed
from tocsin_common.events import CandlesClosed, DeadLetter

log = structlog.get_logger()

SERVICE = "signal-engine"

DEAD_LETTER_ERROR_CHARS = 2_000


class Intake:
    """Decodes the candles of some timeframes and partitions. What is not valid becomes one of `letters`, and `symbols`
    are the instruments (exchange, symbol) that were there, until somebody clears them."""

    def __init__(self, timeframes: Collection[str]) -> None:
        self.letters: list[DeadLetter] = []
        self.symbols: set[tuple[str, str]] = set()
        self._timeframes = timeframes
        self._after: dict[str, int] = {}

    def read(self, after: Mapping[int, int]) -> None:
        """Which partitions are wanted, and of each the sequence after which its candles are."""
        self._after = {str(partition): seq for partition, seq in after.items()}

    def candles(self, messages: Iterable[Received]) -> Iterator[CandlesClosed]:
        """The candles of these messages, in their order."""
        for message in messages:
            if not self._is_wanted(message):
                continue
            try:
                event = message.event()
                if not isinstance(event, CandlesClosed):
                    raise Malformed(f"{type(event).__name__} on {message.subject}, expected candles")
            except Malformed as error:
                self.letters.append(_dead_letter(message, error))
                log.error("dead letter", subject=message.subject, seq=message.seq, error=str(error))
            else:
                self.symbols.add((event.exchange, event.symbol))
                yield event

    def clear(self) -> None:
        """Forget what there was."""
        self.letters.clear()
        self.symbols.clear()

    def _is_wanted(self, message: Received) -> bool:
        _, _, partition, *_, timeframe = message.subject.split(".")
        after = self._after.get(partition)
        return after is not None and message.seq > after and timeframe in self._timeframes


def _dead_letter(message: Received, error: Malformed) -> DeadLetter:
    return DeadLetter(
        service=SERVICE,
        stream=message.stream,
        seq=message.seq,
        original_subject=message.subject,
        reason="malformed",
        error=str(error)[:DEAD_LETTER_ERROR_CHARS],
        payload=message.data,
    )

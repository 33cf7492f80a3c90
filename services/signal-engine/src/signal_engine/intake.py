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
    """Decodes the candles of some timeframes and partitions, and those of other partitions in the timeframes `watched`.

    What is not valid of the former becomes one of `letters`, and `symbols` are the instruments (exchange, symbol) of
    them that were there, until somebody clears them.
    """

    def __init__(self, timeframes: Collection[str], partitions: Iterable[int], watched: Collection[str] = ()) -> None:
        self.letters: list[DeadLetter] = []
        self.symbols: set[tuple[str, str]] = set()
        self._timeframes, self._watched = timeframes, watched
        self._ours = frozenset(map(str, partitions))
        self._after: dict[str, int] = {}

    def read(self, after: Mapping[int, int]) -> None:
        """Of each partition that is wanted the sequence after which its candles are."""
        self._after = {str(partition): seq for partition, seq in after.items()}

    def candles(self, messages: Iterable[Received]) -> Iterator[tuple[CandlesClosed, bool]]:
        """The candles of these messages, in their order, and whether they are ours."""
        for message in messages:
            _, _, partition, *_, timeframe = message.subject.split(".")
            ours, after = partition in self._ours, self._after.get(partition)
            if after is None or message.seq <= after or timeframe not in (self._timeframes if ours else self._watched):
                continue
            try:
                event = message.event()
                if not isinstance(event, CandlesClosed):
                    raise Malformed(f"{type(event).__name__} on {message.subject}, expected candles")
            except Malformed as error:
                if not ours:
                    continue  # its owner writes the letter
                self.letters.append(_dead_letter(message, error))
                log.error("dead letter", subject=message.subject, seq=message.seq, error=str(error))
            else:
                if ours:
                    self.symbols.add((event.exchange, event.symbol))
                yield event, ours

    def clear(self) -> None:
        """Forget what there was."""
        self.letters.clear()
        self.symbols.clear()


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

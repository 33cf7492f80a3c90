"""Candles and signals as the streams hold them, up to the last mark of the signal-engine."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Collection, Mapping

from signal_engine.excuses import Live
from signal_engine.recording import Recording
from tocsin.audit.facts import messages
from tocsin.console import UsageError
from tocsin.recorded import bar
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Malformed
from tocsin_common.events import CandlesClosed, ClockAdvanced, SignalRaised, StrategyQuarantined
from tocsin_common.streams import CANDLES, CLOCK, ENGINE, SIGNALS, Stream
from tocsin_common.subjects import clock


async def live_of(
    bus: Bus, timeframes: Collection[str], from_ms: Mapping[str, int], *, with_marks: bool = False
) -> Live:
    """What the engine has handled: candles of these timeframes, kept from an open time on, and every signal.

    `with_marks`: candles that came behind the mark that should have covered them are known, too, as far as CLOCK still
    has the marks. Raises UsageError when the engine has handled nothing.
    """
    newest = await bus.last(CLOCK, clock("signals"))
    mark = newest.event() if newest else None
    if not isinstance(mark, ClockAdvanced):
        raise UsageError("The signal-engine has not handled a single candle here; there is nothing to compare.")
    recording, passed = Recording(from_ms), await _Passed.of(bus) if with_marks else _Passed()
    async for message in _read(bus, CANDLES, mark.candles_seq):
        if message.subject.rpartition(".")[2] in timeframes:
            try:
                event = message.event()
            except Malformed:
                continue  # the engine wrote a dead letter of it
            if isinstance(event, CandlesClosed):
                recording.add(event, passed.before(message.seq))
    signals = [message.event() async for message in _read(bus, SIGNALS, mark.signals_seq)]
    told = [message.event() async for message in _read(bus, ENGINE, (await bus.stream_state(ENGINE)).last_seq)]
    return Live(
        recording,
        signals=[event for event in signals if isinstance(event, SignalRaised)],
        quarantines=[event for event in told if isinstance(event, StrategyQuarantined)],
        settled_ms=mark.time_ms,
        trimmed=(await bus.stream_state(CANDLES)).first_seq > 1,
    )


class _Passed:
    """How far the market's clock had come at any message of CANDLES, by the marks there are."""

    def __init__(self) -> None:
        self._seqs: list[int] = []
        self._times_ms: list[int] = []

    @classmethod
    async def of(cls, bus: Bus) -> _Passed:
        passed = cls()
        async for message in _read(bus, CLOCK, (await bus.stream_state(CLOCK)).last_seq):
            mark = message.event() if message.subject == clock("market") else None
            if isinstance(mark, ClockAdvanced):
                passed._seqs.append(mark.candles_seq)
                passed._times_ms.append(mark.time_ms)
        return passed

    def before(self, seq: int) -> int:
        """The time of the last mark that does not cover a message of CANDLES, ms; 0 where none is known."""
        at = bisect_left(self._seqs, seq)
        return self._times_ms[at - 1] if at else 0


async def _read(bus: Bus, stream: Stream, last_seq: int) -> AsyncIterator[Received]:
    """A stream's messages through a sequence, with a bar."""
    with bar() as bars:
        task = bars.add_task(f"reading {stream.name}", total=last_seq)
        async for message in messages(bus, stream, last_seq):
            yield message
            bars.update(task, completed=message.seq)

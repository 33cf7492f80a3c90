"""Candles and signals as the streams hold them, up to the last mark of the signal-engine."""

from __future__ import annotations

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


async def live_of(bus: Bus, timeframes: Collection[str], from_ms: Mapping[str, int]) -> Live:
    """What the engine has handled: candles of these timeframes, kept from an open time on, and every signal.

    Raises UsageError when it has handled nothing.
    """
    newest = await bus.last(CLOCK, clock("signals"))
    mark = newest.event() if newest else None
    if not isinstance(mark, ClockAdvanced):
        raise UsageError("The signal-engine has not handled a single candle here; there is nothing to compare.")
    recording = Recording(from_ms)
    async for message in _read(bus, CANDLES, mark.candles_seq):
        if message.subject.rpartition(".")[2] in timeframes:
            try:
                event = message.event()
            except Malformed:
                continue  # the engine wrote a dead letter of it
            if isinstance(event, CandlesClosed):
                recording.add(event)
    signals = [message.event() async for message in _read(bus, SIGNALS, mark.signals_seq)]
    told = [message.event() async for message in _read(bus, ENGINE, (await bus.stream_state(ENGINE)).last_seq)]
    return Live(
        recording,
        signals=[event for event in signals if isinstance(event, SignalRaised)],
        quarantines=[event for event in told if isinstance(event, StrategyQuarantined)],
        settled_ms=mark.time_ms,
        trimmed=(await bus.stream_state(CANDLES)).first_seq > 1,
    )


async def _read(bus: Bus, stream: Stream, last_seq: int) -> AsyncIterator[Received]:
    """A stream's messages through a sequence, with a bar."""
    with bar() as bars:
        task = bars.add_task(f"reading {stream.name}", total=last_seq)
        async for message in messages(bus, stream, last_seq):
            yield message
            bars.update(task, completed=message.seq)

"""What an audit looks at: every stream, read once and kept in columns and dictionaries.

A running system moves while it is read. The position of every stream is taken from the end of the flow to its
start, so that whatever effect is seen, its cause is seen too; and completeness ("has an outcome") is only asked up
to the mark that the paper trader had settled before the reading began.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tocsin.audit.candles import CandleColumns
from tocsin.audit.trades import TradeColumns
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Malformed
from tocsin_common.events import (
    TERMINAL_STATES,
    AlertRaised,
    AlertSuppressed,
    AnyEvent,
    CandlesClosed,
    ClockAdvanced,
    DeadLetter,
    DeliveryChanged,
    DigestEnded,
    DigestLine,
    EquityMarked,
    OrderFilled,
    OutcomeMeasured,
    PortfolioOpened,
    SendDue,
    SignalRaised,
    SignalSkipped,
    TradesReceived,
)
from tocsin_common.streams import (
    ALERTING_SIGNALS,
    ALERTS,
    CANDLES,
    CLOCK,
    DEAD,
    DELIVERIES,
    DIGESTS,
    FEEDS,
    OUTCOMES,
    PAPER,
    PAPER_TRADER,
    SEND,
    SIGNALS,
    TRADES,
    Stream,
)

READ_CHUNK = 20_000
"""Messages held at a time while a stream is read."""

END_TO_START = (DEAD, DELIVERIES, DIGESTS, ALERTS, PAPER, OUTCOMES, SIGNALS, FEEDS, CLOCK, CANDLES, TRADES)

LOGGED = frozenset(stream.name for stream in (SIGNALS, OUTCOMES, PAPER, ALERTS, DELIVERIES))

PaperEvent = PortfolioOpened | OrderFilled | SignalSkipped | EquityMarked
Progress = Callable[[str], None]


@dataclass
class StreamFacts:
    """A stream as a whole. `trimmed`: retention has removed its beginning, so counts no longer add up."""

    messages: int = 0
    last_seq: int = 0
    trimmed: bool = False
    ids: set[str] = field(default_factory=set)
    repeated_ids: list[str] = field(default_factory=list)
    malformed: dict[int, str] = field(default_factory=dict)


@dataclass
class Facts:
    """Everything the streams say. Lists keep stream order; `log` has (sequence, event) of the decision streams.

    As of when the reading began: `settled` is the last mark that the paper trader had settled, `alerted_seq` the last
    sequence of SIGNALS that alerting had.
    """

    streams: dict[str, StreamFacts] = field(default_factory=lambda: defaultdict(StreamFacts))
    marks: dict[tuple[str, str], ClockAdvanced] = field(default_factory=dict)
    settled: ClockAdvanced | None = None
    alerted_seq: int = 0
    trades: TradeColumns = field(default_factory=TradeColumns)
    candles: CandleColumns = field(default_factory=CandleColumns)
    log: dict[str, list[tuple[int, AnyEvent]]] = field(default_factory=lambda: defaultdict(list))
    signals: dict[str, SignalRaised] = field(default_factory=dict)
    signal_seq: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, list[OutcomeMeasured]] = field(default_factory=lambda: defaultdict(list))
    paper: dict[str, list[PaperEvent]] = field(default_factory=lambda: defaultdict(list))
    alerts: dict[str, AlertRaised] = field(default_factory=dict)
    suppressed: list[AlertSuppressed] = field(default_factory=list)
    deliveries: dict[str, list[DeliveryChanged]] = field(default_factory=lambda: defaultdict(list))
    due: set[str] = field(default_factory=set)
    lines: dict[str, list[tuple[int, DigestLine]]] = field(default_factory=lambda: defaultdict(list))
    digests: dict[str, DigestEnded] = field(default_factory=dict)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)
    buried: set[tuple[str, int]] = field(default_factory=set)

    def last_mark(self, stage: str) -> ClockAdvanced | None:
        """The newest mark of a stage, whatever its source."""
        of_stage = [mark for (found, _), mark in self.marks.items() if found == stage]
        return max(of_stage, key=lambda mark: (mark.candles_seq, mark.trades_seq, mark.time_ms), default=None)

    def total(self, name: str) -> int:
        """A running count of the market marks, summed over the sources that ever ran."""
        return sum(mark.totals.get(name, 0) for (stage, _), mark in self.marks.items() if stage == "market")

    def take(self, event: AnyEvent, message: Received) -> None:
        """File one event."""
        if message.stream in LOGGED:
            self.log[message.stream].append((message.seq, event))
        match event:
            case TradesReceived():
                self.trades.add(event, message.seq)
            case CandlesClosed():
                self.candles.add(event, message.seq)
            case ClockAdvanced():
                self.marks[event.stage, event.source] = event
            case SignalRaised():
                self.signals[event.signal_id] = event
                self.signal_seq[event.signal_id] = message.seq
            case OutcomeMeasured():
                self.outcomes[event.signal_id].append(event)
            case PortfolioOpened() | OrderFilled() | SignalSkipped() | EquityMarked():
                self.paper[event.portfolio].append(event)
            case _:
                self._take_alerting(event, message)

    def _take_alerting(self, event: AnyEvent, message: Received) -> None:
        match event:
            case AlertRaised():
                self.alerts[event.alert_id] = event
            case AlertSuppressed():
                self.suppressed.append(event)
            case DeliveryChanged():
                self.deliveries[event.delivery_id].append(event)
            case DigestLine():
                self.lines[event.delivery_id].append((message.seq, event))
            case DigestEnded():
                self.digests[event.delivery_id] = event
            case SendDue():
                self.due.add(event.delivery_id)
            case DeadLetter():
                self.dead[event.service, event.reason] += 1
                self.buried.add((event.stream, event.seq))
            case _:
                return  # FEEDS is only counted


async def collect(bus: Bus, progress: Progress = lambda _: None) -> Facts:
    """Read all streams of the bus."""
    facts = Facts()
    floor = (await bus.durable_state(PAPER_TRADER)).ack_floor_seq
    facts.alerted_seq = (await bus.durable_state(ALERTING_SIGNALS)).ack_floor_seq
    positions = {stream.name: await bus.stream_state(stream) for stream in END_TO_START}
    for stream in (CLOCK, PAPER, TRADES, CANDLES, SIGNALS, OUTCOMES, ALERTS, DELIVERIES, DIGESTS, DEAD, FEEDS):
        progress(stream.name)
        state = positions[stream.name]
        facts.streams[stream.name] = StreamFacts(last_seq=state.last_seq, trimmed=state.first_seq > 1)
        if stream is TRADES:
            facts.trades.wanted = _basis_of_fills(facts)
        async for message in messages(bus, stream, state.last_seq):
            _note(facts, stream, message, floor)
    progress(SEND.name)
    async for message in messages(bus, SEND, (await bus.stream_state(SEND)).last_seq):
        _note(facts, SEND, message, floor)
    await _look_again(bus, facts)
    facts.candles.seal()
    return facts


async def messages(bus: Bus, stream: Stream, last_seq: int) -> AsyncIterator[Received]:
    """A stream's messages through a sequence, in bounded chunks."""
    reader = bus.reader(stream, after=0)
    first = (await bus.stream_state(stream)).first_seq
    try:
        for end in range(max(0, first - 1) + READ_CHUNK, last_seq + READ_CHUNK, READ_CHUNK):
            for message in await reader.through(min(end, last_seq)):
                yield message
    finally:
        await reader.close()


def _note(facts: Facts, stream: Stream, message: Received, floor: int) -> None:
    of_stream = facts.streams[stream.name]
    of_stream.messages += 1
    if message.message_id in of_stream.ids:
        of_stream.repeated_ids.append(f"{stream.name} {message.seq}: {message.message_id}")
    of_stream.ids.add(message.message_id)
    try:
        event = message.event()
    except Malformed as error:
        of_stream.malformed[message.seq] = str(error)
        return
    if isinstance(event, ClockAdvanced) and event.stage == "signals" and message.seq <= floor:
        facts.settled = event
    facts.take(event, message)


def _basis_of_fills(facts: Facts) -> dict[tuple[str, str], set[str]]:
    """The trades that fills refer to, by instrument: what must be looked up among all trades."""
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for events in facts.paper.values():
        for event in events:
            if isinstance(event, OrderFilled) and event.basis == "trade":
                wanted[event.exchange, event.symbol].add(event.basis_ref)
    return wanted


async def _look_again(bus: Bus, facts: Facts) -> None:
    """A delivery may have ended, and left SEND, after DELIVERIES was read: ask for its newest state."""
    for delivery_id, steps in facts.deliveries.items():
        if steps[-1].state in TERMINAL_STATES or delivery_id in facts.due or delivery_id in facts.lines:
            continue
        newest = await bus.last(DELIVERIES, steps[-1].subject)
        event: Any = newest.event() if newest else None
        if isinstance(event, DeliveryChanged) and event.event_id != steps[-1].event_id:
            facts.due.add(delivery_id)

"""From mark to mark over a bus: nothing lost, nothing twice, whatever the batching and wherever the process dies."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec
import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from signal_engine.engine import Engine
from signal_engine.history import signals_of
from signal_engine.metrics import Metrics
from signal_engine.rounds import Rounds
from signal_engine.strategies import BY_DEFAULT, build
from signal_engine.window import BLOCK_CANDLES
from tocsin_common.bus.consume import Incoming
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.bus.protocol import Received, Stored
from tocsin_common.errors import Rejected, Unreachable
from tocsin_common.events import CandlesClosed, ClockAdvanced, DeadLetter, Event, SignalRaised, encode
from tocsin_common.streams import CANDLES, CLOCK, DEAD, SIGNALS, Stream
from tocsin_common.subjects import clock

Chunk = Callable[..., CandlesClosed]
Chop = Callable[[pl.DataFrame, random.Random], Iterator[CandlesClosed]]

LONG_AFTER_MS = 2_000_000_000_000
"""A wall clock years after the candles: nothing in these tests is live unless it says so."""


COUNTED = "tocsin_signals_total"


class Killed(BaseException):
    """The process dies here."""


class MortalBus(MemoryBus):
    """Dies after a number of stored events: in the middle of a batch, before or after the receipt."""

    def __init__(self) -> None:
        super().__init__()
        self.lives_for: int | None = None
        self.fails_with: type[BaseException] = Killed

    async def publish(self, events: Sequence[Event]) -> list[Stored]:
        stored = []
        for event in events:
            if self.lives_for == 0:
                self.lives_for = None
                raise self.fails_with
            stored += await super().publish([event])
            if self.lives_for is not None:
                self.lives_for -= 1
        return stored

    def forget_ids(self) -> None:
        """The duplicate window is over."""
        for log in self._logs.values():
            log.ids.clear()


class Service:
    """One life of the process: the consume loop without its waiting."""

    def __init__(self, bus: MemoryBus, rng: random.Random, *, mortal: bool = True, now_ms: int = LONG_AFTER_MS) -> None:
        self.bus, self.rng, self.mortal = bus, rng, mortal
        self.engine = Engine([build(name) for name in BY_DEFAULT], ["1m"])
        self.registry = CollectorRegistry()
        self.rounds = Rounds(bus, self.engine, Metrics(self.registry), now_ms=lambda: now_ms, snapshot_messages=15)
        self.follower = bus.follow(CLOCK, clock("market"), after=0)

    async def run(self) -> None:
        """Start, handle every mark there is, in batches of random size."""
        await self.rounds.resume()
        await self.follower.reset(self.rounds.position.seq)
        while messages := await self.follower.fetch(self.rng.choice((1, 2, 5, 20)), 0):
            await self.bus.publish(await self.rounds.handle([Incoming(m.event(), m) for m in messages]))
            if self.mortal and self.rng.random() < 0.1:
                raise Killed
            await self.follower.ack(messages)


async def stored(bus: MemoryBus, stream: Stream) -> list[Received]:
    return await bus.reader(stream, after=0).through((await bus.stream_state(stream)).last_seq)


async def publish_market(bus: MemoryBus, messages: Sequence[CandlesClosed], rng: random.Random) -> None:
    """What market-ingest does: some candles, then a mark for them; the last mark ends the source."""
    waiting = list(messages)
    while waiting:
        count = rng.choice((1, 5, 40))
        receipts = await bus.publish(waiting[:count])
        newest, waiting = waiting[:count][-1].open_ms[-1] + 60_000, waiting[count:]
        mark = ClockAdvanced(
            stage="market",
            source="replay",
            time_ms=newest,
            trades_seq=0,
            candles_seq=receipts[-1].seq,
            cursor=receipts[-1].seq,
            ended=not waiting,
            totals={"read": receipts[-1].seq},
        )
        await bus.publish([mark])


@pytest.fixture(scope="module")
def expected(minutes: pl.DataFrame) -> list[bytes]:
    return [encode(signal) for signal in signals_of([build(name) for name in BY_DEFAULT], minutes)]


async def raised(bus: MemoryBus) -> list[bytes]:
    return [message.data for message in await stored(bus, SIGNALS)]


async def signal_marks(bus: MemoryBus) -> list[ClockAdvanced]:
    events = [message.event() for message in await stored(bus, CLOCK)]
    return [event for event in events if isinstance(event, ClockAdvanced) and event.stage == "signals"]


async def test_the_signals_and_their_order_do_not_depend_on_how_marks_were_batched(
    minutes: pl.DataFrame, chop: Chop, expected: list[bytes]
) -> None:
    streams = []
    for seed in range(3):
        bus = MemoryBus()
        await publish_market(bus, list(chop(minutes, random.Random(0))), random.Random(0))
        await Service(bus, random.Random(seed), mortal=False).run()
        streams.append(await raised(bus))
    assert streams[0] == streams[1] == streams[2]
    assert sorted(streams[0]) == sorted(expected)


async def test_a_mark_passes_on_with_the_last_sequence_of_the_signals(
    minutes: pl.DataFrame, candles_event: Chunk
) -> None:
    bus, rows = MemoryBus(), minutes.filter(pl.col("symbol") == "ADA/USDT")
    service = Service(bus, random.Random(0))
    await service.rounds.resume()
    market = []
    for start, ended in ((0, False), (2_000, False), (4_000, False), (4_999, True)):
        (receipt,) = await bus.publish([candles_event(rows.slice(start, 2_000 if start < 4_000 else 999))])
        mark = ClockAdvanced(
            stage="market",
            source="replay",
            time_ms=1_700_000_000_000 + start,
            trades_seq=17,
            candles_seq=receipt.seq,
            cursor=4,
            trades_from_seq=3,
            candles_from_seq=2,
            ended=ended,
            totals={"read": 9, "late": 1},
        )
        received = Received("CLOCK", "clock.market", start + 1, 0, "", b"")
        (passed,) = await service.rounds.handle([Incoming(mark, received)])
        assert isinstance(passed, ClockAdvanced)
        market.append((mark, passed))
        assert passed.signals_seq == (await bus.stream_state(SIGNALS)).last_seq
    for mark, passed in market:
        for field in set(mark.__struct_fields__) - {"stage", "signals_seq"}:
            assert getattr(passed, field) == getattr(mark, field)
    assert market[0][1].signals_seq > 0


@pytest.mark.parametrize("seed", range(2))
async def test_killed_anywhere_no_signal_is_lost_and_none_is_there_twice(
    minutes: pl.DataFrame, chop: Chop, expected: list[bytes], seed: int
) -> None:
    rng, bus = random.Random(seed), MortalBus()
    await publish_market(bus, list(chop(minutes, rng)), rng)
    deaths = 0
    while True:
        bus.lives_for = rng.choice((0, 1, 3, 30, 200))
        try:
            await Service(bus, rng).run()
            break
        except Killed:
            deaths += 1
            bus.forget_ids()
    assert deaths > 3
    assert sorted(await raised(bus)) == sorted(expected)
    marks = await signal_marks(bus)
    assert [mark.candles_seq for mark in marks] == sorted(mark.candles_seq for mark in marks)
    assert [mark.signals_seq for mark in marks] == sorted(mark.signals_seq for mark in marks)
    assert marks[-1].ended
    assert marks[-1].signals_seq == len(expected)


async def test_every_mark_covers_exactly_the_signals_of_the_candles_before_it(
    minutes: pl.DataFrame, chop: Chop
) -> None:
    rng, bus = random.Random(4), MortalBus()
    await publish_market(bus, list(chop(minutes, rng)), rng)
    await Service(bus, rng, mortal=False).run()
    signals = [(m.seq, event) for m in await stored(bus, SIGNALS) if isinstance(event := m.event(), SignalRaised)]
    for mark in await signal_marks(bus):
        closed = Engine([build(name) for name in BY_DEFAULT], ["1m"])
        candles = await bus.reader(CANDLES, after=0).through(mark.candles_seq)
        closed.add(event for m in candles if isinstance(event := m.event(), CandlesClosed))
        covered = {event.signal_id for seq, event in signals if seq <= mark.signals_seq}
        assert covered == {signal.signal_id for signal in closed.evaluate()}


async def test_a_round_that_could_not_publish_is_finished_by_the_next_try(
    minutes: pl.DataFrame, chop: Chop, expected: list[bytes]
) -> None:
    rng, bus = random.Random(2), MortalBus()
    await publish_market(bus, list(chop(minutes, rng)), rng)
    service = Service(bus, rng)
    await service.rounds.resume()
    messages = await service.follower.fetch(10_000, 0)
    batch = [Incoming(message.event(), message) for message in messages]
    bus.fails_with = Unreachable
    for lives in (0, 3, 10):
        bus.lives_for = lives
        with pytest.raises(Unreachable):
            await service.rounds.handle(batch)
        bus.forget_ids()
    (mark,) = await service.rounds.handle(batch)
    assert isinstance(mark, ClockAdvanced)
    assert sorted(await raised(bus)) == sorted(expected)
    assert mark.signals_seq == len(expected)


async def test_what_one_mark_found_goes_out_while_the_next_is_evaluated(
    minutes: pl.DataFrame, chop: Chop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, published_before = MemoryBus(), list[int]()
    await publish_market(bus, list(chop(minutes, random.Random(1))), random.Random(1))
    service = Service(bus, random.Random(1), mortal=False)
    await service.rounds.resume()
    evaluate = service.engine.evaluate

    def evaluated(time_ms: int | None = None) -> list[SignalRaised]:
        published_before.append(bus._logs[SIGNALS.name].last_seq if SIGNALS.name in bus._logs else 0)
        return evaluate(time_ms)

    monkeypatch.setattr(service.engine, "evaluate", evaluated)
    marks = [Incoming(message.event(), message) for message in await service.follower.fetch(10_000, 0)]
    last = marks[-1].event
    assert isinstance(last, ClockAdvanced)
    later = [{"time_ms": last.time_ms + n, "candles_seq": last.candles_seq + n} for n in (1, 2)]
    empty = [Incoming(msgspec.structs.replace(last, **changes), marks[-1].message) for changes in later]
    await service.rounds.handle([*marks, *empty])
    assert len(set(published_before)) > len(marks) // 4
    counted = [one.value for family in service.registry.collect() for one in family.samples if one.name == COUNTED]
    assert sum(counted) == len(await raised(bus))


async def test_marks_that_come_again_repeat_the_last_mark_and_nothing_else(minutes: pl.DataFrame, chop: Chop) -> None:
    rng, bus = random.Random(2), MortalBus()
    await publish_market(bus, list(chop(minutes.head(2_000), rng)), rng)
    service = Service(bus, rng)
    await service.rounds.resume()
    batch = [Incoming(m.event(), m) for m in await service.follower.fetch(10_000, 0)]
    (last,) = await service.rounds.handle(batch)
    before = await raised(bus)
    assert await service.rounds.handle(batch[:3]) == [last]
    assert await raised(bus) == before


async def test_a_mark_without_new_candles_still_moves_time(minutes: pl.DataFrame) -> None:
    bus = MemoryBus()
    service = Service(bus, random.Random(0))
    await service.rounds.resume()
    times = []
    for second in (1, 2, 3):
        mark = ClockAdvanced(stage="market", source="live", time_ms=second, trades_seq=0, candles_seq=0)
        received = Received("CLOCK", "clock.market", second, 0, "", b"")
        times += [
            m.time_ms for m in await service.rounds.handle([Incoming(mark, received)]) if isinstance(m, ClockAdvanced)
        ]
    assert times == [1, 2, 3]


async def test_what_retention_removed_does_not_change_later_signals(
    minutes: pl.DataFrame, candles_event: Chunk, expected: list[bytes]
) -> None:
    bus, rows = MemoryBus(), 25
    messages = [
        candles_event(market.slice(start, rows))
        for start in range(0, 5_000, rows)
        for market in minutes.partition_by("symbol")
    ]
    half = len(messages) // 2
    await publish_market(bus, messages[:half], random.Random(1))
    await Service(bus, random.Random(1), mortal=False).run()
    reach = Service(bus, random.Random(1)).engine.evaluation.warm_up_candles + BLOCK_CANDLES
    windows = 3 * -(-reach // rows)
    bus.purge(CANDLES, before=half - windows)
    await publish_market(bus, messages[half:], random.Random(1))
    await Service(bus, random.Random(2), mortal=False).run()
    assert sorted(await raised(bus)) == sorted(expected)


@pytest.mark.parametrize(
    "data", [b'{"type":"what"}', b'{"type":"candles.v1","x":' + b"[" * 9_999 + b"]" * 9_999 + b"}"]
)
async def test_a_candle_message_that_is_no_event_becomes_a_dead_letter_and_harms_no_neighbour(
    minutes: pl.DataFrame, chop: Chop, expected: list[bytes], data: bytes
) -> None:
    rng, bus = random.Random(5), MortalBus()
    await publish_market(bus, list(chop(minutes, rng)), rng)
    log = bus._log(CANDLES)
    garbage = Received("CANDLES", "market.candles.1.x.Y-Z.1m", log.last_seq + 1, 0, "garbage", data)
    log.messages[garbage.seq], log.last_seq = garbage, garbage.seq
    mark = ClockAdvanced(
        stage="market", source="replay", time_ms=LONG_AFTER_MS, trades_seq=0, candles_seq=garbage.seq, ended=True
    )
    await bus.publish([mark])
    service = Service(bus, random.Random(1), mortal=False)
    await service.run()
    (letter,) = [message.event() for message in await stored(bus, DEAD)]
    assert isinstance(letter, DeadLetter)
    assert (letter.stream, letter.seq, letter.payload) == ("CANDLES", garbage.seq, data)
    assert sorted(await raised(bus)) == sorted(expected)
    assert (await signal_marks(bus))[-1].candles_seq == garbage.seq


async def test_anything_but_a_mark_is_refused() -> None:
    service = Service(MemoryBus(), random.Random(0))
    await service.rounds.resume()
    letter = DeadLetter(
        service="x", stream="CLOCK", seq=1, original_subject="clock.market", reason="x", error="", payload=b""
    )
    with pytest.raises(Rejected, match="unexpected_event"):
        await service.rounds.handle([Incoming(letter, Received("CLOCK", "clock.market", 1, 0, "", b""))])


async def test_metrics_count_signals_candles_and_the_latency_of_live_markets_only(
    minutes: pl.DataFrame, candles_event: Chunk
) -> None:
    rows = minutes.filter(pl.col("symbol") == "ADA/USDT")
    newest = rows["open_ms"][-1] + 60_000
    for now_ms, live in ((newest + 200, True), (LONG_AFTER_MS, False)):
        bus = MemoryBus()
        service = Service(bus, random.Random(0), now_ms=now_ms)
        await service.rounds.resume()
        (receipt,) = await bus.publish([candles_event(rows)])
        mark = ClockAdvanced(stage="market", source="live", time_ms=newest, trades_seq=0, candles_seq=receipt.seq)
        await service.rounds.handle([Incoming(mark, Received("CLOCK", "clock.market", 1, 0, "", b""))])
        counts: Counter[str] = Counter()
        for family in service.registry.collect():
            for sample in family.samples:
                counts[sample.name] += int(sample.value)
        signals = (await bus.stream_state(SIGNALS)).last_seq
        assert counts["tocsin_signals_total"] == signals > 0
        assert counts["tocsin_signal_candles_total"] == 5_000
        assert counts["tocsin_signal_round_seconds_count"] == 1
        assert counts["tocsin_close_to_signal_seconds_count"] == (signals if live else 0)


async def test_a_mark_that_waits_comes_before_what_only_saves_time(
    minutes: pl.DataFrame, candles_event: Chunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal_engine.ahead.CARRIED_AT_ONCE", 1)
    bus = MemoryBus()
    service = Service(bus, random.Random(0), mortal=False)
    await service.rounds.resume()
    for start in (0, 600):
        symbols = minutes.group_by("symbol", maintain_order=True).agg(pl.all().slice(start, 600))
        rows = symbols.explode(pl.exclude("symbol")).partition_by("symbol", maintain_order=True)
        await publish_market(bus, [candles_event(each) for each in rows], random.Random(1))
    *before, last = [Incoming(message.event(), message) for message in await stored(bus, CLOCK)]
    await service.rounds.handle(before)
    await service.rounds.handle([last])
    assert service.engine.carry(0)
    async with asyncio.timeout(10):
        while service.engine.carry(0):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0)
    await service.rounds.close()

"""The edge of reconciling: reads CANDLES, asks the exchanges, publishes corrections.

Every instrument and timeframe has its own time to be looked at, once every `every_s`, so that requests are spread and
each brings many candles. One request at a time per exchange, and no exchange waits for another. Where it stands is
kept in the bucket `snapshots`; without that it begins with the candles that close from now on. A candle compared twice
(after a crash) is equal the second time, because its correction is on the stream.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Collection, Mapping

import msgspec
import structlog

from market_ingest.columns import NO_CANDLES, Instrument, join
from market_ingest.history.paging import FetchCandles, Key, pages
from market_ingest.reconcile.book import Book
from market_ingest.reconcile.compare import Ours, Verdict, compare
from market_ingest.reconcile.metrics import ReconcileMetrics
from tocsin_common.bus.consume import pause
from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.errors import Malformed, Rejected, Retryable, Unreachable
from tocsin_common.events import CandlesClosed
from tocsin_common.streams import CANDLES, SNAPSHOTS

log = structlog.get_logger()

SNAPSHOT_KEY = "market-ingest-reconcile"

AGE_MS = 30_000
"""How long after its end a candle is compared at the earliest: exchanges may still change theirs for some seconds."""

LOOK_S = 5.0
"""How often the stream is looked at; also how soon a stop is noticed at the latest."""

SAVE_S = 60.0

READ_AT_A_TIME = 5_000

Waiting = Mapping[int, Ours | None]


class _Snapshot(msgspec.Struct):
    """`stream` is the identity of CANDLES; `newest` holds (exchange, symbol, timeframe, open_ms)."""

    stream: str
    seq: int
    newest: list[tuple[str, str, str, int]]


class Reconciler:
    """`run` it beside a live source. `instruments` gives those that are ours at the moment."""

    def __init__(
        self,
        bus: Bus,
        fetch: FetchCandles,
        instruments: Callable[[], Collection[Instrument]],
        metrics: ReconcileMetrics,
        *,
        every_s: float,
        look_s: float = LOOK_S,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._bus = bus
        self._fetch = fetch
        self._instruments = instruments
        self._metrics = metrics
        self._every_ms = max(1, int(every_s * 1000))
        self._look_s = look_s
        self._now_ms = now_ms
        self._book = Book()
        self._stream = ""
        self._read_seq = 0
        self._turn: dict[Key, int] = {}
        self._busy: set[str] = set()
        self._saved_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Compare until `stop` is set."""
        await self._restore()
        async with asyncio.TaskGroup() as group:
            rounds: set[asyncio.Task[None]] = set()
            while not await pause(stop, self._look_s):
                for exchange, due in (await self._due()).items():
                    self._busy.add(exchange)
                    rounds.add(group.create_task(self._round(exchange, due), name=f"reconcile {exchange}"))
                rounds = {task for task in rounds if not task.done()}
                if time.monotonic() - self._saved_s >= SAVE_S:
                    await self._save()
            for task in rounds:
                task.cancel()
        await self._save()

    async def _due(self) -> dict[str, dict[Key, Waiting]]:
        """What is to be looked at now, of exchanges that are not being asked already."""
        try:
            await self._read()
        except Unreachable as error:
            log.warning("candles cannot be read", error=str(error))
            return {}
        now_ms, ours = self._now_ms(), frozenset(self._instruments())
        due: dict[str, dict[Key, Waiting]] = {}
        for key, waiting in self._book.ripe(now_ms - AGE_MS).items():
            if key.instrument not in ours:
                self._book.settle(key, waiting)
            elif key.instrument.exchange not in self._busy and self._is_turn(key, now_ms):
                due.setdefault(key.instrument.exchange, {})[key] = waiting
        return due

    def _is_turn(self, key: Key, now_ms: int) -> bool:
        """Whether the time of a key has come again since it was looked at (or first seen)."""
        turn = (now_ms + zlib.crc32(repr(key).encode()) % self._every_ms) // self._every_ms
        if self._turn.setdefault(key, turn) == turn:
            return False
        self._turn[key] = turn
        return True

    async def _read(self) -> None:
        """Take what has come to CANDLES. Raises Unreachable."""
        state = await self._bus.stream_state(CANDLES)
        if state.identity != self._stream:
            self._book, self._stream, self._read_seq = Book(), state.identity, 0
        if state.last_seq <= self._read_seq:
            return
        reader = self._bus.reader(CANDLES, after=self._read_seq)
        try:
            while self._read_seq < state.last_seq:
                through = min(self._read_seq + READ_AT_A_TIME, state.last_seq)
                for message in await reader.through(through):
                    self._take(message)
                self._read_seq = through
        finally:
            await reader.close()

    def _take(self, message: Received) -> None:
        try:
            event = message.event()
        except Malformed as error:
            log.warning("not an event", stream=message.stream, seq=message.seq, error=str(error))
            return
        if isinstance(event, CandlesClosed):
            self._book.take(event, message.seq)

    async def _round(self, exchange: str, due: Mapping[Key, Waiting]) -> None:
        try:
            for key, waiting in due.items():
                await self._look(key, waiting)
        finally:
            self._busy.discard(exchange)
            self._metrics.waiting.labels(exchange).set(self._book.waiting(exchange))

    async def _look(self, key: Key, waiting: Waiting) -> None:
        """Compare what waits of one key. What cannot be compared now waits on, or is given up."""
        exchange = key.instrument.exchange
        try:
            verdict = await self._judge(key, waiting)
            await self._bus.publish(verdict.events)
        except (Retryable, Unreachable) as error:
            log.warning("candles cannot be compared", **_named(key), candles=len(waiting), error=str(error))
            self._metrics.unavailable(exchange, self._book.postpone(key, waiting))
            return
        except Rejected as error:
            log.warning("the exchange refuses its candles", **_named(key), error=str(error))
            self._metrics.unavailable(exchange, len(waiting))
            self._book.settle(key, waiting)
            return
        self._book.settle(key, waiting.keys() - set(verdict.unavailable))
        self._metrics.judged(exchange, verdict)
        self._metrics.unavailable(exchange, self._book.postpone(key, verdict.unavailable))
        if verdict.events:
            log.info("candles corrected", **_named(key), corrected=verdict.corrected, added=verdict.added)

    async def _judge(self, key: Key, waiting: Waiting) -> Verdict:
        to_ms = max(waiting) + key.length_ms
        theirs = [page async for page in pages(self._fetch, key, min(waiting), to_ms)]
        return compare(key, waiting, join(theirs) if theirs else NO_CANDLES)

    async def _restore(self) -> None:
        """Go on where the last run stopped. Raises Unreachable."""
        entry = await self._bus.bucket(SNAPSHOTS).get(SNAPSHOT_KEY)
        state = await self._bus.stream_state(CANDLES)
        self._stream, self._read_seq = state.identity, state.last_seq
        if entry is None or entry.value is None:
            return
        try:
            snapshot = msgspec.json.decode(entry.value, type=_Snapshot)
        except msgspec.DecodeError as error:
            log.warning("the snapshot cannot be read, beginning with the next candle", error=str(error))
            return
        if snapshot.stream == state.identity and snapshot.seq <= state.last_seq:
            self._read_seq = snapshot.seq
            self._book = Book({Key(Instrument(*row[:2]), row[2]): row[3] for row in snapshot.newest})

    async def _save(self) -> None:
        seq, newest = self._book.bookmark(self._read_seq)
        rows = [(*key.instrument, key.timeframe, open_ms) for key, open_ms in newest.items()]
        try:
            await self._bus.bucket(SNAPSHOTS).put(SNAPSHOT_KEY, msgspec.json.encode(_Snapshot(self._stream, seq, rows)))
        except Unreachable as error:
            log.warning("the snapshot cannot be kept", error=str(error))
        self._saved_s = time.monotonic()


def _named(key: Key) -> dict[str, str]:
    return {**key.instrument._asdict(), "timeframe": key.timeframe}

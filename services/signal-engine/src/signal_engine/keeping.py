"""The windows of an engine between one life and the next: restored from snapshots, and saved from time to time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from signal_engine.engine import Engine
from signal_engine.snapshots import Snapshots
from signal_engine.window import Candles, Series
from tocsin_common.errors import TocsinError
from tocsin_common.partitions.sharing import ALL
from tocsin_common.subjects import partition_of

log = structlog.get_logger()


class Keeping:
    """Keeps the windows of some partitions. Call `saved` or `close` only when the windows are as a mark left them."""

    def __init__(self, snapshots: Snapshots, engine: Engine, partitions: frozenset[int], every_messages: int) -> None:
        self._snapshots, self._engine, self._partitions = snapshots, engine, partitions
        self._every_messages = every_messages
        self._unsaved = 0
        self._saving: asyncio.Task[None] | None = None

    async def restore(self, at_most: int) -> Mapping[int, int]:
        """Fill the windows with what was saved at `at_most` or before; returns the sequence of CANDLES after which each
        partition's candles are to be read, 0 where nothing was saved that fits. Who looks at the whole market sees the
        windows of all partitions, and reads on behind each of them."""
        partitions = sorted(self._partitions)
        found = await asyncio.gather(*(self._snapshots.load(number, at_most=at_most) for number in partitions))
        after = dict.fromkeys(partitions, 0)
        for partition, snapshot in zip(partitions, found, strict=True):
            if snapshot is not None:
                after[partition], windows = snapshot
                for series, candles in windows:
                    self._engine.restore(series, candles)
        return after | await self._watch(at_most) if self._engine.across else after

    async def _watch(self, at_most: int) -> dict[int, int]:
        """See what others have saved, one partition after the other, because nothing of it is kept but its traces."""
        after = dict.fromkeys(sorted(ALL - self._partitions), 0)
        for partition in after:
            snapshot = await self._snapshots.load(partition, at_most=at_most)
            if snapshot is not None:
                after[partition], windows = snapshot
                for series, candles in windows:
                    self._engine.restore(series, candles, ours=False)
        return after

    def read(self, messages: int) -> None:
        """So many messages would have to be read again."""
        self._unsaved += messages

    def save(self, candles_seq: int) -> None:
        """Save, when it is time: beside the next rounds, because what is exported does not change any more."""
        if self._unsaved >= self._every_messages and (self._saving is None or self._saving.done()):
            windows, self._unsaved = self._engine.windows.export(), 0
            self._saving = asyncio.create_task(self._save(windows, candles_seq))

    async def close(self, candles_seq: int | None) -> None:
        """Finish, and save once more, so that the next life need not read much; None: the windows are not as a mark
        left them."""
        if self._saving:
            await self._saving
        if self._unsaved and candles_seq is not None:
            await self._save(self._engine.windows.export(), candles_seq)

    async def _save(self, windows: Sequence[tuple[Series, Candles]], candles_seq: int) -> None:
        of_partition: dict[int, list[tuple[Series, Candles]]] = defaultdict(list)
        for series, candles in windows:
            of_partition[partition_of(series.exchange, series.symbol)].append((series, candles))
        try:
            for partition in sorted(self._partitions):
                await self._snapshots.save(partition, of_partition[partition], candles_seq=candles_seq)
        except TocsinError as error:
            log.warning("snapshots not saved, the next ones will do", error=str(error))

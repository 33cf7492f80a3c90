"""A range of candles from an exchange into a file, going on where an earlier run stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from market_ingest.columns import Instrument
from market_ingest.history.archive import Archive, load, part_of, path_of, save
from market_ingest.history.paging import FetchCandles, Key, pages
from market_ingest.sources.files import UnreadableFile
from tocsin_common.errors import Rejected

SAVE_S = 15.0
"""How much work a killed download loses at most."""

DAY = "1d"

OnProgress = Callable[[Key, int, int], None]
"""Told as a range is worked through: key, from_ms, to_ms of what is done now."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a file holds now, and how many of its candles are new."""

    path: Path
    archive: Archive
    new: int


async def download(
    folder: Path, key: Key, fetch: FetchCandles, from_ms: int, to_ms: int, on_progress: OnProgress
) -> Downloaded:
    """Make the file of `key` complete for `from_ms <= open time < to_ms`, or for more if it was before. Where the
    exchange has nothing there is no file.

    Stopped at any point, the next call goes on. Raises Rejected, Retryable when the exchange stays away, and
    UnreadableFile when a file is in the way.
    """
    done, later = _begun(folder, key, from_ms, to_ms)
    before = len(done.candles) + (len(later.candles) if later else 0)
    if done.to_ms > from_ms:
        on_progress(key, from_ms, min(done.to_ms, to_ms))
    try:
        if later is not None:
            await _fetch(folder, done, fetch, later.from_ms, on_progress)
            on_progress(key, done.to_ms, min(later.to_ms, to_ms))
            done.append(later)
        await _fetch(folder, done, fetch, to_ms, on_progress)
    except BaseException:
        if len(done.candles):
            save(done, part_of(folder, key))
        raise
    path = path_of(folder, key)
    if len(done.candles):
        await asyncio.to_thread(save, done, path)
    part_of(folder, key).unlink(missing_ok=True)
    return Downloaded(path, done, len(done.candles) - before)


def _begun(folder: Path, key: Key, from_ms: int, to_ms: int) -> tuple[Archive, Archive | None]:
    """What is there already: a range to go on with, and a complete one to meet further on."""
    complete, part = load(path_of(folder, key), key), load(part_of(folder, key), key)
    found = [archive for archive in (part, complete) if archive and archive.from_ms <= from_ms <= archive.to_ms]
    done = max(found, key=lambda archive: archive.to_ms, default=Archive(key, from_ms, from_ms))
    if complete is not None and complete.to_ms < from_ms:
        raise _apart(path_of(folder, key))
    if complete is None or complete.to_ms <= done.to_ms:
        return done, None
    if complete.from_ms <= done.to_ms:
        done.append(complete)
        return done, None
    if complete.from_ms > to_ms:
        raise _apart(path_of(folder, key))
    return done, complete


def _apart(path: Path) -> UnreadableFile:
    return UnreadableFile(
        f"{path}: holds another range of time, and there would be a hole between the two; ask for a range that reaches "
        "it, or give another folder with --out."
    )


async def _fetch(folder: Path, done: Archive, fetch: FetchCandles, to_ms: int, on_progress: OnProgress) -> None:
    """Go on with a range up to `to_ms`, saving it from time to time."""
    if done.to_ms >= to_ms:
        return
    if not len(done.candles):
        listed_ms = await _listed_ms(fetch, done.key, done.to_ms, to_ms)
        on_progress(done.key, done.to_ms, listed_ms)
        done.to_ms = listed_ms
    saved_s = time.monotonic()
    async for candles in pages(fetch, done.key, done.to_ms, to_ms):
        reached_ms = int(candles.open_ms[-1]) + done.key.length_ms
        on_progress(done.key, done.to_ms, reached_ms)
        done.take(candles, reached_ms)
        if time.monotonic() - saved_s >= SAVE_S:
            await asyncio.to_thread(save, done, part_of(folder, done.key))
            saved_s = time.monotonic()
    on_progress(done.key, done.to_ms, to_ms)
    done.to_ms = to_ms


async def _listed_ms(fetch: FetchCandles, key: Key, from_ms: int, to_ms: int) -> int:
    """No candle of the range opened before this moment: looked up by days, so that years before a market was listed
    are not asked for minute by minute."""
    days = Key(Instrument(*key.instrument), DAY)
    if key.timeframe == DAY:
        return from_ms
    try:
        async for candles in pages(fetch, days, days.floor(from_ms), days.floor(to_ms) + days.length_ms):
            return max(from_ms, int(candles.open_ms[0]) - days.length_ms)
    except Rejected:
        return from_ms
    return from_ms

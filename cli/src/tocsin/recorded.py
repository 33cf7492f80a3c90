"""Candle and trade files as the candles that a replay of them would put on the stream, without any server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from market_ingest.candles import CandleBuilder
from market_ingest.config import IngestSection, ReplaySettings
from market_ingest.ingest import Ingest
from market_ingest.ingest import Progress as SourceProgress
from market_ingest.sources.replay import ReplaySource
from market_ingest.sources.timeline import load
from signal_engine.recording import Recording
from tocsin.console import UsageError, err
from tocsin_common.events import CandlesClosed


async def candles_of(files: Sequence[Path], timeframes: Sequence[str]) -> pl.DataFrame:
    """Closed candles of these timeframes, longer ones made of shorter ones where the files have none.

    Columns: see `Recording.frame`. Raises UnreadableFile, and UsageError when there are none.
    """
    section, recording = IngestSection(), Recording()
    timeline = load(files, time.time_ns() // 1_000_000)
    source = ReplaySource(ReplaySettings(kind="replay", files=list(files), speed=0), timeline=timeline)
    builder = CandleBuilder(gap_ms=section.gap_ms, grace_ms=section.grace_ms, flats_by_clock=source.live)
    ingest = Ingest(source.source_id, builder, SourceProgress())
    with bar() as bars:
        task = bars.add_task("reading candles", total=len(timeline))
        async for chunk in source.chunks(0):
            for event in ingest.handle(chunk, chunk.clock_ms):
                if isinstance(event, CandlesClosed) and event.timeframe in timeframes:
                    recording.add(event)
            bars.update(task, completed=chunk.cursor)
    if not len(recording):
        raise UsageError(f"The files give no candle of {', '.join(timeframes)}; see --timeframe.")
    return recording.frame()


def bar() -> Progress:
    """A bar for work that takes a while; it is gone when the work is done."""
    columns = (TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.percentage:.0f} %"))
    return Progress(*columns, TimeElapsedColumn(), console=err, transient=True)

"""The market-ingest service: `python -m market_ingest`."""

from __future__ import annotations

import asyncio

from market_ingest import companions, pipeline
from market_ingest.config import LiveSettings, ReplaySettings, Settings, SimulatorSettings
from market_ingest.metrics import IngestMetrics
from market_ingest.partitions.replica import Replica
from market_ingest.sources.chunk import Source
from market_ingest.sources.live import LiveSource
from market_ingest.sources.replay import ReplaySource
from market_ingest.sources.simulator import SimulatorSource
from tocsin_common.partitions.sharing import parse_ranges
from tocsin_common.runtime import Service, main


async def serve(service: Service[Settings]) -> None:
    """Open the source and bring it onto the streams until it ends or the service stops."""
    settings = service.settings.market_ingest
    metrics = IngestMetrics(service.registry)
    source = await open_source(settings.source, metrics)
    if isinstance(source, LiveSource):
        service.stack.push_async_callback(source.close)
        service.health.checks["exchanges"] = source.problem
        await companions.start(service, source, metrics)
        await _share(service, source, metrics)
    else:
        await companions.remember(service)
        await pipeline.run(source, service.bus, settings, service.stop, metrics)


async def _share(service: Service[Settings], source: LiveSource, metrics: IngestMetrics) -> None:
    """A live market is for as many replicas as there are: bring our share of it onto the streams."""
    settings = service.settings.market_ingest
    allowed = parse_ranges(settings.partitions)
    replica = Replica(service.bus, allowed, source.source_id, source.shares_changed, metrics)
    source.owns = replica.owns
    async with replica.member():
        await pipeline.run(source, service.bus, settings, service.stop, metrics, replica)


async def open_source(settings: SimulatorSettings | ReplaySettings | LiveSettings, metrics: IngestMetrics) -> Source:
    """The configured source. Raises UnreadableFile."""
    if isinstance(settings, ReplaySettings):
        return await asyncio.to_thread(ReplaySource, settings)
    if isinstance(settings, SimulatorSettings):
        return SimulatorSource(settings)
    return LiveSource(settings, metrics)


def run() -> None:
    main("market-ingest", Settings, serve)


if __name__ == "__main__":
    run()

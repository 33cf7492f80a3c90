"""Where market data comes from: files, a simulator, exchanges. Every source gives chunks."""

from market_ingest.sources.chunk import Chunk, Source

__all__ = ["Chunk", "Source"]

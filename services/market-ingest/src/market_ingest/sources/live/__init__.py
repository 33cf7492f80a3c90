"""Live trades of real exchanges through ccxt.pro: every trade once, in order, and every doubt stated."""

from market_ingest.sources.live.source import LiveSource

__all__ = ["LiveSource"]

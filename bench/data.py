"""Bench input made from the real dense trading session: the same eleven minutes again and again, shifted in time."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

SESSION = "trades/binance_btc_eth_2024-08-08.parquet"
SHIFT_MS = 15 * 60_000
"""The session lasts eleven minutes; a quarter of an hour keeps the copies apart and on the same boundaries."""


def shared_data() -> Path:
    """The folder of real market data. Raises SystemExit with the remedy when it is missing."""
    root = Path(os.environ.get("TOCSIN_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"
    if not root.is_dir():
        raise SystemExit(f"the benchmarks need real market data: {root} is missing; set TOCSIN_SHARED.")
    return root


def tiled_trades(target: Path, copies: int) -> int:
    """Write `copies` of the real session to a parquet file, ids and times moved on; return the number of trades."""
    session = pl.read_parquet(shared_data() / SESSION)
    id_span = 10**10
    tiles = [
        session.with_columns(
            ts_ms=pl.col("ts_ms") + copy * SHIFT_MS,
            trade_id=(pl.col("trade_id").cast(pl.Int64) + copy * id_span).cast(pl.String),
        )
        for copy in range(copies)
    ]
    trades = pl.concat(tiles).sort("exchange", "symbol", "ts_ms", maintain_order=True)
    trades.write_parquet(target)
    return trades.height

"""The whole pipeline: `tocsin replay` of a long file of real trades, from the first message to everything settled."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from bench.data import tiled_trades
from bench.report import Figure
from bench.servers import scratch

COPIES = 16
LIMIT_TRADES_PER_S = 50_000


async def measure() -> list[Figure]:
    """Trades per second until every service is idle, counted by the command itself from the streams."""
    async with scratch() as folder:
        file = folder / "trades.parquet"
        trades = await asyncio.to_thread(tiled_trades, file, COPIES)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tocsin", "replay", "--json", "--data-dir", str(folder / "data"), str(file)),
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
        )
        out, _ = await asyncio.wait_for(process.communicate(), 600)
    if process.returncode:
        raise SystemExit("the replay failed; its last lines say why")
    summary = json.loads(out)
    if summary["trades_published"] != trades:
        raise SystemExit(f"only {summary['trades_published']} of {trades} trades were published")
    return [
        Figure("whole pipeline, replay until idle", summary["trades_per_s"], "trades/s", LIMIT_TRADES_PER_S),
        Figure("signals in that replay", summary["signals"], "signals"),
    ]

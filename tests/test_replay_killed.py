"""Every service is killed once in the middle of a replay: nothing lost, nothing twice, the same rows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.system import REPLAY_S, Installation, quiet_settings, until

from api_gateway.schema import TableDigest
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.events import ClockAdvanced
from tocsin_common.streams import CLOCK
from tocsin_common.subjects import clock

SERVICES = ("market-ingest", "signal-engine", "alerting", "paper-trader", "api-gateway")
FROM_MS = int(datetime(2021, 5, 18, tzinfo=UTC).timestamp() * 1000)
DAYS = 4
RULES = {
    "subscribers": [
        {"subscriber_id": "me", "name": "Me", "destinations": [{"channel": "console", "address": "terminal"}]}
    ],
    "alert_rules": [
        {"kind": "signal", "rule_id": "all", "name": "Slow", "subscribers": ["me"], "timeframes": ["1h", "4h"]},
        {
            "kind": "price",
            "rule_id": "level",
            "name": "Level",
            "subscribers": ["me"],
            "exchange": "binance",
            "symbol": "ETH/USDT",
            "level": 2500.0,
        },
    ],
}


@pytest.fixture(scope="module")
def files(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A crash of the market: days of real candles, and real trades of other times."""
    month = pl.scan_parquet(shared_data / "candles" / "binance_1m_23_symbols_2021-05.parquet")
    part = tmp_path_factory.mktemp("input") / "candles.parquet"
    month.filter(pl.col("ts_ms").is_between(FROM_MS, FROM_MS + DAYS * 86_400_000)).collect().write_parquet(part)
    return [part, shared_data / "trades" / "binance_trx_2025-03-04.parquet"]


async def test_killing_each_service_once_changes_nothing(files: list[Path], tmp_path_factory: Any) -> None:
    rows = sum(pl.read_parquet(file).height for file in files)
    folder = tmp_path_factory.mktemp("killed")
    undisturbed = Installation.create(folder / "undisturbed", quiet_settings(**RULES))
    calm = await undisturbed.replay(files)
    assert all(calm[name] for name in ("signals", "outcomes", "fills", "alerts_raised"))
    disturbed = Installation.create(folder / "disturbed", quiet_settings(**RULES))
    process = await disturbed.start("replay", "--json", *files)
    killing = asyncio.create_task(kill_each_once(disturbed, rows))
    out, err = await asyncio.wait_for(process.communicate(), REPLAY_S)
    assert process.returncode == 0, f"{err.decode()[-3000:]}\n{disturbed.log_ends()}"
    assert await asyncio.gather(killing, return_exceptions=True) == [set(SERVICES)]
    await disturbed.check("audit")
    summary = json.loads(out)
    for name in ("signals", "outcomes", "fills", "alerts_raised", "candles", "dead_letters"):
        assert summary[name] == calm[name], name
    assert settled(summary) == settled(calm)
    assert kept(await disturbed.digests()) == kept(await undisturbed.digests())
    await disturbed.check("rebuild")


def settled(summary: dict[str, Any]) -> int:
    """Deliveries in a terminal state. A request that was under way when alerting was killed ends as `unknown`:
    the console cannot tell a repeated message, so it is held, and the ledger says so."""
    states = summary["deliveries"]["console"]
    assert set(states) <= {"sent", "unknown"}
    return sum(states.values())


def kept(digests: dict[str, TableDigest]) -> dict[str, TableDigest]:
    """The tables that a crash leaves no trace in: all but those about attempts to deliver."""
    return {name: digest for name, digest in digests.items() if not name.startswith("deliver")}


async def kill_each_once(installation: Installation, rows: int) -> set[str]:
    """Kill one service after the other, each when signals have come another part of the way."""

    async def started() -> bool:
        return set(SERVICES) <= set(installation.service_pids())

    async def come_far_enough() -> bool:
        return await rows_marked(bus, stage) >= threshold

    await until(started)
    url = installation.running()["nats_url"]
    bus = await JetStreamBus.connect(NatsSection(url=url), name="test", stop=asyncio.Event())
    killed: set[str] = set()
    for number, name in enumerate(SERVICES, start=1):
        stage = "market" if name == "market-ingest" else "signals"
        threshold = rows * number // (len(SERVICES) + 2)
        await until(come_far_enough)
        os.kill(installation.service_pids()[name], signal.SIGKILL)
        killed.add(name)
    await bus.close()
    return killed


async def rows_marked(bus: JetStreamBus, stage: str) -> int:
    newest = await bus.last(CLOCK, clock(stage))
    mark = newest.event() if newest else None
    return mark.cursor if isinstance(mark, ClockAdvanced) else 0

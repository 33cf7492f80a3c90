"""Real candles and real trades through the running system, then judged again in one query: the same signals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats
import polars as pl
import pytest
from tests.system import Installation, quiet_settings

from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.events import ClockAdvanced, SignalRaised, encode
from tocsin_common.streams import CLOCK, SIGNALS
from tocsin_common.subjects import clock

TRADES = "trades/binance_xrp_eth_2019-10.parquet"
HOURS = "candles/binance_1h_136_symbols_2024.parquet"


@pytest.fixture(scope="module")
def replayed(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """2.5 days of trades, and 1,500 hours of four markets."""
    folder = tmp_path_factory.mktemp("parity")
    rows = pl.scan_parquet(shared_data / HOURS).collect().sort("symbol", "ts_ms")
    symbols = ["BTC/USDT", "ETH/USDT", "DOGE/USDT", "LINK/USDT"]
    some = rows.filter(pl.col("symbol").is_in(symbols)).group_by("symbol", maintain_order=True).head(1_500)
    some.select(rows.columns).write_parquet(folder / "hours.parquet")
    installation = Installation.create(folder / "system", quiet_settings())
    summary = asyncio.run(installation.replay([shared_data / TRADES, folder / "hours.parquet"]))
    assert summary["signals"] > 200
    return installation


@pytest.fixture(scope="module")
def whole(replayed: Installation) -> dict[str, Any]:
    """What the command says of all of it, before anybody tampers with it."""
    return asyncio.run(parity(replayed, 0))


async def parity(installation: Installation, code: int, *options: str) -> dict[str, Any]:
    done = await installation.tocsin("parity", "--json", *options)
    assert done.code == code, done.out + done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


@asynccontextmanager
async def opened(installation: Installation) -> AsyncIterator[JetStreamBus]:
    """The streams alone, to tamper with."""
    async with installation.servers() as (server, _):
        bus = await JetStreamBus.connect(NatsSection(url=server.url), name="test", stop=asyncio.Event())
        yield bus
        await bus.close()


async def test_live_signals_are_those_of_all_of_history(whole: dict[str, Any]) -> None:
    assert whole["match_percent"] == "100.00"
    assert whole["same"] == whole["compared"] > 200
    assert set(whole["excused"].values()) == {0}


async def test_a_part_of_the_time_is_compared_alone(replayed: Installation, whole: dict[str, Any]) -> None:
    before = await parity(replayed, 0, "--until", "2024-02-01")
    said = await replayed.tocsin("parity", "--since", "2024-02-01")
    assert 0 < before["same"] < whole["same"]
    assert said.code == 0
    assert said.out.startswith(f"100.00 % of {whole['same'] - before['same']} ")


async def test_a_missing_and_a_tampered_signal_are_found(replayed: Installation) -> None:
    async with opened(replayed) as bus:
        messages = await bus.reader(SIGNALS, after=0).through((await bus.stream_state(SIGNALS)).last_seq)
        client = await nats.connect(bus.connection.url)
        jetstream = client.jetstream()
        lost, changed = messages[50], messages[100]
        for message in (lost, changed):
            await jetstream.delete_msg(SIGNALS.name, message.seq)
        original = changed.event()
        assert isinstance(original, SignalRaised)
        forged = msgspec.structs.replace(original, confidence=original.confidence + 1)
        receipt = await jetstream.publish(changed.subject, encode(forged), headers={"Nats-Msg-Id": "forged"})
        await client.close()
        newest = await bus.last(CLOCK, clock("signals"))
        assert newest is not None
        mark = newest.event()
        assert isinstance(mark, ClockAdvanced)
        await bus.publish([msgspec.structs.replace(mark, signals_seq=receipt.seq, cursor=mark.cursor + 1)])
    document = await parity(replayed, 1)
    assert (document["only_history"], document["different"], document["only_live"]) == (1, 1, 0)
    assert float(document["match_percent"]) < 100
    assert document["first"]["signal_id"] in (lost.message_id, original.signal_id)
    said = await replayed.tocsin("parity")
    assert said.code == 1
    assert "The first difference is of" in said.err

"""The service as the process it is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from tocsin_common.bus.jetstream import JetStreamBus


class Process:
    """`python -m api_gateway` with the lines it logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    @classmethod
    async def start(cls, **environment: str) -> Process:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "api_gateway",
                env=os.environ | environment,
                cwd=Path(__file__).parent,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def logged(self, event: str) -> dict[str, Any]:
        """The fields of the first line still to come with this event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if line.startswith("{") and (fields := json.loads(line))["event"] == event:
                    return dict(fields)
        raise AssertionError(f"ended without {event!r}: {self.lines}")


async def test_it_serves_and_stops_within_ten_seconds_with_a_listener_connected(
    jetstream_bus: JetStreamBus, nats_url: str, database: str, make: Any, until: Any
) -> None:
    gateway = await Process.start(
        TOCSIN__NATS__URL=nats_url, TOCSIN__POSTGRES__URL=database, TOCSIN__API_GATEWAY__PORT="0"
    )
    try:
        url = (await gateway.logged("listening"))["url"]
        async with aiohttp.ClientSession() as http, http.get(f"{url}/api/v1/stream") as live:
            await jetstream_bus.publish([make.signal(1)])

            async def projected() -> bool:
                async with http.get(f"{url}/api/v1/signals") as response:
                    return len((await response.json()).get("items", [])) == 1

            await until(projected)
            async with http.get(f"{url}/api/v1/health") as response:
                assert (await response.json())["projector"] == "running"
            started = time.monotonic()
            gateway.process.terminate()
            assert "the gateway stops" in (await live.text())
            assert await asyncio.wait_for(gateway.process.wait(), 10) == 0
            assert time.monotonic() - started < 10
    finally:
        if gateway.process.returncode is None:
            gateway.process.kill()


async def test_a_port_in_use_is_one_clear_line(jetstream_bus: JetStreamBus, nats_url: str, database: str) -> None:
    busy = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = busy.sockets[0].getsockname()[1]
    gateway = await Process.start(
        TOCSIN__NATS__URL=nats_url, TOCSIN__POSTGRES__URL=database, TOCSIN__API_GATEWAY__PORT=str(port)
    )
    line = await gateway.logged("service failed")
    assert f"cannot listen on 127.0.0.1 port {port}" in line["error"]
    assert await asyncio.wait_for(gateway.process.wait(), 10) == 1
    busy.close()

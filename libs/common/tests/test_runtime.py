"""The life of a service, as a real process against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tocsin.ports import free_port
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.streams import PAPER_TRADER

SERVICE = """
import asyncio, gc, logging, sys
from tocsin_common.config import CommonSettings
from tocsin_common.errors import Unreachable
from tocsin_common.runtime import Service, main
from tocsin_common.streams import PAPER_TRADER
from tocsin_common import runtime

mode = sys.argv[1]
if mode == "stuck":
    runtime.DRAIN_S = 0.5

async def handle(batch):
    print("handling", len(batch), flush=True)
    if mode == "slow":
        await asyncio.sleep(0.5)
    if mode == "stuck":
        await asyncio.Event().wait()
    print("handled with", gc.get_freeze_count(), "objects set aside", flush=True)
    return []

async def broken():
    raise ZeroDivisionError("a bug") if mode == "bug" else Unreachable("the database is away")

async def serve(service: Service[CommonSettings]) -> None:
    logging.getLogger("library").warning("careful")
    if mode in ("bug", "failure"):
        service.spawn(broken())
    await service.consume_in_order(PAPER_TRADER, handle)

main("tiny", CommonSettings, serve)
"""


class Process:
    """A running service: its events by name, as they are logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def logged(self, event: str) -> dict[str, Any]:
        assert self.process.stderr
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line)
            if line.startswith("{") and json.loads(line)["event"] == event:
                found: dict[str, Any] = json.loads(line)
                return found
        raise AssertionError(f"{event!r} was not logged:\n{''.join(self.lines)}")

    async def printed(self, text: str) -> str:
        """The line that begins so."""
        assert self.process.stdout
        while line := (await self.process.stdout.readline()).decode():
            if line.startswith(text):
                return line
        raise AssertionError(f"{text!r} was not printed")

    async def end(self) -> tuple[int, str]:
        """Wait for the exit: (exit code, the rest of what it logged)."""
        assert self.process.stderr
        rest = (await self.process.stderr.read()).decode()
        return await self.process.wait(), rest


@asynccontextmanager
async def running(tmp_path: Path, mode: str = "quick", **environ: str) -> AsyncIterator[Process]:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        mode,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environ},
    )
    try:
        async with asyncio.timeout(20):
            yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def url(jetstream_bus: JetStreamBus, nats_url: str) -> str:
    """The URL of a server that has the streams."""
    return nats_url


async def test_sigterm_finishes_what_is_in_hand_and_exits_with_zero(
    tmp_path: Path, url: str, jetstream_bus: JetStreamBus, given: Any
) -> None:
    await jetstream_bus.publish(given.marks(3))
    async with running(tmp_path, "slow", TOCSIN__NATS__URL=url) as service:
        await service.printed("handling 3")
        service.process.send_signal(signal.SIGTERM)
        await service.printed("handled")
        code, rest = await service.end()
    assert code == 0
    assert json.loads(rest.splitlines()[-1])["event"] == "stopped"
    assert (await jetstream_bus.durable_state(PAPER_TRADER)).ack_floor_seq == 3


async def test_what_was_imported_is_set_aside_from_garbage_collection(
    tmp_path: Path, url: str, jetstream_bus: JetStreamBus, given: Any
) -> None:
    await jetstream_bus.publish(given.marks(1))
    async with running(tmp_path, TOCSIN__NATS__URL=url) as service:
        _, _, objects, *_ = (await service.printed("handled")).split()
    assert int(objects) > 10_000


async def test_a_service_that_cannot_drain_leaves_in_bounded_time(
    tmp_path: Path, url: str, jetstream_bus: JetStreamBus, given: Any
) -> None:
    await jetstream_bus.publish(given.marks(1))
    async with running(tmp_path, "stuck", TOCSIN__NATS__URL=url) as service:
        await service.printed("handling")
        service.process.send_signal(signal.SIGTERM)
        code, rest = await service.end()
    assert code == 1
    assert "not drained in time" in rest


async def test_a_running_service_answers_probes_and_logs_its_libraries_as_json(tmp_path: Path, url: str) -> None:
    async with running(tmp_path, TOCSIN__NATS__URL=url) as service:
        started = await service.logged("started")
        careful = await service.logged("careful")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{started['health_port']}") as probe:
            assert (await probe.get("/readyz")).status == 200
            metrics = await (await probe.get("/metrics")).text()
        service.process.send_signal(signal.SIGINT)
        code, _ = await service.end()
    assert code == 0
    assert (started["service"], careful["logger"], careful["level"]) == ("tiny", "library", "warning")
    assert "process_resident_memory_bytes" in metrics
    assert "tocsin_started_seconds" in metrics


async def test_a_wrong_configuration_is_told_and_exits_with_two(tmp_path: Path) -> None:
    async with running(tmp_path, TOCSIN__NATS__REPLICAS="7", TOCSIN__LOG__LEVEL="loud") as service:
        code, text = await service.end()
    assert code == 2
    assert [line.split(":")[:2] for line in text.splitlines()] == [["tiny", " nats.replicas"], ["tiny", " log.level"]]


async def test_a_server_that_is_away_is_named_and_the_service_is_not_ready(tmp_path: Path, unused_port: int) -> None:
    url = f"nats://me:hunter2@127.0.0.1:{unused_port}"
    health_port = free_port()
    async with running(tmp_path, TOCSIN__NATS__URL=url, TOCSIN__HEALTH__PORT=str(health_port)) as service:
        trouble = await service.logged("trouble with NATS")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{health_port}") as probe:
            assert (await probe.get("/readyz")).status == 503
        service.process.send_signal(signal.SIGTERM)
        code, rest = await service.end()
    assert code == 0
    assert trouble["nats"] == f"nats://127.0.0.1:{unused_port}"
    assert "hunter2" not in "".join(service.lines) + rest


async def test_a_failing_part_fails_the_service_with_one_line(tmp_path: Path, url: str) -> None:
    async with running(tmp_path, "failure", TOCSIN__NATS__URL=url) as service:
        failed = await service.logged("service failed")
        code, _ = await service.end()
    assert code == 1
    assert (failed["error"], failed["kind"]) == ("the database is away", "Unreachable")


async def test_a_bug_fails_the_service_with_its_traceback(tmp_path: Path, url: str) -> None:
    async with running(tmp_path, "bug", TOCSIN__NATS__URL=url) as service:
        crashed = await service.logged("service crashed")
        code, _ = await service.end()
    assert code == 1
    assert "ZeroDivisionError: a bug" in crashed["exception"]

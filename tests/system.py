"""Runs the real `tocsin` command on a data directory of its own, and asks what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from api_gateway import schema
from tocsin.embedded import NatsServer, PostgresServer
from tocsin_common.bus.consume import pause

COMMAND = (sys.executable, "-m", "tocsin")
REPLAY_S = 300
"""Longest a replay may take here; the whole test run has ten minutes."""


POLL_S = 0.05
"""Between two looks at another process, which has no way to tell us."""


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = REPLAY_S) -> None:
    """Wait until something in another process has become true. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await pause(asyncio.Event(), POLL_S)


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Installation:
    """One data directory with its configuration."""

    data_dir: Path
    config: Path

    @classmethod
    def create(cls, folder: Path, settings: Mapping[str, Any]) -> Installation:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
        config = folder / "tocsin.yaml"
        config.write_text(yaml.safe_dump({"api_gateway": {"port": 0}, **settings}))  # others start beside us
        return cls(folder / "data", config)

    async def start(self, *arguments: str | Path) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN")}
        environment |= {"TOCSIN_CONFIG": str(self.config), "TOCSIN_DATA_DIR": str(self.data_dir)}
        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )

    async def tocsin(self, *arguments: str | Path, timeout_s: float = REPLAY_S) -> Finished:
        """Run a command to its end; when it takes too long it is stopped and the test fails."""
        process = await self.start(*arguments)
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            process.terminate()
            out, err = await process.communicate()
            raise AssertionError(f"tocsin {arguments} took over {timeout_s} s:\n{err.decode()[-3000:]}") from None
        return Finished(process.returncode or 0, out.decode(), err.decode())

    async def replay(self, files: Sequence[Path], *options: str) -> dict[str, Any]:
        """Replay files and return the summary object."""
        done = await self.tocsin("replay", "--json", *options, *files)
        assert done.code == 0, f"{done.err[-3000:]}\n{self.log_ends()}"
        summary: dict[str, Any] = json.loads(done.out)
        return summary

    async def check(self, *arguments: str) -> None:
        """Run a command that must find nothing wrong."""
        done = await self.tocsin(*arguments)
        assert done.code == 0, f"tocsin {' '.join(arguments)}: {done.out[-4000:]}\n{done.err[-2000:]}"

    @asynccontextmanager
    async def servers(self) -> AsyncIterator[tuple[NatsServer, PostgresServer]]:
        """The servers alone, on the data the command left."""
        nats, postgres = NatsServer(self.data_dir), PostgresServer(self.data_dir)
        try:
            await nats.start()
            await postgres.start()
            yield nats, postgres
        finally:
            await postgres.stop()
            await nats.stop()

    async def digests(self) -> dict[str, schema.TableDigest]:
        """Digest of every table without the columns that hold our own clock."""
        async with self.servers() as (_, postgres):
            connection = await asyncpg.connect(postgres.url)
            try:
                return await schema.digests(connection, wall_clock=False)
            finally:
                await connection.close()

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with self.servers() as (_, postgres):
            connection = await asyncpg.connect(postgres.url)
            try:
                return [dict(row) for row in await connection.fetch(query)]
            finally:
                await connection.close()

    def running(self) -> dict[str, Any]:
        """What `tocsin` says is running on the data directory; empty when nothing is."""
        try:
            described: dict[str, Any] = json.loads((self.data_dir / "run.json").read_text())
        except (OSError, ValueError):
            return {}
        return described

    def service_pids(self) -> dict[str, int]:
        """The process ids of the running services, by name."""
        processes = self.running().get("processes", {})
        return {name: process["pid"] for name, process in processes.items() if name not in ("nats", "postgres")}

    def log_ends(self) -> str:
        """The last lines of every service's log, for the message of a failing test."""
        ends = []
        for log in sorted((self.data_dir / "logs").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-5:]
            ends.append(f"--- {log.name}\n" + "\n".join(lines))
        return "\n".join(ends)


PORTFOLIO = {"portfolio_id": "main", "currency": "USDT", "cash": "100000", "min_confidence": 0}
"""A portfolio that follows everything it can."""


def quiet_settings(**seed: Any) -> dict[str, Any]:
    """Nobody is told anything; a portfolio follows every signal of three strategies on short candles, too."""
    return {
        "signal_engine": {
            "timeframes": ["1m", "5m", "15m", "1h", "4h"],
            "strategies": [{"name": name} for name in ("ema_cross", "smart_money", "confluence")],
        },
        "seed": {"portfolios": [PORTFOLIO], **seed},
    }

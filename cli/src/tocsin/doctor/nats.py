"""Checks of NATS: reachable, recent enough, JetStream with synced writes, streams as declared, in time."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from tocsin.doctor.finding import Finding
from tocsin.doctor.machine import check_clock
from tocsin.servers import DIAL_S
from tocsin_common.bus import provision
from tocsin_common.bus.connection import Connection
from tocsin_common.config import NatsSection
from tocsin_common.errors import TocsinError

VERSION_MIN = (2, 12)
"""Atomic batches and per-stream durability came with nats-server 2.12."""


async def check_nats(section: NatsSection, embedded_config: Path | None) -> list[Finding]:
    """All that can be seen with one connection. `embedded_config`: the configuration of the server that is ours."""
    try:
        connection = await Connection.open(section, name="tocsin doctor", within_s=DIAL_S)
    except TocsinError as error:
        return [Finding("nats", problem=str(error), remedy="start it, or correct the section `nats`")]
    try:
        findings = [_version(connection), await _jetstream(connection), _sync(embedded_config)]
        return [*findings, *await _streams(connection, section.replicas)]
    except TocsinError as error:
        return [Finding("nats", problem=str(error), remedy="enable JetStream in the server's configuration")]
    finally:
        await connection.close()


def _version(connection: Connection) -> Finding:
    version = connection.server_version
    if version >= VERSION_MIN:
        return Finding("nats", f"{connection.url} runs {'.'.join(map(str, version))}")
    wanted = ".".join(map(str, VERSION_MIN))
    problem = f"version {'.'.join(map(str, version))} is older than {wanted}"
    return Finding("nats", problem=problem, remedy=f"upgrade nats-server to {wanted} or later")


async def _jetstream(connection: Connection) -> Finding:
    info = await connection.api("INFO")
    return Finding("jetstream", f"enabled, {info.get('streams', 0)} streams, {info.get('consumers', 0)} consumers")


def _sync(embedded_config: Path | None) -> Finding:
    """Whether acknowledged writes survive a power failure; no client can ask a server that."""
    if embedded_config is None:
        return Finding(
            "sync", "make sure the server's jetstream section has sync_interval: always (a client cannot see)"
        )
    if "sync_interval: always" in embedded_config.read_text():
        return Finding("sync", "every acknowledged write is on disk (sync_interval: always)")
    problem = f"{embedded_config} does not say sync_interval: always"
    return Finding("sync", problem=problem, remedy="restart `tocsin up`: it writes this file")


async def _streams(connection: Connection, replicas: int) -> list[Finding]:
    shown = await provision.show(connection, provision.declared(replicas))
    wrong = [thing.name for thing in shown if not thing.exists or thing.differs]
    if wrong:
        problem = f"missing or different: {', '.join(wrong)}"
        return [Finding("streams", problem=problem, remedy="run: tocsin streams apply (or tocsin up)")]
    before = time.time() * 1000
    answered = await connection.api("STREAM.INFO.CLOCK")
    theirs = datetime.fromisoformat(answered["ts"]).timestamp() * 1000
    clock = check_clock("NATS", before, theirs, time.time() * 1000)
    return [Finding("streams", f"all {len(shown)} streams, buckets and durables are as declared"), clock]

"""The whole system as one context: servers, streams, tables, seeds, services; released in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from api_gateway import migrations
from api_gateway.config import Settings as GatewaySettings
from tocsin import seed
from tocsin.datadir import Running
from tocsin.options import Target
from tocsin.ports import free_port
from tocsin.processes import reference
from tocsin.seed import SeedResult
from tocsin.servers import Servers, keep_running, provisioned, servers
from tocsin.services import SERVICES, Launch
from tocsin.settings import with_overrides
from tocsin.supervisor import Supervisor
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import load

API_PORT = 8000
"""The API's port unless somebody listens there already."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class System:
    """The system, ready for its services to start. `seeds` says what became of every seeded document."""

    servers: Servers
    bus: JetStreamBus
    supervisor: Supervisor
    api_url: str
    seeds: dict[str, SeedResult]


@asynccontextmanager
async def running_system(command: str, target: Target, say: Say) -> AsyncIterator[System]:
    """Hold the data directory and prepare everything on it; the caller starts the supervisor. `say` gets the steps."""
    settings, seeds = target.load()
    async with AsyncExitStack() as stack:
        running = stack.enter_context(target.data_dir.hold(command))
        say("opening NATS and PostgreSQL")
        backing = await stack.enter_async_context(servers(settings, target.data_dir.path))
        say("applying streams, migrations and seeds")
        bus = await stack.enter_async_context(provisioned(backing, command))
        await migrations.apply(backing.postgres_url.get_secret_value())
        results = await seed.apply(bus, seeds)
        api_port = choose_api_port(target)
        supervisor = Supervisor(launch_plan(target, backing, api_port), target.data_dir.logs)
        system = System(backing, bus, supervisor, f"http://127.0.0.1:{api_port}", results)
        supervisor.on_change = lambda: target.data_dir.describe(described(running, system))
        stack.push_async_callback(supervisor.stop)
        await stack.enter_async_context(_beside(keep_running(backing.embedded, supervisor.on_change)))
        try:
            yield system
        finally:
            say("stopping")


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something beside the block, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def choose_api_port(target: Target) -> int:
    """The configured port, which is any free one for 0; without one API_PORT, or any other that is free."""
    configured = load(GatewaySettings, environ=target.environment).api_gateway
    if "port" in configured.model_fields_set:
        return configured.port or free_port()
    return free_port(API_PORT)


def launch_plan(target: Target, backing: Servers, api_port: int) -> list[Launch]:
    """Every service with its environment: the configuration, and where the servers and ports are."""
    launches = []
    for service in SERVICES:
        port = free_port()
        overrides = {
            "nats.url": backing.nats.url,
            "postgres.url": backing.postgres_url.get_secret_value(),
            "health.port": str(port),
            "api_gateway.port": str(api_port),
            "alerting.api.url": f"http://127.0.0.1:{api_port}",
        }
        carried = with_overrides(target.environment, overrides)
        launches.append(Launch(service, carried, f"http://127.0.0.1:{port}"))
    return launches


def described(running: Running, system: System) -> Running:
    """What `run.json` says: other commands find the servers there, and a later start finds what a crash left."""
    embedded = {name: reference(server.pid) for name, server in system.servers.embedded.items() if server.running}
    return msgspec.structs.replace(
        running,
        nats_url=system.servers.nats.url,
        postgres_url=system.servers.postgres_url.get_secret_value(),
        api_url=system.api_url,
        health={child.name: child.launch.health_url for child in system.supervisor.children},
        processes={name: ref for name, ref in embedded.items() if ref} | system.supervisor.processes(),
    )

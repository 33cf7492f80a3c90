"""The api-gateway service: `python -m api_gateway`."""

from __future__ import annotations

import structlog

from api_gateway.config import Settings
from api_gateway.http.app import Parts, create_app
from api_gateway.http.auth import is_loopback
from api_gateway.http.server import listen
from api_gateway.http.server import serve as serve_http
from api_gateway.keys import Keyring
from api_gateway.live import Hub
from api_gateway.metrics import Metrics
from api_gateway.postgres import READ_TIMEOUT_MS, WRITE_TIMEOUT_MS, close_pool, open_pool
from api_gateway.projector import SERVICE, Projector
from api_gateway.stopping import until_stopped
from api_gateway.store import Store
from tocsin_common.runtime import Service, main
from tocsin_common.streams import PROJECTED

log = structlog.get_logger()

READ_CONNECTIONS = 8


async def serve(service: Service[Settings]) -> None:
    """Wire projector, read API and live stream; all run until the service stops."""
    section, metrics = service.settings.api_gateway, Metrics(service.registry)
    dsn = service.settings.postgres.url.get_secret_value()
    sock, url = listen(section.host, section.port)
    service.stack.callback(sock.close)
    reads = await open_pool(dsn, size=READ_CONNECTIONS, statement_timeout_ms=READ_TIMEOUT_MS)
    service.stack.push_async_callback(close_pool, reads)
    store, keyring, hub = Store(reads), Keyring(service.bus), Hub(service.bus, metrics)
    service.health.checks["postgres"] = store.problem
    projector = await _projector(service, dsn, metrics) if section.projector.enabled else None
    parts = Parts(
        store,
        service.bus,
        hub,
        keyring,
        metrics,
        service.health,
        lambda: projector.state if projector else "disabled",
        section.host,
    )
    service.spawn(hub.run(service.stop))
    service.spawn(keyring.follow(service.stop))
    await until_stopped(keyring.loaded.wait(), service.stop)  # nobody is answered before the keys are known
    service.spawn(serve_http(create_app(parts), sock, service.stop))
    log.info("listening", url=url, keys="required once one exists" if is_loopback(section.host) else "required")
    if keyring.empty and not is_loopback(section.host):
        log.warning("no API key exists, so every request is refused", remedy="tocsin keys create NAME")


async def _projector(service: Service[Settings], dsn: str, metrics: Metrics) -> Projector:
    pool = await open_pool(dsn, size=len(PROJECTED), statement_timeout_ms=WRITE_TIMEOUT_MS)
    service.stack.push_async_callback(close_pool, pool)
    batch = service.settings.api_gateway.projector.batch
    projector = Projector(service.bus, dsn, pool, metrics, service.bus_metrics, batch=batch)
    service.health.checks["projector"] = projector.problem
    service.spawn(projector.run(service.stop))
    return projector


def run() -> None:
    main(SERVICE, Settings, serve)


if __name__ == "__main__":
    run()

"""uvicorn inside our own lifecycle: our socket, our signals, our stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tocsin_common.errors import TocsinError

GRACEFUL_SHUTDOWN_S = 1
"""Live streams end by themselves when we stop; this is for requests in hand and clients that do not read."""

MAX_CONNECTIONS = 1_000
BACKLOG = 1_024


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave SIGTERM and SIGINT to the service runtime."""
        yield


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket and the URL it is reached at. Raises TocsinError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise TocsinError(
            f"the API cannot listen on {host} port {port} ({cause}): another program may use the port; "
            "choose another with api_gateway.port (0: any free one)."
        ) from error
    shown = f"[{host}]" if ":" in host else host
    return sock, f"http://{shown}:{sock.getsockname()[1]}"


async def serve(app: ASGIApp, sock: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish what is in hand for at most GRACEFUL_SHUTDOWN_S."""
    server = _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving

"""What one replica does at a time, for as long as it holds a lease; run it in every replica."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable

from tocsin_common.bus.consume import pause
from tocsin_common.bus.leases import Lease

Work = Callable[[asyncio.Event], Awaitable[None]]
"""Works until the event is set, then finishes what is in hand."""


def holder_name() -> bytes:
    """What a lease says of its holder: where it runs, and a part that makes it no other's."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}".encode()


async def while_held(lease: Lease, work: Work, stop: asyncio.Event) -> None:
    """Work whenever the lease is ours, until `stop` is set; the lease is given back when the work is finished.

    Work is cancelled when the lease is lost, and begun anew when it is ours again, also after work that ended by
    itself. Raises what the work raises.
    """
    while not stop.is_set():
        if await lease.acquire():
            await _work(lease, work, stop)
            await lease.release()
        await pause(stop, lease.renew_every_s)


async def _work(lease: Lease, work: Work, stop: asyncio.Event) -> None:
    working = asyncio.ensure_future(work(stop))
    try:
        while not working.done() and await lease.renew():
            await asyncio.wait((working,), timeout=lease.renew_every_s)
        if working.done():
            working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

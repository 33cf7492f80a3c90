"""Python's garbage collection, kept short.

Importing ccxt alone leaves 170,000 objects that stay. A full pass looks at each of them, and for 0.1..0.2 s
nothing is received or stored; under load there were forty of them a minute. What is there is set aside from the passes,
which costs nothing, and only now and then a full pass finds what has become garbage among it.
"""

from __future__ import annotations

import asyncio
import gc

FIRST_S, RARELY_S = 2.0, 900.0
"""Often while exchanges are opened and markets loaded, then ever more rarely down to this, with a full pass."""


async def collect_rarely(first_s: float = FIRST_S) -> None:
    """Until cancelled."""
    pause_s = first_s
    try:
        while True:
            await asyncio.sleep(pause_s)
            if pause_s == RARELY_S:
                gc.unfreeze()
                gc.collect()
            gc.freeze()
            pause_s = min(max(FIRST_S, 2 * pause_s), RARELY_S)
    finally:
        gc.unfreeze()

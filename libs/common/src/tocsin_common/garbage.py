"""Python's garbage collection, kept short.

Importing ccxt alone leaves 170,000 objects that stay, and the windows of 10,000 series as many. A full pass looks at
each of them, and for 0.1..0.2 s a service does nothing else; under load there were forty of them a minute. What is
there is set aside from the passes, which costs nothing, and only now and then a full pass finds what has become garbage
among it.
"""

from __future__ import annotations

import asyncio
import gc

from tocsin_common.bus.consume import pause

FIRST_S, RARELY_S = 2.0, 900.0
"""Often in the beginning, while a service fills its memory, then ever more rarely down to this, with a full pass."""


async def collect_rarely(stop: asyncio.Event, first_s: float = FIRST_S) -> None:
    """Until `stop`."""
    pause_s = first_s
    gc.collect()
    gc.freeze()
    try:
        while not await pause(stop, pause_s):
            if pause_s == RARELY_S:
                gc.unfreeze()
                gc.collect()
            gc.freeze()
            pause_s = min(max(FIRST_S, 2 * pause_s), RARELY_S)
    finally:
        gc.unfreeze()

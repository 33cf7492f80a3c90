"""Live ingest under load: 200 symbols lose nothing, and memory stays where it is.

`python -m bench soak` is the long one, at 5,000 trades a second, and looks at delays, too. Here other tests run on the
same processors, so that the exchange trades at a fifth of it.
"""

from __future__ import annotations

import os

from bench.soak import soak

SECONDS = int(os.environ.get("TOCSIN_SOAK_SECONDS", "60"))
TRADES_PER_S = 1_000
GROWTH = 1.15
"""Of memory after half the time: what the interpreter and its caches still take in the first minute is part of it."""


async def test_a_soak_loses_doubles_and_disorders_nothing_in_bounded_memory() -> None:
    soaked = await soak(SECONDS, trades_per_s=TRADES_PER_S)
    assert not soaked.problems
    assert not soaked.gaps["gap_unfilled"]
    assert soaked.trades
    assert soaked.memory_at_end < GROWTH * soaked.memory_at(SECONDS / 2)

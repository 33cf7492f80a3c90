"""Live ingest under load: 200 symbols at 5,000 trades a second lose nothing, and memory stays where it is.

`python -m bench soak` is the long one, and looks at delays, too.
"""

from __future__ import annotations

import os

from bench.soak import soak

SECONDS = int(os.environ.get("TOCSIN_SOAK_SECONDS", "60"))
GROWTH = 1.15
"""Of memory after half the time: what the interpreter and its caches still take in the first minute is part of it."""


async def test_a_soak_loses_doubles_and_disorders_nothing_in_bounded_memory() -> None:
    soaked = await soak(SECONDS)
    assert not soaked.problems
    assert not soaked.gaps["gap_unfilled"]
    assert soaked.trades
    assert soaked.memory_at_end < GROWTH * soaked.memory_at(SECONDS / 2)

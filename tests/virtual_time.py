"""An event loop in which waiting takes no time: whenever everybody waits, time jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

STARTED_MS = 1_723_161_480_000
"""2024-08-08 23:58 UTC, when virtual time is 0."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its time is virtual seconds since it was made. Nobody in it may wait for the world outside."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = selectors.DefaultSelector()
        select = selector.select

        def jump(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            events = select(0)
            if not events:
                assert timeout is not None, "everybody waits for nothing"
                self.now_s += timeout
            return events

        selector.select = jump  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def clock_ms() -> int:
    """The clock on the wall, in virtual time."""
    return STARTED_MS + int(asyncio.get_running_loop().time() * 1000)


def run(simulation: Coroutine[Any, Any, None], *, longest_s: float = 20_000.0) -> None:
    """Run it to its end, which must come within so many virtual seconds."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(asyncio.wait_for(simulation, longest_s))

"""What the machine itself does to a latency meanwhile: how long a little work takes, and a flush to disk.

A process of its own looks four times a second, which is seldom enough not to be a burden itself. On a shared machine
these tails can exceed the whole budget of what is measured beside them; a latency is read together with them. A flush
makes the file system write what others have not asked it to: it is looked at only where what is measured flushes, too.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bench.report import Figure

NAP_S = 0.25
WORK_S = 0.005
"""Processor time of the work: what handling a burst takes one service."""

BLOCK = b"\0" * 4096


@dataclass
class Stalls:
    """Milliseconds, filled when the watch ends: of each flush of 4 KiB, if any, and of each 5 ms of work."""

    flush_ms: list[float] = field(default_factory=list)
    work_ms: list[float] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        named = (("a flush of 4 KiB to disk", self.flush_ms), ("5 ms of work", self.work_ms))
        return [
            Figure(f"this machine meanwhile: {name}, p{p:g}", float(np.percentile(values, p)), "ms")
            for name, values in named
            for p in (50, 99)
            if values
        ]


@asynccontextmanager
async def watched_machine(folder: Path | None = None) -> AsyncIterator[Stalls]:
    """Watch the machine for as long as the block runs; flushes are of a file in `folder`."""
    stalls = Stalls()
    file = [] if folder is None else [str(folder / "flushed")]
    watcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.machine", *file), stdout=asyncio.subprocess.PIPE
    )
    assert watcher.stdout is not None
    lines = asyncio.create_task(watcher.stdout.read())
    try:
        yield stalls
    finally:
        watcher.terminate()
        for line in (await lines).decode().splitlines():
            work_ms, *flush_ms = map(float, line.split())
            stalls.work_ms.append(work_ms)
            stalls.flush_ms += flush_ms
        await watcher.wait()


def watch(file: Path | None) -> None:
    """Print one line per look, of one figure or two, until terminated."""
    descriptor = None if file is None else os.open(file, os.O_CREAT | os.O_WRONLY)
    while True:
        figures = [_took_ms(_work)]
        if descriptor is not None:
            figures.append(_took_ms(partial(_flush, descriptor)))
        print(*(f"{ms:.3f}" for ms in figures), flush=True)
        time.sleep(NAP_S)


def _work() -> None:
    until_s = time.thread_time() + WORK_S
    while time.thread_time() < until_s:
        pass


def _flush(descriptor: int) -> None:
    os.pwrite(descriptor, BLOCK, 0)
    os.fsync(descriptor)


def _took_ms(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    watch(Path(sys.argv[1]) if sys.argv[1:] else None)

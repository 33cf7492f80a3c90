"""What the machine itself does to a latency meanwhile: how long a flush to disk takes, and a little work.

A process of its own looks four times a second, which is seldom enough not to be a burden itself. On a shared machine
these tails can exceed the whole budget of what is measured beside them; a latency is read together with them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.report import Figure

NAP_S = 0.25
WORK_S = 0.005
"""Processor time of the work: what handling a burst takes one service."""

BLOCK = b"\0" * 4096


@dataclass
class Stalls:
    """Milliseconds, filled when the watch ends: of each flush of 4 KiB, and of each 5 ms of work."""

    flush_ms: list[float] = field(default_factory=list)
    work_ms: list[float] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        named = (("a flush of 4 KiB to disk", self.flush_ms), ("5 ms of work", self.work_ms))
        return [
            Figure(f"this machine meanwhile: {name}, p{p:g}", float(np.percentile(values, p)), "ms")
            for name, values in named
            for p in (50, 99)
        ]


@asynccontextmanager
async def watched_machine(folder: Path) -> AsyncIterator[Stalls]:
    """Watch the machine for as long as the block runs."""
    stalls = Stalls()
    watcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.machine", str(folder / "flushed")), stdout=asyncio.subprocess.PIPE
    )
    assert watcher.stdout is not None
    lines = asyncio.create_task(watcher.stdout.read())
    try:
        yield stalls
    finally:
        watcher.terminate()
        for line in (await lines).decode().splitlines():
            flush_ms, work_ms = map(float, line.split())
            stalls.flush_ms.append(flush_ms)
            stalls.work_ms.append(work_ms)
        await watcher.wait()


def watch(file: Path) -> None:
    """Print one line of two figures per look, until terminated."""
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    while True:
        started = time.perf_counter()
        os.pwrite(descriptor, BLOCK, 0)
        os.fsync(descriptor)
        flushed = time.perf_counter()
        work_until_s = time.thread_time() + WORK_S
        while time.thread_time() < work_until_s:
            pass
        worked = time.perf_counter()
        print(f"{(flushed - started) * 1000:.3f} {(worked - flushed) * 1000:.3f}", flush=True)
        time.sleep(NAP_S)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))

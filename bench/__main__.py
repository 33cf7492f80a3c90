"""`python -m bench [NAME ...]`: run the benchmarks and print every figure with its limit.

Exit code 1 when a limit is missed.
"""

from __future__ import annotations

import asyncio
import sys

from bench import fanout, ingest, latency, levels, picture, pipeline, projector, rounds, soak
from bench.report import Figure, console, print_table
from tocsin_common import logs

BENCHMARKS = {
    "pipeline": pipeline.measure,
    "ingest": ingest.measure,
    "projector": projector.measure,
    "rounds": rounds.measure,
    "picture": picture.measure,
    "levels": levels.measure,
    "fanout": fanout.measure,
    "latency": latency.measure,
    "soak": soak.measure,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        console.print(f"No benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}.")
        return 2
    logs.configure("bench", level="warning")
    figures: list[Figure] = []
    for name in names or list(BENCHMARKS):
        console.print(f"measuring: {name} ...")
        figures += asyncio.run(BENCHMARKS[name]())
    print_table(figures)
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

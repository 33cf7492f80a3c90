"""Closed candles become signals: every strategy is a set of Polars expressions, evaluated for all symbols at once."""

import os

# Polars reads this once, on import. Frames are small when live: more threads than this only cost hand-overs.
os.environ.setdefault("POLARS_MAX_THREADS", "2")

"""Exchanges, files and a simulator become trades and closed candles."""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "2")  # read once, when polars is imported: small frames want few threads

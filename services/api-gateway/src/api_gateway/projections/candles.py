"""CANDLES: columns straight into PostgreSQL's binary COPY format, without a Python object per row.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format". All rows of one message have the same
layout (only numbers differ), so a message is one numpy array of records.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from api_gateway.projections.writes import CandleCopy, Write, misplaced
from api_gateway.schema import CANDLES
from tocsin_common.errors import Rejected
from tocsin_common.events import AnyEvent, CandlesClosed

_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_NULL = -1
_INT4_MAX = 2**31 - 1
_PRICES = ("open", "high", "low", "close", "volume")


def project_candles(events: Sequence[AnyEvent]) -> list[Write]:
    """One COPY of all candles, in stream order."""
    blocks, rows = [_HEADER], 0
    for event in events:
        if not isinstance(event, CandlesClosed):
            raise misplaced(event)
        blocks.append(_block(event))
        rows += len(event.open_ms)
    blocks.append(_TRAILER)
    return [CandleCopy(b"".join(blocks), rows)]


def _block(event: CandlesClosed) -> bytes:
    texts = {name: getattr(event, name).encode() for name in ("exchange", "symbol", "timeframe", "origin")}
    layout = _layout(tuple((name, len(text)) for name, text in texts.items()), event.trades is not None)
    records = np.zeros(len(event.open_ms), dtype=layout)
    records["fields"] = len(CANDLES.columns)
    for name, text in texts.items():
        records[f"{name}_size"] = len(text)
        records[name] = np.void(text)
    for name in ("open_ms", *_PRICES):
        records[f"{name}_size"] = 8
    records["open_ms"] = _integers(event.open_ms, 2**63 - 1, "open_ms")
    for name in _PRICES:
        records[name] = getattr(event, name)
    records["trades_size"] = _NULL if event.trades is None else 4
    if event.trades is not None:
        records["trades"] = _integers(event.trades, _INT4_MAX, "trades")
    records["revision_size"] = 4
    records["revision"] = _integers([event.revision], _INT4_MAX, "revision")[0]
    return records.tobytes()


def _integers(values: list[int], largest: int, name: str) -> NDArray[np.int64]:
    if min(values) < 0 or max(values) > largest:
        raise Rejected("not_storable", f"{name} outside 0..{largest}")
    return np.array(values, dtype=np.int64)


@lru_cache(maxsize=1024)
def _layout(texts: tuple[tuple[str, int], ...], with_trades: bool) -> np.dtype[np.void]:
    """The record of one row: every field behind its size in bytes, in the order of the table's columns."""
    sizes = dict(texts)
    kinds = {"int8": ">i8", "int4": ">i4", "float8": ">f8"}
    record: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in CANDLES.columns.items():
        record.append((f"{name}_size", ">i4"))
        if kind == "text":
            record.append((name, f"V{sizes[name]}"))
        elif name != "trades" or with_trades:
            record.append((name, kinds[kind]))
    return np.dtype(record)

"""A snapshot: the whole simulation and where on the streams it stands, exact to the last decimal."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from paper_trader.turn import State
from tocsin_trading.prices import Floats, Ints

VERSION = 1
"""Raised when the format changes: an older snapshot is then refused instead of misread."""

_COMPRESSION = 1
"""zlib's fastest level: a snapshot is written every few seconds and read once."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The sequences of the market data that came before a clock; data after them is late if older than `limit_ms`."""

    trades_seq: int
    candles_seq: int
    limit_ms: int


@dataclass(slots=True)
class Positions:
    """Last sequences: read of the inputs (`clock_read_seq`: of all clocks, `clock_seq`: of the mark advanced to), and
    stored of the outputs. `floors` are the clocks that data still to come may be late for."""

    clock_seq: int = 0
    clock_read_seq: int = 0
    trades_seq: int = 0
    candles_seq: int = 0
    signals_seq: int = 0
    outcomes_seq: int = 0
    paper_seq: int = 0
    floors: list[Floor] = field(default_factory=list)


@dataclass(slots=True)
class Snapshot:
    """`streams` are the identities of the streams the positions belong to, by name."""

    positions: Positions
    streams: dict[str, str]
    state: State
    version: int = VERSION


def encode(snapshot: Snapshot) -> bytes:
    """Serialise a snapshot taken between two slices."""
    return zlib.compress(msgspec.msgpack.encode(snapshot, enc_hook=_to_list), _COMPRESSION)


def decode(data: bytes) -> Snapshot:
    """Read a snapshot back. Raises ValueError when it is damaged or of another version."""
    try:
        snapshot = msgspec.msgpack.decode(zlib.decompress(data), type=Snapshot, dec_hook=_to_array)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"not a snapshot of the paper-trader: {error}") from error
    if snapshot.version != VERSION:
        raise ValueError(f"the snapshot has version {snapshot.version}, this program reads {VERSION}")
    return snapshot


def _to_list(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"a snapshot cannot hold {type(value)}")


def _to_array(kind: type, value: object) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    if kind == Ints:
        return np.array(value, dtype=np.int64)
    if kind == Floats:
        return np.array(value, dtype=np.float64)
    raise NotImplementedError(f"a snapshot cannot hold {kind}")

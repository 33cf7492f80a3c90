"""What was recorded: bodies of REST answers and text frames of WebSockets, as the exchange sent them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

_COMBINED = re.compile(r'\{"stream":"[^"]+","data":(.*)\}\s*', re.DOTALL)


@dataclass(frozen=True)
class Recording:
    """One recorded session. Addresses are without scheme and query: `ws.okx.com:8443/ws/v5/public`."""

    bodies: dict[str, str]
    """REST bodies by the URL they were asked for, the first where it was asked for several times."""
    frames: dict[str, list[str]]
    """Text frames by the address of their connection, in the order they came."""


def read(path: Path) -> Recording:
    """A recording of `frames/exchanges`: one JSON object per line, told apart by `t`."""
    bodies: dict[str, str] = {}
    frames: dict[str, list[str]] = {}
    addresses: dict[str, str] = {}
    for line in pl.read_lines(path).to_series():
        row: dict[str, Any] = msgspec.json.decode(line)
        if row["t"] == "http":
            bodies.setdefault(row["url"], row["data"])
        elif row["t"] == "connect":
            addresses[row["conn"]] = row["addr"].partition("://")[2].partition("?")[0]
        elif row["t"] == "recv":
            frames.setdefault(addresses[row["conn"]], []).append(row["data"])
    return Recording(bodies, frames)


@dataclass(frozen=True)
class Received:
    """A frame of `frames/binance`, and when the recorder's clock said it came."""

    received_ns: int
    text: str


def read_binance(path: Path) -> list[Received]:
    """A session of `frames/binance`, without the REST depth snapshot among its lines."""
    lines = (line.partition(" ") for line in pl.read_lines(path).to_series())
    return [Received(int(ns), text) for ns, _, text in lines if _COMBINED.fullmatch(text)]


def payload(frame: str) -> str:
    """The event in a frame of a combined stream, byte for byte: what the same stream sends on `/ws`."""
    match = _COMBINED.fullmatch(frame)
    assert match is not None, frame[:100]
    return match[1]

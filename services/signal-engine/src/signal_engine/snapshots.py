"""Windows kept in the bucket `snapshots`, so that a restart reads minutes of candles and not months.

A snapshot is only a shortcut: without one, or with one that does not fit, the engine warms up on the stream itself.
Two slots are written in turn, in parts; the manifest, written last, says which slot is whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
import structlog

from signal_engine.windows import BLOCK_CANDLES, KEPT_CANDLES, PRICES, Candles, Series
from tocsin_common.bus.protocol import KeyValue
from tocsin_common.subjects import encode_token

log = structlog.get_logger()

LAYOUT = [2, BLOCK_CANDLES, KEPT_CANDLES]
"""What a reader must agree on: the version of the format, and what windows keep beside their warm-up."""

PART_ROWS = 20_000
"""Rows in one part, of 48 bytes each, unless one window alone has more: 1 MB."""


class _StoredWindow(msgspec.Struct, frozen=True, array_like=True):
    series: Series
    opens: bytes
    values: bytes


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    layout: list[int]
    identity: str
    timeframes: list[str]
    warm_up_candles: int
    candles_seq: int
    slot: Literal["a", "b"]
    parts: int


class Snapshots:
    """Saves and loads the windows of one engine: those of `timeframes`, fed from the stream with this `identity`.

    A snapshot fits when its windows reach back as far as `warm_up_candles`, or farther.
    """

    def __init__(self, bucket: KeyValue, *, identity: str, timeframes: Iterable[str], warm_up_candles: int) -> None:
        self._bucket = bucket
        self._identity = identity
        self._timeframes = sorted(timeframes)
        self._warm_up_candles = warm_up_candles
        self._slot: Literal["a", "b"] = "a"

    async def save(self, windows: Sequence[tuple[Series, Candles]], *, candles_seq: int) -> None:
        """Store the windows as they are after the candles up to `candles_seq`. Raises Unreachable."""
        slot: Literal["a", "b"] = "b" if self._slot == "a" else "a"
        parts = list(_packed(windows))
        for number, part in enumerate(parts):
            await self._bucket.put(_key(slot, number), part)
        manifest = _Manifest(
            layout=LAYOUT,
            identity=self._identity,
            timeframes=self._timeframes,
            warm_up_candles=self._warm_up_candles,
            candles_seq=candles_seq,
            slot=slot,
            parts=len(parts),
        )
        await self._bucket.put(_key("manifest"), msgspec.msgpack.encode(manifest))
        self._slot = slot

    async def load(self, *, at_most: int) -> tuple[int, list[tuple[Series, Candles]]] | None:
        """The last snapshot and the sequence it stands at; None when it stands after `at_most` or does not fit."""
        try:
            manifest = msgspec.msgpack.decode(await self._read(_key("manifest")), type=_Manifest)
            self._slot = manifest.slot
            here = (manifest.layout, manifest.identity, manifest.timeframes)
            reaches = manifest.warm_up_candles >= self._warm_up_candles and manifest.candles_seq <= at_most
            if here != (LAYOUT, self._identity, self._timeframes) or not reaches:
                return None
            windows = []
            for number in range(manifest.parts):
                windows += _unpacked(await self._read(_key(manifest.slot, number)))
        except (LookupError, ValueError) as error:
            log.info("no snapshot, warming up on the stream", reason=str(error))
            return None
        return manifest.candles_seq, windows

    async def _read(self, key: str) -> bytes:
        entry = await self._bucket.get(key)
        if entry is None or entry.value is None:
            raise LookupError(f"{key} is not there")
        return entry.value


def _key(*parts: str | int) -> str:
    return encode_token("/".join(str(part) for part in ("signal-engine", *parts)))


def _packed(windows: Sequence[tuple[Series, Candles]]) -> Iterator[bytes]:
    part: list[_StoredWindow] = []
    rows = 0
    for series, candles in windows:
        if part and rows + len(candles.opens) > PART_ROWS:
            yield msgspec.msgpack.encode(part)
            part, rows = [], 0
        part.append(_StoredWindow(series, candles.opens.tobytes(), candles.values.tobytes()))
        rows += len(candles.opens)
    if part:
        yield msgspec.msgpack.encode(part)


def _unpacked(part: bytes) -> list[tuple[Series, Candles]]:
    windows = []
    for stored in msgspec.msgpack.decode(part, type=list[_StoredWindow]):
        values = np.frombuffer(stored.values, np.float64).reshape(len(PRICES), -1)
        windows.append((stored.series, Candles(np.frombuffer(stored.opens, np.int64), values)))
    return windows

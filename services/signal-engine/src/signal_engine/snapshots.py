"""Windows kept in the bucket `snapshots`, so that a restart reads minutes of candles and not months.

Each partition has its own, saved by whoever owns it, because the next owner may be somebody else. A snapshot is only a
shortcut: without one, or with one that does not fit, the engine warms up on the stream itself.

Two slots are written in turn, in parts, and last the manifest that says what belongs together: parts of another stamp
were written by somebody who was interrupted, or whose time was over. The older slot is there for a new owner that must
begin before the newer one, because the last mark does not cover it yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
import structlog

from signal_engine.window import BLOCK_CANDLES, KEPT_CANDLES, PRICES, Candles, Series
from tocsin_common.bus.protocol import KeyValue
from tocsin_common.subjects import encode_token

log = structlog.get_logger()

LAYOUT = [3, BLOCK_CANDLES, KEPT_CANDLES]
"""What a reader must agree on: the version of the format, and what windows keep beside their warm-up."""

PART_ROWS = 20_000
"""Rows in one part, of 48 bytes each, unless one window alone has more: 1 MB."""

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")


class _StoredWindow(msgspec.Struct, frozen=True, array_like=True):
    series: Series
    opens: bytes
    values: bytes


class _Part(msgspec.Struct, frozen=True, array_like=True):
    stamp: str
    windows: list[_StoredWindow]


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    layout: list[int]
    identity: str
    timeframes: list[str]
    warm_up_candles: int
    candles_seq: int
    stamp: str
    parts: int


class Snapshots:
    """Saves and loads the windows of one engine: those of `timeframes`, fed from the stream with this `identity`.

    A snapshot fits when its windows reach back as far as `warm_up_candles`, or farther. No two at the same time may be
    the same `writer`.
    """

    def __init__(
        self, bucket: KeyValue, *, identity: str, timeframes: Iterable[str], warm_up_candles: int, writer: str
    ) -> None:
        self._bucket = bucket
        self._identity = identity
        self._timeframes = sorted(timeframes)
        self._warm_up_candles = warm_up_candles
        self._writer = writer

    async def save(self, partition: int, windows: Sequence[tuple[Series, Candles]], *, candles_seq: int) -> None:
        """Store the windows of a partition as they are after the candles up to `candles_seq`. Raises Unreachable."""
        there = dict(await self._manifests(partition))
        slot = min(SLOTS, key=lambda slot: there[slot].candles_seq if slot in there else -1)
        stamp = f"{self._writer} {candles_seq}"
        parts = list(_packed(windows, stamp))
        for number, part in enumerate(parts):
            await self._bucket.put(_key(partition, slot, number), part)
        manifest = _Manifest(
            layout=LAYOUT,
            identity=self._identity,
            timeframes=self._timeframes,
            warm_up_candles=self._warm_up_candles,
            candles_seq=candles_seq,
            stamp=stamp,
            parts=len(parts),
        )
        await self._bucket.put(_key(partition, slot, "manifest"), msgspec.msgpack.encode(manifest))

    async def load(self, partition: int, *, at_most: int) -> tuple[int, list[tuple[Series, Candles]]] | None:
        """The newest snapshot of a partition that stands at `at_most` or before, with the sequence it stands at.

        None when no such one fits and is whole.
        """
        found = [(slot, manifest) for slot, manifest in await self._manifests(partition) if self._fits(manifest)]
        for slot, manifest in sorted(found, key=lambda one: -one[1].candles_seq):
            if manifest.candles_seq <= at_most:
                try:
                    return manifest.candles_seq, await self._windows(partition, slot, manifest)
                except (LookupError, ValueError) as error:
                    log.info("a snapshot is not whole", partition=partition, reason=str(error))
        return None

    def _fits(self, manifest: _Manifest) -> bool:
        here = (manifest.layout, manifest.identity, manifest.timeframes)
        return here == (LAYOUT, self._identity, self._timeframes) and manifest.warm_up_candles >= self._warm_up_candles

    async def _manifests(self, partition: int) -> list[tuple[Slot, _Manifest]]:
        """What is in the slots, as far as it can be read."""
        entries = await asyncio.gather(*(self._bucket.get(_key(partition, slot, "manifest")) for slot in SLOTS))
        found = []
        for slot, entry in zip(SLOTS, entries, strict=True):
            try:
                found.append((slot, msgspec.msgpack.decode((entry.value if entry else None) or b"", type=_Manifest)))
            except msgspec.DecodeError:
                continue
        return found

    async def _windows(self, partition: int, slot: Slot, manifest: _Manifest) -> list[tuple[Series, Candles]]:
        """Raises LookupError or ValueError when they are not whole."""
        windows = []
        for number in range(manifest.parts):
            entry = await self._bucket.get(_key(partition, slot, number))
            part = msgspec.msgpack.decode((entry.value if entry else None) or b"", type=_Part)
            if part.stamp != manifest.stamp:
                raise LookupError(f"part {number} is of {part.stamp!r}, not of {manifest.stamp!r}")
            windows += _unpacked(part)
        return windows


def _key(*parts: str | int) -> str:
    return encode_token("/".join(str(part) for part in ("signal-engine", *parts)))


def _packed(windows: Sequence[tuple[Series, Candles]], stamp: str) -> Iterator[bytes]:
    part: list[_StoredWindow] = []
    rows = 0
    for series, candles in windows:
        if part and rows + len(candles.opens) > PART_ROWS:
            yield msgspec.msgpack.encode(_Part(stamp, part))
            part, rows = [], 0
        part.append(_StoredWindow(series, candles.opens.tobytes(), candles.values.tobytes()))
        rows += len(candles.opens)
    if part:
        yield msgspec.msgpack.encode(_Part(stamp, part))


def _unpacked(part: _Part) -> list[tuple[Series, Candles]]:
    windows = []
    for stored in part.windows:
        values = np.frombuffer(stored.values, np.float64).reshape(len(PRICES), -1)
        windows.append((stored.series, Candles(np.frombuffer(stored.opens, np.int64), values)))
    return windows

"""Where snapshots are kept: the bucket `snapshots`, in chunks below the server's payload limit.

The chunks of a snapshot are written first, the head that names them last; two sets of chunks take turns, so that the
head always names a complete snapshot.
"""

from __future__ import annotations

import msgspec

from paper_trader.snapshot import Snapshot, decode, encode
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import TocsinError
from tocsin_common.streams import SNAPSHOTS

KEY = "paper-trader"
CHUNK_BYTES = 1024 * 1024


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Which chunks make up the last complete snapshot."""

    turn: int
    chunks: int
    size: int


class SnapshotStore:
    """Keeps one snapshot, the last."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.bucket(SNAPSHOTS)
        self._turn = 0

    async def load(self) -> Snapshot | None:
        """The last snapshot, None before the first. Raises TocsinError when it cannot be read."""
        entry = await self._bucket.get(KEY)
        if entry is None or entry.value is None:
            return None
        try:
            head = msgspec.json.decode(entry.value, type=Head)
            self._turn = head.turn
            data = b"".join([await self._chunk(head.turn, number) for number in range(head.chunks)])
            if len(data) != head.size:
                raise ValueError(f"{len(data)} bytes of {head.size} are there")
            return decode(data)
        except (ValueError, msgspec.DecodeError) as error:
            raise TocsinError(
                f"The key {KEY!r} of the bucket {SNAPSHOTS.name!r} cannot be read ({error}). Delete the key: "
                "the paper-trader then works through the streams again and stores nothing twice."
            ) from error

    async def save(self, snapshot: Snapshot) -> int:
        """Store a snapshot; returns its size in bytes."""
        data = encode(snapshot)
        turn = 1 - self._turn
        chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        for number, chunk in enumerate(chunks):
            await self._bucket.put(_chunk_key(turn, number), chunk)
        await self._bucket.put(KEY, msgspec.json.encode(Head(turn=turn, chunks=len(chunks), size=len(data))))
        self._turn = turn
        return len(data)

    async def _chunk(self, turn: int, number: int) -> bytes:
        entry = await self._bucket.get(_chunk_key(turn, number))
        if entry is None or entry.value is None:
            raise ValueError(f"chunk {number} is missing")
        return entry.value


def _chunk_key(turn: int, number: int) -> str:
    return f"{KEY}-{turn}-{number}"

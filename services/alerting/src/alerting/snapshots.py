"""What an intake remembers, as it is kept in a bucket."""

from __future__ import annotations

import msgspec
import structlog

from alerting.matching.watch import Memory
from tocsin_common.bus.protocol import Bus
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed
from tocsin_common.streams import MAX_MESSAGE_BYTES, SNAPSHOTS

log = structlog.get_logger()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What an intake remembers after its stream's sequence `seq`; identities tell when a stream was made anew."""

    stream: str
    seq: int
    alerts_stream: str
    alerts_seq: int
    memory: Memory


class Snapshots:
    """The snapshot of one intake, under its durable's name."""

    def __init__(self, bus: Bus, key: str) -> None:
        self._bucket = bus.bucket(SNAPSHOTS)
        self._key = key

    async def load(self) -> Snapshot | None:
        """The last one; None where there is none that can be read."""
        entry = await self._bucket.get(self._key)
        if entry is None or entry.value is None:
            return None
        try:
            return decode(entry.value, Snapshot)
        except Malformed as error:
            log.warning("snapshot ignored, what was seen is forgotten", key=self._key, problem=str(error))
            return None

    async def save(self, snapshot: Snapshot) -> None:
        """Replace the last one. One that is too large is not written: a restart then goes back further."""
        value = msgspec.json.encode(snapshot)
        if len(value) > MAX_MESSAGE_BYTES:
            log.error("snapshot too large, the one before stays", key=self._key, bytes=len(value))
            return
        await self._bucket.put(self._key, value)

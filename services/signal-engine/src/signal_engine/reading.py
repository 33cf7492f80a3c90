"""Candles of the next mark on their way while those of this one are looked at."""

from __future__ import annotations

import asyncio

from tocsin_common.bus.protocol import Reader, Received

SENT_S = 0.002
"""What a request takes to leave, with some of its answer; the rest waits in the socket."""


class ReadAhead:
    """A `Reader` that is told what will be wanted next. Close it: what is on its way is not waited for then."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._coming: asyncio.Task[list[Received]] | None = None
        self._coming_seq = 0

    async def through(self, seq: int, following: int = 0) -> list[Received]:
        """See `Reader.through`; those up to `following` are asked for before this returns. When it fails nothing was
        read: ask for the same again."""
        found = await self._came(seq)
        if following > seq and self._coming is None:
            self._coming, self._coming_seq = asyncio.create_task(self._reader.through(following)), following
            await asyncio.sleep(SENT_S)
        return found

    async def _came(self, seq: int) -> list[Received]:
        if self._coming is None:
            return await self._reader.through(seq)
        if seq < self._coming_seq:
            return []  # read before: only then what comes after it was asked for
        coming, self._coming = self._coming, None
        found = await coming
        return found + await self._reader.through(seq) if seq > self._coming_seq else found

    async def close(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)
        await self._reader.close()

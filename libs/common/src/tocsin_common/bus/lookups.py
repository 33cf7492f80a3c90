"""The last messages of many subjects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from itertools import islice
from typing import TypeVar

from tocsin_common.bus.protocol import Bus, Received
from tocsin_common.streams import Stream

AT_A_TIME = 64
"""Looks on their way at once, and messages held at once."""

K = TypeVar("K")


async def last_of(bus: Bus, stream: Stream, subjects: Mapping[K, str]) -> AsyncIterator[tuple[K, Received | None]]:
    """For each key the last message on its subject, in order; None where there is none. Raises Unreachable."""
    asked = iter(subjects.items())
    while part := list(islice(asked, AT_A_TIME)):
        found = await asyncio.gather(*(bus.last(stream, subject) for _, subject in part))
        for (key, _), message in zip(part, found, strict=True):
            yield key, message

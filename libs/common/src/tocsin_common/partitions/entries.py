"""What replicas say of themselves in buckets, read so that garbage there stops nobody."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import structlog

from tocsin_common.bus.protocol import Entry
from tocsin_common.decoding import decode
from tocsin_common.errors import Malformed

log = structlog.get_logger()

T = TypeVar("T")


def said(entry: Entry, kind: type[T]) -> T | None:
    """The value of an entry, or None where there is none, or none of that kind: then a warning says so once."""
    if not entry.value:
        return None
    try:
        return decode(entry.value, kind)
    except Malformed as error:
        _warn(entry.key, entry.revision, str(error))
        return None


@lru_cache(maxsize=1024)
def _warn(key: str, revision: int, error: str) -> None:
    log.warning("passed over what no replica writes; delete the key", key=key, revision=revision, error=error)

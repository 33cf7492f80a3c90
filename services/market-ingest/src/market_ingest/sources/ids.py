"""Trade ids of files: as numbers where all of them are, so that none becomes an object until it is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from market_ingest.columns import Ints
from market_ingest.packed import PackedIds
from market_ingest.sources.order import Keys, narrow

Ids = Ints | pl.Series
"""Plain decimal numbers, or texts."""

_LEAST = np.array([0, 0, *(10**digits for digits in range(1, 19))])
"""The least number that needs so many digits: what was parsed from as many bytes and is less has a sign or zeros."""


class Names(Sequence[str | None]):
    """Ids that stay columns until a chunk takes its part of them."""

    def __init__(self, series: pl.Series) -> None:
        self.series = series

    def __len__(self) -> int:
        return len(self.series)

    @overload
    def __getitem__(self, at: int) -> str | None: ...
    @overload
    def __getitem__(self, at: slice) -> list[str | None]: ...
    def __getitem__(self, at: int | slice) -> str | list[str | None] | None:
        found: str | list[str | None] | None = self.series[at].to_list() if isinstance(at, slice) else self.series[at]
        return found


def plain_numbers(trade_id: pl.Series) -> Ints | None:
    """The ids as numbers, if every one of them is written as its number is."""
    parsed = trade_id.cast(pl.Int64, strict=False)
    if parsed.null_count():
        return None
    numbers: Ints = parsed.to_numpy()
    digits = trade_id.str.len_bytes().to_numpy()
    longest = int(digits.max(initial=0))
    if longest >= len(_LEAST):
        return None
    equally_long = len(numbers) and numbers.min() >= _LEAST[longest]  # mostly: no need to look at each one's length
    return numbers if equally_long or bool((numbers >= _LEAST[digits]).all()) else None


def join_ids(parts: Sequence[Ids]) -> Ids:
    """Put ids one behind the other: as numbers if all parts are."""
    numbers = [part for part in parts if isinstance(part, np.ndarray)]
    if len(numbers) == len(parts):
        return np.concatenate(numbers)
    texts = (pl.Series(part).cast(pl.String) if isinstance(part, np.ndarray) else part for part in parts)
    return pl.concat([text.alias("trade_id") for text in texts])


def in_order(ids: Ids, rows: NDArray[np.integer] | None) -> Sequence[str | None]:
    """The ids of the given rows (None: of all, as they are), as a column of `Trades`."""
    if isinstance(ids, np.ndarray):
        return PackedIds(ids if rows is None else ids[rows])
    return Names(ids if rows is None else ids.gather(rows))


def rising(instrument: Keys, numbers: Ints) -> bool:
    """Whether ids only rise within each instrument: then no trade is there twice."""
    if not (instrument[1:] >= instrument[:-1]).all():
        order = np.argsort(narrow(instrument), kind="stable")
        instrument, numbers = instrument[order], numbers[order]
    return bool(((numbers[1:] > numbers[:-1]) | (instrument[1:] > instrument[:-1])).all())

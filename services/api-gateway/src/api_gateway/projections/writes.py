"""What a projection asks to be written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from api_gateway.schema import CANDLES, POSITIONS, Table
from tocsin_common.errors import Rejected
from tocsin_common.events import AnyEvent

Row = tuple[Any, ...]
"""Values in the order of the table's columns; JSONB as text."""

_encoder = msgspec.json.Encoder(decimal_format="string")


@dataclass(frozen=True, slots=True)
class Upsert:
    """Rows of one table, each key once."""

    table: Table
    rows: list[Row]

    @classmethod
    def of(cls, table: Table, rows: Iterable[Row]) -> Upsert:
        """Keep the last row of each key, with the first one's `kept` columns: what writing them in turn would leave."""
        names = list(table.columns)
        kept = [names.index(name) for name in table.kept]
        found: dict[Row, Row] = {}
        for row in rows:
            key = tuple(row[position] for position in table.key_positions)
            earlier = found.get(key)
            found[key] = _keeping(earlier, row, kept) if earlier and kept else row
        return cls(table, list(found.values()))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class CandleCopy:
    """`rows` candles in PostgreSQL's binary COPY format."""

    data: bytes
    rows: int

    @property
    def table(self) -> Table:
        return CANDLES

    def __len__(self) -> int:
        return self.rows


@dataclass(frozen=True, slots=True)
class PositionRefresh:
    """Positions whose fills changed: (portfolio, position id), each once."""

    keys: list[tuple[str, str]]

    @property
    def table(self) -> Table:
        return POSITIONS

    def __len__(self) -> int:
        return len(self.keys)


Write = Upsert | CandleCopy | PositionRefresh
"""Each has the `table` it goes to and a length: how many rows it writes."""


def json_text(value: Any) -> str:
    """JSON for a JSONB column; decimals as strings."""
    return _encoder.encode(value).decode()


def misplaced(event: AnyEvent) -> Rejected:
    """The error for an event on a stream where its type has no place."""
    return Rejected("unexpected_event", f"{type(event).__name__} does not belong on this stream")


def _keeping(earlier: Row, row: Row, kept: list[int]) -> Row:
    return tuple(earlier[i] if i in kept else value for i, value in enumerate(row))

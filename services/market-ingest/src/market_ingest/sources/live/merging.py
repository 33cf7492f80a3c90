"""Rows that came live and rows that were fetched, put into one order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, itemgetter

from market_ingest.sources.live.rows import Row


def merged_by_order(fetched: Sequence[Row], held: Sequence[Row]) -> list[Row]:
    """Every row once: as it came live, where it did. Ids give the order."""
    known, alone = _once(fetched, held)
    return sorted([*known, *alone], key=attrgetter("order"))


def merged_by_time(fetched: Sequence[Row], held: Sequence[Row], arrived: Sequence[Row]) -> list[Row]:
    """Every row once: as it came live, where it did. Time gives the order, and within one time the order in which REST
    has them, or in which they `arrived`: that has also the rows that could not be used, and so are not held."""
    known, alone = _once(fetched, held)
    places = _places(known, sorted(arrived, key=attrgetter("order")))
    ranked = [(row.order, float(at), row) for at, row in enumerate(known)]
    ranked += [(row.order, places.get(row.trade_id, -1.0), row) for row in alone]
    return [row for *_, row in sorted(ranked, key=itemgetter(0, 1))]


def _once(fetched: Sequence[Row], held: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """What REST knows, and what only came live."""
    live = {row.trade_id: row for row in held}
    known = _without_parts([live.get(row.trade_id, row) for row in fetched])
    names = {row.trade_id for row in known}
    return known, [row for row in held if row.trade_id not in names]


def _places(fetched: Sequence[Row], arrived: Sequence[Row]) -> dict[str | None, float]:
    """Where rows that arrived belong among fetched ones of the same time: after the one they followed; before all, if
    such a one came only later or REST knows later times; after all, if it knows none of them yet."""
    at = {row.trade_id: place for place, row in enumerate(fetched)}
    before_all, after_all = -1.0, float(len(fetched))
    newest = fetched[-1].order if fetched else 0
    last_known = max((place for place, row in enumerate(arrived) if row.trade_id in at), default=-1)
    place: float | None = None
    places: dict[str | None, float] = {}
    for number, row in enumerate(arrived):
        if row.trade_id in at:
            place = at[row.trade_id] + 0.5
        unknown = before_all if number < last_known or row.order < newest else after_all
        places[row.trade_id] = unknown if place is None else place
    return places


def _without_parts(rows: Sequence[Row]) -> list[Row]:
    """Leave out the single trades that a later row, which stands for several, contains."""
    kept: list[Row] = []
    for row in rows:
        if row.parts > 1:
            del kept[max(0, len(kept) - row.parts + 1) :]
        kept.append(row)
    return kept

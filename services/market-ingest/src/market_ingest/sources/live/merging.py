"""Rows that came live and rows that were fetched, put into one order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from market_ingest.sources.live.rows import Row


def merged(fetched: Sequence[Row], held: Sequence[Row], *, by_order: bool) -> list[Row]:
    """Every row once: as it came live, where it did. `by_order`: ids give the order; otherwise time does, and within
    one time the order in which REST has them, or in which they arrived."""
    live = {row.trade_id: row for row in held}
    known = _without_parts([live.get(row.trade_id, row) for row in fetched])
    names = {row.trade_id for row in known}
    alone = [row for row in held if row.trade_id not in names]
    if by_order:
        return sorted([*known, *alone], key=lambda row: row.order)
    places = _places(known, held)
    ranked = [(row.order, float(at), row) for at, row in enumerate(known)]
    ranked += [(row.order, places[row.trade_id], row) for row in alone]
    return [row for *_, row in sorted(ranked, key=itemgetter(0, 1))]


def _places(fetched: Sequence[Row], held: Sequence[Row]) -> dict[str | None, float]:
    """Where held rows belong among fetched ones of the same time: after the one they followed when they arrived; before
    all, if such a one came only later or REST knows later times; after all, if it knows none of them yet."""
    at = {row.trade_id: place for place, row in enumerate(fetched)}
    before_all, after_all = -1.0, float(len(fetched))
    newest = fetched[-1].order if fetched else 0
    known = any(row.trade_id in at for row in held)
    place: float | None = None
    places: dict[str | None, float] = {}
    for row in held:
        if row.trade_id in at:
            place = at[row.trade_id] + 0.5
        unknown = before_all if known or row.order < newest else after_all
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

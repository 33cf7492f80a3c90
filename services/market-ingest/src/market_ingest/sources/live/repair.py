"""The unbroken line of an instrument's trades. Pure: live rows and fetched rows in, rows in order and holes out.

- While the line is whole, live rows go straight through, in the order of their ids (of their times where ids have no
  order); repetitions are dropped by id.
- It breaks when its connection is lost, when a frame could not be read, when a consecutive id is missing. From then on
  live rows are held.
- It is mended by evidence only: the missing ids came; or REST gave everything between the last row released and the
  first one held. What REST gives is released in order, before the held rows.
- What REST cannot give is a hole: it is reported with the rows on both its sides, and the line goes on after it.

The result does not depend on how live rows are batched nor on how REST is paged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

from market_ingest.sources.live.merging import merged_by_order, merged_by_time
from market_ingest.sources.live.rows import Row
from market_ingest.sources.live.venues import Ids

MAX_IDS = 20_000
"""Newest ids remembered of an instrument: far more than an exchange repeats after a reconnect."""

MAX_HELD = 50_000
"""Live rows that wait for a repair; with more of them the hole is reported and the line goes on."""

GAP, REFUSED, OUT_OF_ORDER = "gap", "refused", "out_of_order"


class Position(NamedTuple):
    """Where a line stands: the last row released."""

    order: int
    ts_ms: int
    trade_id: str | None


class Hole(NamedTuple):
    """Trades between two rows (both exclusive) are lost."""

    before: Position
    after: Position


@dataclass(slots=True)
class Released:
    """What came out: stretches of rows and the holes between them, in order; `fetched` rows came only over REST.

    `late` rows came after later ones where ids may skip numbers: to release them would break the order.
    """

    pieces: list[list[Row] | Hole] = field(default_factory=list)
    duplicates: int = 0
    fetched: int = 0
    refused: list[Row] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)


class Continuity:
    """The line of one instrument. `last` None: nothing is known yet, so nothing can be missing."""

    def __init__(self, ids: Ids, last: Position | None = None, known: Iterable[str] = ()) -> None:
        self.last = last
        self.broken: str | None = None
        self.held: list[Row] = []
        self.interruptions = 0
        self._ids = ids
        self._arrived: list[Row] = []
        self._starts: set[str | None] = set()
        self._starting = False
        self._lost_through: int | None = None
        self._seen: dict[str, None] = dict.fromkeys(known)
        if last is not None and last.trade_id is not None:
            self._seen[last.trade_id] = None

    @property
    def ordered(self) -> bool:
        """Whether ids say which trade came first."""
        return self._ids != "opaque"

    def interrupt(self, reason: str) -> None:
        """From here on nothing is known, until it is mended. Rows held already prove nothing about those to come."""
        self.interruptions += 1
        if self.last is not None:
            self.broken = self.broken or reason
            self._starting = True

    def goes_on(self, rows: Sequence[Row]) -> bool:
        """Whether rows that arrived are just what comes next, by consecutive ids; then they have been released. Nearly
        always it is so, and it is soon told."""
        if not rows or self._ids != "contiguous" or self.last is None or self.broken is not None:
            return False
        following = range(self.last.order + 1, self.last.order + 1 + len(rows))
        if not all(row.order == order and row.refused is None for row, order in zip(rows, following, strict=True)):
            return False
        self._pass(rows[-1])
        return True

    def live(self, rows: Sequence[Row]) -> Released:
        """Take what arrived together."""
        out = Released()
        fresh = self._fresh(rows, out)
        refused = [row for row in fresh if row.refused]
        out.refused += refused
        if not self.ordered:
            self._arrived = [*self._arrived[-MAX_HELD:], *fresh]
        for unusable, stretch in groupby(fresh, key=lambda row: bool(row.refused)):
            if not unusable:
                self._hold(list(stretch))
            elif self._ids != "contiguous":
                self.interrupt(REFUSED)
        if self.broken is None or self._ids == "contiguous":
            self._let_through(out)
        if refused and self._ids == "contiguous":
            self.interrupt(REFUSED)
        if len(self.held) > MAX_HELD:
            self._merge([], out, final=True)
        return out

    def fetched(self, rows: Sequence[Row], *, reaches_back: bool, complete: bool) -> Released:
        """Take what REST gave of the trades after `last`.

        `reaches_back`: nothing lies between `last` and the first of these rows that REST does not have; `complete`:
        REST has nothing after these rows either, and nothing was interrupted since it was asked (`interruptions`): of
        what was lost meanwhile it could not know. An answer that neither holds nor reaches anything proves nothing.
        """
        out = Released()
        if self.broken is not None and (rows or reaches_back):
            self._merge(rows, out, reaches_back=reaches_back, complete=complete)
        return out

    def give_up(self) -> Released:
        """Stop waiting for what is missing before the held rows."""
        out = Released()
        if self.broken is not None and self.held:
            self._merge([], out, final=True)
        return out

    def _hold(self, rows: Sequence[Row]) -> None:
        if rows and self._starting:
            self._starts.add(min(rows, key=_order).trade_id)
            self._starting = False
        self.held = sorted([*self.held, *rows], key=_order)

    def _fresh(self, rows: Iterable[Row], out: Released) -> list[Row]:
        """Leave out what was released or is held."""
        waiting = {row.trade_id for row in self.held}
        fresh: list[Row] = []
        for row in rows:
            name = row.trade_id
            if name is not None and (name in self._seen or name in waiting or self._is_behind(row)):
                out.duplicates += 1
                continue
            if self._is_given_up(row):
                out.refused.append(row._replace(refused=OUT_OF_ORDER))
                continue
            if name is not None:
                waiting.add(name)
            fresh.append(row)
        return fresh

    def _is_behind(self, row: Row) -> bool:
        """Whether a consecutive line has passed a row: it was released, or reported as lost."""
        return self._ids == "contiguous" and self.last is not None and row.order <= self.last.order

    def _is_given_up(self, row: Row) -> bool:
        """Whether a row lies in the time of the last hole, where only time gives the order: it was reported as lost,
        and rows after it may have been released."""
        return not self.ordered and self._lost_through is not None and row.order <= self._lost_through

    def _let_through(self, out: Released) -> None:
        """Release held rows as far as they go on where the line ends."""
        released = 0
        rows: list[Row] = []
        for row in self.held:
            if self._ids == "contiguous" and self.last is not None and row.order > self.last.order + 1:
                break
            released += 1
            if self.last is not None and row.order < self.last.order:
                self._remember(row)
                out.late.append(row)
            else:
                self._pass(row)
                rows.append(row)
        self.held = self.held[released:]
        if rows:
            out.pieces.append(rows)
        if self.held:
            self.broken = self.broken or GAP
        elif rows:
            self._mended()

    def _merge(
        self,
        rows: Sequence[Row],
        out: Released,
        *,
        reaches_back: bool = True,
        complete: bool = True,
        final: bool = False,
    ) -> None:
        """Release fetched and held rows together, up to what is still missing; `final`: nothing more will come."""
        known = self._after_last(rows)
        together = self._merged(known)
        holes = self._holes(together, known, reaches_back=reaches_back)
        stretch: list[Row] = []
        for at, row in enumerate(together):
            certain = holes.get(at)
            if certain is False and not final:
                self.held = [held for held in together[at:] if held.received_ms is not None]
                break
            if certain is not None and self.last is not None:
                if stretch:
                    out.pieces.append(stretch)
                out.pieces.append(Hole(self.last, Position(row.order, row.ts_ms, row.trade_id)))
                stretch = []
                self._lost_through = row.order
            self._pass(row)
            if row.refused:
                out.refused.append(row)
            else:
                stretch.append(row)
                out.fetched += row.received_ms is None
        else:
            if (final or not complete) and self._starting:
                self.held = []  # interrupted again since they came
            elif complete or self.held:
                self._mended()
        if stretch:
            out.pieces.append(stretch)

    def _after_last(self, rows: Sequence[Row]) -> list[Row]:
        """Fetched rows that are not released yet, in order; where only time gives it, as REST has them."""
        last, rows = self.last, sorted(rows, key=_order)
        names = [row.trade_id for row in rows]
        if last is not None and last.trade_id is not None and last.trade_id in names:
            rows = rows[names.index(last.trade_id) + 1 :]
        elif last is not None:
            same_time = not self.ordered
            rows = [row for row in rows if row.order > last.order or (same_time and row.order == last.order)]
        found = {row.trade_id or str(row): row for row in rows}
        return [row for name, row in found.items() if name not in self._seen]

    def _merged(self, known: Sequence[Row]) -> list[Row]:
        """Fetched and held rows in order, each once."""
        behind = self.last.order if self.last is not None else 0
        held = [row for row in self.held if row.order >= behind]
        return merged_by_order(known, held) if self.ordered else merged_by_time(known, held, self._arrived)

    def _holes(self, merged: Sequence[Row], known: Sequence[Row], *, reaches_back: bool) -> dict[int, bool]:
        """Before which rows trades are missing. True: REST does not have them; False: it may give them yet."""
        if self.last is None or not merged:
            return {}
        if self._ids != "contiguous":
            return self._holes_in_time(merged, known, reaches_back=reaches_back)
        through = known[-1].order if known else self.last.order
        numbers = [self.last.order, *(row.order for row in merged)]
        return {
            at: merged[at].order <= through
            for at, (before, _) in enumerate(pairwise(numbers))
            if merged[at].order > before + 1
        }

    def _holes_in_time(self, merged: Sequence[Row], known: Sequence[Row], *, reaches_back: bool) -> dict[int, bool]:
        """Where ids may skip numbers, only overlap proves that nothing is missing: REST must give what was before each
        row with which live rows began."""
        holes: dict[int, bool] = {}
        names = {row.trade_id for row in known}
        for at, row in enumerate(merged):
            begins = row.received_ms is not None and row.trade_id in self._starts
            if known and row.trade_id == known[0].trade_id:
                if not reaches_back and (begins or row.received_ms is None):
                    holes[at] = True
            elif begins and row.trade_id not in names and not (known and known[0].order < row.order < known[-1].order):
                holes[at] = not reaches_back and bool(known) and known[0].order > row.order
        return holes

    def _mended(self) -> None:
        self.held, self.broken, self._starting = [], None, False
        self._starts.clear()
        self._arrived.clear()

    def _pass(self, row: Row) -> None:
        self.last = Position(row.order, row.ts_ms, row.trade_id)
        self._remember(row)

    def _remember(self, row: Row) -> None:
        if row.trade_id is None or self._ids == "contiguous":  # there the newest number tells
            return
        self._seen[row.trade_id] = None
        if len(self._seen) > MAX_IDS:
            del self._seen[next(iter(self._seen))]


def _order(row: Row) -> int:
    return row.order

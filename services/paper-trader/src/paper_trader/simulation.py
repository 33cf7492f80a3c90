"""The simulation: prices and signals in, outcomes and paper portfolios' events out. No I/O, no clock of its own.

It advances from mark to mark, and what comes out does not depend on where the marks are: within a slice the next
thing to happen is found per signal and portfolio on the instrument's price columns, and all of them are done in one
total order (`agenda`). Every event of a portfolio gets its number in that order.

The rules in one place:

- A signal lives from `confirmed_ms` to its stop, its last target or `expires_ms`, whichever is first; its outcome is
  measured from the signal's own entry. A signal whose levels contradict each other is `invalidated` at once.
- A portfolio's order meets the first price that begins at or after `confirmed_ms + latency_ms`. A signal that ended
  before, or with that very price, is skipped.
- A position leaves as a whole: at the signal's stop or last target with the price that touched it, or, after the
  expiry, with the first price at or after it.
- Equity is marked after every fill, and at every full hour by which a price of something held was new.
- A signal that arrives after the clock passed its confirmation counts from the clock on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from paper_trader.account import Account
from paper_trader.life import place_of
from paper_trader.turn import State, Turn
from tocsin_common.documents import Portfolio
from tocsin_common.events import CandlesClosed, Event, SignalRaised, TradesReceived


class Arrived(NamedTuple):
    """Market data, and the clock it arrived after: what is older than `floor_ms` is late."""

    event: TradesReceived | CandlesClosed
    floor_ms: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """What became known since the mark before; everything of before `until_ms` has been given by now."""

    until_ms: int
    market: Sequence[Arrived] = ()
    signals: Sequence[SignalRaised] = ()


class Simulation:
    """Follows signals through the market for any number of portfolios. `late` counts rows dropped, by kind."""

    def __init__(self, state: State | None = None) -> None:
        self.state = State() if state is None else state
        self.late: Counter[str] = Counter()

    def set_portfolio(self, portfolio: Portfolio) -> None:
        """Add a portfolio, or give one new parameters. Currency and cash of one that has opened stay as they were."""
        account = self.state.accounts.get(portfolio.portfolio_id)
        if account is None or not account.is_open:
            self.state.accounts[portfolio.portfolio_id] = Account.of(portfolio)
        else:
            kept = account.portfolio
            account.portfolio = msgspec.structs.replace(portfolio, currency=kept.currency, cash=kept.cash)

    def advance(self, piece: Slice) -> list[Event]:
        """Move the clock to `until_ms` (never back); returns what happened, in order."""
        until_ms = max(piece.until_ms, self.state.now_ms)
        self._take(piece)
        for tape in self.state.tapes.values():
            tape.cut(until_ms)
        events = Turn(self.state, until_ms).play()
        self._settle(until_ms)
        return events

    def _take(self, piece: Slice) -> None:
        for event, floor_ms in piece.market:
            tape = self.state.tape(place_of(event.exchange, event.symbol))
            if isinstance(event, TradesReceived):
                self.late["trades"] += tape.take_trades(event, floor_ms)
            elif event.origin == "exchange" and not event.revision:
                self.late["candles"] += tape.take_candles(event, floor_ms)
        self.state.announced += piece.signals

    def _settle(self, until_ms: int) -> None:
        """The slice is over: living signals keep its extremes, tapes its last prices."""
        for place, lives in self.state.lives.items():
            segment = self.state.tape(place).segment
            if segment is not None:
                for life in lives.values():
                    if not life.expired:
                        life.survive(segment)
        for tape in self.state.tapes.values():
            tape.leave()
        self.state.now_ms = until_ms

"""Invariants of paper portfolios. Money is recomputed with Decimal, to the last digit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Context, Decimal, localcontext

from tocsin.audit.candles import ranges_at
from tocsin.audit.facts import Facts, PaperEvent
from tocsin_common.events import EquityMarked, OrderFilled, PortfolioOpened, SignalSkipped

EXACT = Context(prec=80)
"""Wide enough that no product or sum of ledger values is ever rounded here."""


def every_fill_has_its_signal(facts: Facts) -> Iterator[str]:
    """Every fill, and every skip, names a signal on SIGNALS; a fill is of that signal's instrument."""
    for event in _events(facts):
        if not isinstance(event, OrderFilled | SignalSkipped):
            continue
        signal = facts.signals.get(event.signal_id)
        if signal is None:
            yield f"{_name(event)}: names the signal {event.signal_id}, which is not on SIGNALS"
        elif isinstance(event, OrderFilled) and (event.exchange, event.symbol) != (signal.exchange, signal.symbol):
            yield f"{_name(event)}: {event.symbol}, but its signal is of {signal.symbol}"


def every_fill_has_its_market_price(facts: Facts) -> Iterator[str]:
    """Every fill's market price is that of a trade on TRADES, or lies within a candle on CANDLES."""
    ranges = _ranges_of_basis_candles(facts)
    for event in _events(facts):
        if not isinstance(event, OrderFilled):
            continue
        if event.basis == "trade":
            prices = facts.trades.prices.get((event.exchange, event.symbol, event.basis_ref), set())
            if float(event.market_price) not in prices:
                yield f"{_name(event)}: {event.market_price} is not the price of trade {event.basis_ref}"
        else:
            found = ranges.get((event.exchange, event.symbol, event.basis_ref), [])
            if not any(low <= float(event.market_price) <= high for low, high in found):
                yield f"{_name(event)}: {event.market_price} is not within the candle opened at {event.basis_ref}"


def every_portfolio_counts_its_events(facts: Facts) -> Iterator[str]:
    """A portfolio's events are numbered 1, 2, 3 ... and the first one opens it."""
    for portfolio, events in facts.paper.items():
        if not isinstance(events[0], PortfolioOpened):
            yield f"{portfolio}: begins with {type(events[0]).__name__}"
        for expected, event in enumerate(events, start=1):
            if event.n != expected:
                yield f"{portfolio}: event {event.n} stands where {expected} should"
                break


def cash_follows_from_fills(facts: Facts) -> Iterator[str]:
    """Cash after every fill, and at every mark, is the opening cash moved by every fill so far."""
    with localcontext(EXACT):
        for events in facts.paper.values():
            cash = Decimal(0)
            for event in events:
                given = cash
                if isinstance(event, PortfolioOpened):
                    cash = given = event.cash
                elif isinstance(event, OrderFilled):
                    cash, given = cash + _cash_flow(event), event.cash_after
                elif isinstance(event, EquityMarked):
                    given = event.cash
                if given != cash:
                    yield f"{_name(event)}: cash {given}, its fills make {cash}"
                    cash = given


def positions_follow_from_fills(facts: Facts) -> Iterator[str]:
    """Every position's amount is the sum of its fills, and every mark lists exactly the open positions."""
    with localcontext(EXACT):
        for events in facts.paper.values():
            amounts: dict[str, Decimal] = {}
            for event in events:
                if isinstance(event, OrderFilled):
                    signed = event.amount if event.side == "buy" else -event.amount
                    amount = amounts.pop(event.position_id, Decimal(0)) + signed
                    if amount:
                        amounts[event.position_id] = amount
                    if amount != event.position_amount:
                        yield f"{_name(event)}: position {event.position_amount}, fills {amount}"
                elif isinstance(event, EquityMarked):
                    held = {holding.position_id: holding.amount for holding in event.holdings}
                    if held != amounts:
                        yield f"{_name(event)}: holdings are not the open positions"


def equity_is_cash_plus_positions(facts: Facts) -> Iterator[str]:
    """At every mark: value = amount x price for each holding, and equity = cash + values, to the last decimal."""
    with localcontext(EXACT):
        for event in _events(facts):
            if not isinstance(event, EquityMarked):
                continue
            for holding in event.holdings:
                if holding.value != holding.amount * holding.mark_price:
                    yield f"{_name(event)}: {holding.symbol} valued {holding.value}"
            total = event.cash + sum((holding.value for holding in event.holdings), Decimal(0))
            if event.equity != total:
                yield f"{_name(event)}: equity {event.equity}, cash and positions make {total}"


def _cash_flow(fill: OrderFilled) -> Decimal:
    value = fill.amount * fill.price
    return (value if fill.side == "sell" else -value) - fill.fee


def _ranges_of_basis_candles(facts: Facts) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """Low and high of the candles that fills refer to, of every timeframe with that open time."""
    wanted: dict[tuple[str, str], set[int]] = {}
    for event in _events(facts):
        if isinstance(event, OrderFilled) and event.basis == "candle" and event.basis_ref.isdigit():
            wanted.setdefault((event.exchange, event.symbol), set()).add(int(event.basis_ref))
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for (exchange, symbol, _), candles in facts.candles.by_key.items():
        for open_ms, low_and_high in ranges_at(candles, wanted.get((exchange, symbol), set())).items():
            found[exchange, symbol, str(open_ms)].append(low_and_high)
    return found


def _events(facts: Facts) -> Iterator[PaperEvent]:
    for events in facts.paper.values():
        yield from events


def _name(event: PaperEvent) -> str:
    return f"{event.portfolio} {event.n}"

"""PAPER: portfolios, fills, skipped signals and equity; positions follow from the fills."""

from __future__ import annotations

from collections.abc import Sequence

from api_gateway.projections.writes import PositionRefresh, Row, Upsert, Write, json_text, misplaced
from api_gateway.schema import EQUITY, FILLS, PORTFOLIOS, SKIPS
from tocsin_common.events import AnyEvent, EquityMarked, OrderFilled, PortfolioOpened, SignalSkipped


def project_paper(events: Sequence[AnyEvent]) -> list[Write]:
    portfolios: list[Row] = []
    fills: list[Row] = []
    skips: list[Row] = []
    equity: list[Row] = []
    touched: dict[tuple[str, str], None] = {}
    for event in events:
        match event:
            case OrderFilled():
                fills.append(_fill(event))
                touched[event.portfolio, event.position_id] = None
            case EquityMarked():
                equity.append(_equity(event))
            case SignalSkipped():
                skips.append((event.portfolio, event.n, event.ts_ms, event.signal_id, event.reason))
            case PortfolioOpened():
                portfolios.append((event.portfolio, event.n, event.ts_ms, event.currency, event.cash))
            case _:
                raise misplaced(event)
    by_table = ((PORTFOLIOS, portfolios), (FILLS, fills), (SKIPS, skips), (EQUITY, equity))
    writes: list[Write] = [Upsert.of(table, rows) for table, rows in by_table if rows]
    if touched:
        writes.append(PositionRefresh(list(touched)))
    return writes


def _fill(event: OrderFilled) -> Row:
    return (
        event.portfolio,
        event.n,
        event.ts_ms,
        event.position_id,
        event.signal_id,
        event.exchange,
        event.symbol,
        event.side,
        event.reason,
        event.amount,
        event.price,
        event.market_price,
        event.fee,
        event.basis,
        event.basis_ref,
        event.position_amount,
        event.position_entry_price,
        event.realised_pnl,
        event.cash_after,
    )


def _equity(event: EquityMarked) -> Row:
    return (event.portfolio, event.n, event.ts_ms, event.cash, event.equity, json_text(event.holdings))

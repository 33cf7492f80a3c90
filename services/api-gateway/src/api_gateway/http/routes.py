"""The lists: one endpoint per projected family."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from api_gateway import listings
from api_gateway.http import models
from api_gateway.http import parameters as wanted
from api_gateway.http.paging import answer
from api_gateway.http.problems import not_found
from api_gateway.store import Store

MARKET, ALERTING, PAPER = "market and signals", "alerts and deliveries", "paper portfolios"

Id = Annotated[wanted.Text, Path()]


def documented(model: Any) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that answers with a model's JSON made elsewhere."""
    return {HTTPStatus.OK.value: {"model": model, "description": "Found."}}


def add_routes(router: APIRouter, store: Store) -> None:
    _market(router, store)
    _alerting(router, store)
    _paper(router, store)


def _market(router: APIRouter, store: Store) -> None:
    @router.get("/candles", tags=[MARKET], responses=documented(models.Page[models.Candle]))
    async def candles(request: Request, query: Annotated[wanted.CandleQuery, Query()]) -> Response:
        """Closed candles, ordered by exchange, symbol, timeframe and open time."""
        return await answer(request, store, listings.CANDLES, query)

    @router.get("/signals", tags=[MARKET], responses=documented(models.Page[models.Signal]))
    async def signals(request: Request, query: Annotated[wanted.SignalQuery, Query()]) -> Response:
        """Signals by time of confirmation, each with its outcome or the state `active`."""
        return await answer(request, store, listings.SIGNALS, query)

    @router.get("/signals/{signal_id}", tags=[MARKET], responses=documented(models.SignalStory))
    async def signal(signal_id: Id) -> Response:
        """One signal and all that followed: its outcome, alerts and their deliveries, fills, and who skipped it why."""
        found = await store.signal_story(signal_id)
        if found is None:
            raise not_found("no signal with this id is projected")
        return Response(found, media_type="application/json")

    @router.get("/outcomes", tags=[MARKET], responses=documented(models.Page[models.Outcome]))
    async def outcomes(request: Request, query: Annotated[wanted.OutcomeQuery, Query()]) -> Response:
        """How signals ended, by time of the end."""
        return await answer(request, store, listings.OUTCOMES, query)


def _alerting(router: APIRouter, store: Store) -> None:
    @router.get("/alerts", tags=[ALERTING], responses=documented(models.Page[models.Alert]))
    async def alerts(request: Request, query: Annotated[wanted.AlertQuery, Query()]) -> Response:
        """Alerts raised, and alerts somebody was spared, with the reason."""
        return await answer(request, store, listings.ALERTS, query)

    @router.get("/deliveries", tags=[ALERTING], responses=documented(models.Page[models.Delivery]))
    async def deliveries(request: Request, query: Annotated[wanted.DeliveryQuery, Query()]) -> Response:
        """Deliveries in their present state, by the time they were queued."""
        return await answer(request, store, listings.DELIVERIES, query)


def _paper(router: APIRouter, store: Store) -> None:
    async def of_portfolio(request: Request, listing: listings.Listing, portfolio: str, query: Any) -> Response:
        if not await store.has_portfolio(portfolio):
            raise not_found("no portfolio with this id is projected")
        return await answer(request, store, listing, query, portfolio=portfolio)

    @router.get("/portfolios", tags=[PAPER], responses=documented(models.Page[models.Portfolio]))
    async def portfolios(request: Request, query: Annotated[wanted.PageQuery, Query()]) -> Response:
        """Paper portfolios with cash and equity at their last mark."""
        return await answer(request, store, listings.PORTFOLIOS, query)

    @router.get("/portfolios/{portfolio}/fills", tags=[PAPER], responses=documented(models.Page[models.Fill]))
    async def fills(request: Request, portfolio: Id, query: Annotated[wanted.FillQuery, Query()]) -> Response:
        """Simulated fills, each with the signal it followed."""
        return await of_portfolio(request, listings.FILLS, portfolio, query)

    @router.get("/portfolios/{portfolio}/positions", tags=[PAPER], responses=documented(models.Page[models.Position]))
    async def positions(request: Request, portfolio: Id, query: Annotated[wanted.PositionQuery, Query()]) -> Response:
        """Positions, open and closed, by the time they were opened."""
        return await of_portfolio(request, listings.POSITIONS, portfolio, query)

    @router.get("/portfolios/{portfolio}/equity", tags=[PAPER], responses=documented(models.Page[models.Equity]))
    async def equity(request: Request, portfolio: Id, query: Annotated[wanted.EquityQuery, Query()]) -> Response:
        """The equity curve: cash, holdings and their sum at every mark."""
        return await of_portfolio(request, listings.EQUITY_CURVE, portfolio, query)

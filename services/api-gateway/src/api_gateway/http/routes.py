"""The lists: one endpoint per projected family."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from api_gateway import listings
from api_gateway.http import models
from api_gateway.http import parameters as wanted
from api_gateway.http.models import Page
from api_gateway.http.paging import answer
from api_gateway.http.problems import not_found
from api_gateway.store import Store

MARKET, ALERTING, PAPER = "market and signals", "alerts and deliveries", "paper portfolios"

Id = Annotated[wanted.Text, Path()]


def shown(tag: str, model: Any, query: type[wanted.Parameters] = wanted.Parameters) -> dict[str, Any]:
    """What the OpenAPI document says of an endpoint that parses its own query and answers with JSON made elsewhere."""
    responses = {HTTPStatus.OK.value: {"model": model, "description": "Found."}}
    return {"tags": [tag], "responses": responses, "openapi_extra": wanted.described(query)}


def add_routes(router: APIRouter, store: Store) -> None:
    _market(router, store)
    _alerting(router, store)
    _paper(router, store)


def _market(router: APIRouter, store: Store) -> None:
    @router.get("/candles", **shown(MARKET, Page[models.Candle], wanted.CandleQuery))
    async def candles(request: Request) -> Response:
        """Closed candles, ordered by exchange, symbol, timeframe and open time."""
        return await answer(request, store, listings.CANDLES, wanted.CandleQuery)

    @router.get("/signals", **shown(MARKET, Page[models.Signal], wanted.SignalQuery))
    async def signals(request: Request) -> Response:
        """Signals by time of confirmation, each with its outcome or the state `active`."""
        return await answer(request, store, listings.SIGNALS, wanted.SignalQuery)

    @router.get("/signals/{signal_id}", **shown(MARKET, models.SignalStory))
    async def signal(signal_id: Id) -> Response:
        """One signal and all that followed: its outcome, alerts and their deliveries, fills, and who skipped it why."""
        found = await store.signal_story(signal_id)
        if found is None:
            raise not_found("no signal with this id is projected")
        return Response(found, media_type="application/json")

    @router.get("/outcomes", **shown(MARKET, Page[models.Outcome], wanted.OutcomeQuery))
    async def outcomes(request: Request) -> Response:
        """How signals ended, by time of the end."""
        return await answer(request, store, listings.OUTCOMES, wanted.OutcomeQuery)


def _alerting(router: APIRouter, store: Store) -> None:
    @router.get("/alerts", **shown(ALERTING, Page[models.Alert], wanted.AlertQuery))
    async def alerts(request: Request) -> Response:
        """Alerts raised, and alerts somebody was spared, with the reason."""
        return await answer(request, store, listings.ALERTS, wanted.AlertQuery)

    @router.get("/deliveries", **shown(ALERTING, Page[models.Delivery], wanted.DeliveryQuery))
    async def deliveries(request: Request) -> Response:
        """Deliveries in their present state, by the time they were queued."""
        return await answer(request, store, listings.DELIVERIES, wanted.DeliveryQuery)


def _paper(router: APIRouter, store: Store) -> None:
    async def of_portfolio(
        request: Request, listing: listings.Listing, portfolio: str, kind: type[wanted.PageQuery]
    ) -> Response:
        if not await store.has_portfolio(portfolio):
            raise not_found("no portfolio with this id is projected")
        return await answer(request, store, listing, kind, portfolio=portfolio)

    @router.get("/portfolios", **shown(PAPER, Page[models.Portfolio], wanted.PageQuery))
    async def portfolios(request: Request) -> Response:
        """Paper portfolios with cash and equity at their last mark."""
        return await answer(request, store, listings.PORTFOLIOS, wanted.PageQuery)

    @router.get("/portfolios/{portfolio}/fills", **shown(PAPER, Page[models.Fill], wanted.FillQuery))
    async def fills(request: Request, portfolio: Id) -> Response:
        """Simulated fills, each with the signal it followed."""
        return await of_portfolio(request, listings.FILLS, portfolio, wanted.FillQuery)

    @router.get(
        "/portfolios/{portfolio}/positions",
        **shown(PAPER, Page[models.Position], wanted.PositionQuery),
    )
    async def positions(request: Request, portfolio: Id) -> Response:
        """Positions, open and closed, by the time they were opened."""
        return await of_portfolio(request, listings.POSITIONS, portfolio, wanted.PositionQuery)

    @router.get("/portfolios/{portfolio}/equity", **shown(PAPER, Page[models.Equity], wanted.EquityQuery))
    async def equity(request: Request, portfolio: Id) -> Response:
        """The equity curve: cash, holdings and their sum at every mark."""
        return await of_portfolio(request, listings.EQUITY_CURVE, portfolio, wanted.EquityQuery)

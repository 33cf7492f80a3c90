"""Statistics, counts and health."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api_gateway.http import models
from api_gateway.http.parameters import StatsQuery, parse
from api_gateway.http.routes import MARKET, shown
from api_gateway.store import Store, StrategyStats
from tocsin_common.bus.protocol import Bus
from tocsin_common.health import Health
from tocsin_common.streams import PROJECTED

OPERATION = "operation"


def add_routes(router: APIRouter, store: Store, bus: Bus, health: Health, projector_state: Callable[[], str]) -> None:
    @router.get("/stats", **shown(MARKET, models.StatsAnswer, StatsQuery))
    async def stats(request: Request) -> Response:
        """Per strategy and timeframe: signals, outcomes by result, win rate and R multiples."""
        found = await store.stats(**parse(StatsQuery, request).model_dump())
        return _json({"items": [_stats(item) for item in found]})

    @router.get("/counts", **shown(OPERATION, models.Counts))
    async def counts() -> Response:
        """Rows per table, and how far each stream is projected."""
        rows, offsets = await store.row_counts(), await store.offsets()
        streams = {stream.name: await bus.stream_state(stream) for stream in PROJECTED}
        positions = {
            name: {
                "last_seq": state.last_seq,
                "projected_seq": offsets.get(name, 0),
                "lag": max(0, state.last_seq - offsets.get(name, 0)),
            }
            for name, state in streams.items()
        }
        return _json({"rows": rows, "streams": positions})

    @router.get("/health", **shown(OPERATION, models.HealthAnswer))
    async def health_now() -> Response:
        """Whether everything the gateway needs is there; 503 if not."""
        problems = await health.problems()
        body = {"status": "not ready" if problems else "ok", "projector": projector_state(), "problems": problems}
        return _json(body, HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK)


def _stats(item: StrategyStats) -> dict[str, Any]:
    measured = item.performance
    return {
        "strategy": item.strategy,
        "timeframe": item.timeframe,
        "signals": item.signals,
        "active": item.active,
        "outcomes": measured.count,
        "results": item.results,
        "wins": measured.wins,
        "losses": measured.losses,
        "win_rate": measured.win_rate,
        "average_r": measured.expectancy_r,
        "average_win_r": measured.average_win_r,
        "average_loss_r": measured.average_loss_r,
        "profit_factor": measured.profit_factor,
        "total_r": measured.total_r,
    }


def _json(body: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(body), status.value, media_type="application/json")

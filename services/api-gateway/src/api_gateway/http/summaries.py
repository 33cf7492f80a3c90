"""Statistics, reports, counts and health."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api_gateway.http import models
from api_gateway.http.parameters import ReportQuery, StatsQuery, parse
from api_gateway.http.routes import MARKET, shown
from api_gateway.store import Store, StrategyStats
from tocsin_common.bus.protocol import Bus
from tocsin_common.health import Health
from tocsin_common.report import Report
from tocsin_common.streams import CANDLES, PROJECTED

OPERATION = "operation"


def add_routes(router: APIRouter, store: Store, bus: Bus, health: Health, projector_state: Callable[[], str]) -> None:
    @router.get("/stats", **shown(MARKET, models.StatsAnswer, StatsQuery))
    async def stats(request: Request) -> Response:
        """Per strategy and timeframe: signals, outcomes by result, win rate and R multiples."""
        found = await store.stats(**parse(StatsQuery, request).model_dump())
        return _json({"items": [_stats(item) for item in found]})

    @router.get("/report", **shown(MARKET, Report, ReportQuery))
    async def report(request: Request) -> Response:
        """A period and the one before: totals, the best and worst strategies, symbols and hours, alerts, portfolios."""
        asked = parse(ReportQuery, request).question(now_ms=time.time_ns() // 1_000_000)
        return _json(await store.report(asked, behind=await _behind(store, bus)))

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


async def _behind(store: Store, bus: Bus) -> int:
    """Messages that are not projected yet; candles say nothing of what a report tells."""
    offsets = await store.offsets()
    streams = [stream for stream in PROJECTED if stream is not CANDLES]
    return sum([max(0, (await bus.stream_state(each)).last_seq - offsets.get(each.name, 0)) for each in streams])


def _stats(item: StrategyStats) -> dict[str, Any]:
    measured = item.performance
    low, high = measured.win_rate_interval or (None, None)
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
        "win_rate_low": low,
        "win_rate_high": high,
        "average_r": measured.expectancy_r,
        "average_win_r": measured.average_win_r,
        "average_loss_r": measured.average_loss_r,
        "profit_factor": measured.profit_factor,
        "total_r": measured.total_r,
    }


def _json(body: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(body), status.value, media_type="application/json")

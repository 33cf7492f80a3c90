"""The read API over real HTTP and real PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tocsin_common.events import SignalRaised

LISTS = {
    "/candles": ("candles", 90),
    "/signals": ("signals", 12),
    "/outcomes": ("outcomes", 5),
    "/alerts": ("alerts", 2),
    "/deliveries": ("deliveries", 6),
    "/portfolios": ("portfolios", 1),
    "/portfolios/main/fills": ("fills", 4),
    "/portfolios/main/positions": ("positions", 2),
    "/portfolios/main/equity": ("equity", 2),
}


async def walk(gateway: Any, path: str) -> list[Any]:
    """Every item of a list, following `next`."""
    items, link = [], f"/api/v1{path}"
    while link:
        status, page = await gateway.get(link.removeprefix("/api/v1"))
        assert status == 200, page
        items += page["items"]
        link = page["next"]
    return items


async def test_paging_walks_every_row_of_every_list_once(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    for path, (_, rows) in LISTS.items():
        descending = await walk(reading, f"{path}?limit=1000")
        assert len(descending) == len({str(item) for item in descending}) == rows
        for order, every in (("desc", descending), ("asc", descending[::-1])):
            limit = 1 if rows < 20 else 7
            assert await walk(reading, f"{path}?order={order}&limit={limit}") == every


async def test_a_walk_is_stable_while_rows_are_inserted(reading: Any, make: Any) -> None:
    signals = [make.signal(n * 10) for n in range(6)]
    await reading.fill(signals)
    _, first = await reading.get("/signals?limit=3&order=desc")
    newer, older = make.signal(100), make.signal(15)
    await reading.fill([newer, older])
    rest = await walk(reading, first["next"].removeprefix("/api/v1"))
    seen = [item["signal_id"] for item in first["items"] + rest]
    expected = sorted([*signals, older], key=lambda signal: -signal.confirmed_ms)
    assert seen == [signal.signal_id for signal in expected]


async def test_a_signal_comes_with_every_value_and_its_outcome_or_active(reading: Any, make: Any) -> None:
    ended, active = make.signal(1), make.signal(2, side="short")
    await reading.fill([ended, active, make.outcome(ended)])
    _, page = await reading.get("/signals?order=asc")
    first, second = page["items"]
    assert first["signal_id"] == ended.signal_id
    for name, value in msgspec.to_builtins(ended).items():
        assert name == "type" or first[name] == value
    assert (first["state"], second["state"], second["outcome"]) == ("target_2", "active", None)
    assert first["outcome"] == {
        "result": "target_2",
        "ended_ms": ended.confirmed_ms + 60_000,
        "exit_price": 104.5,
        "r_multiple": 2.25,
        "mfe_r": 2.5,
        "mae_r": -0.25,
        "targets_hit": 2,
        "basis": "trades",
    }


async def test_signals_are_filtered(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    expected = {
        "symbol=S1/USDT": 4,
        "exchange=kraken": 0,
        "strategy=ema_cross&timeframe=5m&side=long": 12,
        "side=short": 0,
        "min_confidence=60": 2,
        "state=active": 7,
        "state=ended": 5,
        "state=stop": 1,
        "state=target_2": 4,
        "from_ms=120000&to_ms=240000": 2,
    }
    assert {query: len(await walk(reading, f"/signals?limit=5&{query}")) for query in expected} == expected


async def test_other_lists_are_filtered_too(reading: Any, make: Any) -> None:
    story = make.story()
    await reading.fill(story)
    first = next(event for event in story if isinstance(event, SignalRaised))
    expected = {
        "/candles?symbol=S1/USDT&timeframe=1m&from_ms=600000&to_ms=900000": 5,
        "/outcomes?result=stop": 1,
        "/alerts?decision=suppressed&reason=muted": 1,
        f"/alerts?alert_id=alert-{first.signal_id}": 2,
        "/deliveries?state=sent&channel=webhook": 5,
        "/deliveries?alert_id=alert2": 1,
        "/portfolios/main/fills?position_id=p1": 3,
        "/portfolios/main/positions?state=open": 1,
        "/portfolios/main/equity?from_ms=300000": 1,
    }
    assert {path: len(await walk(reading, path)) for path in expected} == expected


async def test_a_signal_tells_its_whole_story(reading: Any, make: Any) -> None:
    story = make.story()
    await reading.fill(story)
    signal = next(event for event in story if hasattr(event, "signal_id") and hasattr(event, "reasons"))
    status, found = await reading.get(f"/signals/{signal.signal_id}")
    assert (status, found["state"], found["outcome"]["r_multiple"]) == (200, "target_2", 2.25)
    assert [alert["decision"] for alert in found["alerts"]] == ["raised", "suppressed"] or [
        alert["decision"] for alert in found["alerts"]
    ] == ["suppressed", "raised"]
    raised = next(alert for alert in found["alerts"] if alert["decision"] == "raised")
    assert [delivery["state"] for delivery in raised["deliveries"]] == ["sent"]
    assert [step["state"] for step in raised["deliveries"][0]["steps"]] == ["queued", "sent"]
    assert [fill["n"] for fill in found["fills"]] == [2, 5, 6]
    assert found["fills"][0]["price"] == "100.050000000000000000000000000001"
    assert found["skips"] == []


async def test_portfolios_show_cash_and_equity_at_the_last_mark(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    _, page = await reading.get("/portfolios")
    assert page["items"] == [
        {
            "portfolio": "main",
            "currency": "USDT",
            "opened_ms": 0,
            "initial_cash": "10000.00",
            "cash": "9000.10",
            "equity": "9151.60",
            "marked_ms": 480_000,
        }
    ]


async def test_statistics_count_results_and_r_multiples(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    _, found = await reading.get("/stats")
    (row,) = found["items"]
    assert (row["strategy"], row["timeframe"], row["signals"], row["active"]) == ("ema_cross", "5m", 12, 7)
    assert (row["outcomes"], row["results"], row["wins"], row["win_rate"]) == (5, {"stop": 1, "target_2": 4}, 4, 0.8)
    assert (row["average_r"], row["total_r"]) == (1.6, 8.0)
    _, none = await reading.get("/stats?symbol=S1/USDT&from_ms=600000")
    assert none["items"][0]["win_rate"] is None


async def test_counts_give_rows_and_lag(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    await reading.bus.publish([make.signal(50)])
    _, found = await reading.get("/counts")
    assert {table: found["rows"][table] for table, _ in LISTS.values()} == dict(LISTS.values())
    assert found["streams"]["SIGNALS"] == {"last_seq": 13, "projected_seq": 12, "lag": 1}


WRONG = {
    "/signals?limit=0": "limit",
    "/signals?limit=1001": "limit",
    "/signals?side=up": "side",
    "/signals?min_confidence=101": "min_confidence",
    "/signals?state=lost": "state",
    "/signals?from_ms=yesterday": "from_ms",
    "/signals?from_ms=99999999999999999999": "from_ms",
    "/signals?symbl=BTC/USDT": "symbl",
    "/signals?symbol=": "symbol",
    "/signals?symbol=a%00b": "symbol",
    "/signals?cursor=nonsense!": "cursor",
    "/signals?cursor=kaVhYWFhYQ": "cursor",
    "/candles?timeframe=7m": "timeframe",
    "/stream?types=signals,gossip": "types",
    "/signals/a%00b": "signal_id",
}


async def test_a_wrong_parameter_is_named_in_a_problem_document(reading: Any) -> None:
    for path, parameter in WRONG.items():
        async with reading.http.get(f"{reading.url}/api/v1{path}") as response:
            found = await response.json(content_type="application/problem+json")
        assert (response.status, found["status"], found["title"]) == (422, 422, "Unprocessable Entity"), path
        assert parameter in [error["parameter"] for error in found["errors"]]
        assert parameter in found["detail"]


async def test_a_cursor_of_another_list_or_order_is_refused(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    _, page = await reading.get("/signals?limit=1")
    for path in (f"/outcomes?cursor={page['next_cursor']}", f"/signals?order=asc&cursor={page['next_cursor']}"):
        status, found = await reading.get(path)
        assert (status, found["errors"][0]["parameter"]) == (422, "cursor")


async def test_what_is_not_there_is_a_404_problem(reading: Any) -> None:
    for path in ("/nothing", "/signals/unknown", "/portfolios/unknown/fills"):
        async with reading.http.get(f"{reading.url}/api/v1{path}") as response:
            found = await response.json(content_type="application/problem+json")
        assert (response.status, found["title"]) == (404, "Not Found")


async def test_other_methods_and_large_bodies_are_refused(reading: Any) -> None:
    async with reading.http.post(f"{reading.url}/api/v1/signals") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")
    async with reading.http.post(f"{reading.url}/api/v1/signals", data=b"x" * 20_000) as response:
        assert (response.status, response.content_type) == (413, "application/problem+json")


async def test_every_answer_carries_the_security_headers_and_allows_no_other_origin(reading: Any) -> None:
    for path in ("/signals", "/nothing", "/signals?limit=0"):
        async with reading.http.get(f"{reading.url}/api/v1{path}", headers={"Origin": "https://evil.test"}) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "server" not in response.headers


async def test_while_postgres_is_away_it_is_503_with_retry_after(start_gateway: Any, memory_bus: Any) -> None:
    away = await start_gateway(memory_bus, dsn="postgresql://me:hunter2@127.0.0.1:1/none", project=False)
    started = time.monotonic()
    async with away.http.get(f"{away.url}/api/v1/signals") as response:
        text = await response.text()
    assert (response.status, response.headers["Retry-After"]) == (503, "2")
    assert response.content_type == "application/problem+json"
    assert "hunter2" not in text
    assert time.monotonic() - started < 5
    status, found = await away.get("/health")
    assert (status, found["status"]) == (503, "not ready")
    assert "hunter2" not in str(found)


async def test_a_query_that_takes_too_long_is_503_and_says_what_to_do(
    reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "with s as materialized (select pg_sleep(20), $1::text, $2::text, $3::bigint, $4::bigint) select * from s"
    monkeypatch.setattr("api_gateway.store._STATS", slow)
    status, found = await reading.get("/stats")
    assert status == 503
    assert "narrow" in found["detail"]


async def test_a_bug_is_a_500_without_internals(reading: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_gateway.store._STATS", "select nonsense from secrets_table where")
    with capture_logs() as logs:
        async with reading.http.get(f"{reading.url}/api/v1/stats") as response:
            text = await response.text()
    assert "request failed" in [line["event"] for line in logs]
    assert (response.status, response.content_type) == (500, "application/problem+json")
    assert "nonsense" not in text


async def test_answers_are_what_the_openapi_document_says(reading: Any, make: Any) -> None:
    import jsonschema

    story = make.story()
    await reading.fill(story)
    _, document = await reading.get("/openapi.json")
    signal = next(event for event in story if hasattr(event, "reasons"))
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    answers = {path: path for path in (*LISTS, "/stats", "/report", "/counts", "/health")} | {
        "/signals/{signal_id}": f"/signals/{signal.signal_id}"
    }
    for template, path in answers.items():
        route = document["paths"]["/api/v1" + template.replace("/main/", "/{portfolio}/")]["get"]
        schema = route["responses"]["200"]["content"]["application/json"]["schema"]
        _, found = await reading.get(path)
        jsonschema.validate(found, schema | {"components": document["components"]})
        assert route["description"]
        assert route["tags"]
        assert "application/problem+json" in route["responses"]["422"]["content"]


async def test_requests_are_counted_by_route_template(reading: Any) -> None:
    for path in ("/signals/a", "/signals/b", "/whatever"):
        await reading.get(path)
    found = reading.registry.get_sample_value
    labels = {"method": "GET", "route": "/api/v1/signals/{signal_id}", "status": "404"}
    assert found("tocsin_http_requests_total", labels) == 2
    assert found("tocsin_http_requests_total", labels | {"route": "(none)"}) == 1
    assert found("tocsin_http_request_seconds_count", {"route": "/api/v1/signals/{signal_id}"}) == 2

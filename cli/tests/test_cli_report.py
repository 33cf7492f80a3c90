"""`tocsin report` prints what the API says, and writes the picture."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from PIL import Image
from tests.bot import KEY, ApiServer
from tests.channels.record import Fault
from tests.reports import a_report
from typer.testing import CliRunner

from alerting.picture.report import HEIGHT, WIDTH
from alerting.reports.schedule import Due
from tocsin.__main__ import app

THURSDAY = "2024-08-08T12:00"


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """Reports on any period."""

    def answer(params: dict[str, str]) -> Any:
        due = Due("weekly", params["zone"], int(params["from_ms"]), int(params["to_ms"]), 0)
        return msgspec.to_builtins(a_report(due))

    async with ApiServer() as server:
        server.answers["/report"] = answer
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOCSIN__ALERTING__API__KEY", KEY)
    monkeypatch.chdir(tmp_path)


async def report(api: ApiServer, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["report", "--api", api.origin, *arguments])


def day(ms: str) -> str:
    return datetime.fromtimestamp(int(ms) / 1000, UTC).isoformat()[:16]


async def test_the_week_that_was_over_is_printed(api: ApiServer) -> None:
    result = await report(api, "--at", THURSDAY)
    assert result.exit_code == 0, result.output
    [(path, asked)] = api.asked_for
    assert (path, day(asked["from_ms"]), day(asked["to_ms"])) == ("/report", "2024-07-28T17:00", "2024-08-04T17:00")
    assert "Weekly report, 29 Jul to 4 Aug 2024: +19.2 R" in result.stdout
    rows = {line[:24].strip(): line[24:].split() for line in result.stdout.splitlines()}
    assert rows["result"] == ["+19.2", "R", "+3.3", "R"]
    assert rows["win rate"] == ["58", "%", "(39", "%", "to", "78", "%)", "53", "%", "(39", "%", "to", "78", "%)"]
    assert rows["EMA cross"] == ["+0.61", "R", "60", "%", "20", "+12.2", "R"]
    assert rows["Fibonacci confluence"][:2] == ["too", "few"]
    assert rows["main"] == ["+2.30", "%", "1.20", "%", "10,230.12", "USDT"]
    assert "Unusual: 18 signals on SOL/USDT" in result.stdout


async def test_a_day_and_its_picture(api: ApiServer, tmp_path: Path) -> None:
    result = await report(api, "--daily", "--at", THURSDAY, "--png", "day.png", "--language", "id")
    assert result.exit_code == 0, result.output
    assert "Daily report, 7 Aug 2024" in result.stdout
    with Image.open(tmp_path / "day.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)


async def test_as_json_it_is_the_answer_of_the_api(api: ApiServer) -> None:
    result = await report(api, "--json", "--at", THURSDAY)
    assert json.loads(result.stdout)["now"]["outcomes"] == 128


async def test_an_api_that_gives_no_report_is_named_with_a_remedy(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.faults.append(Fault(status=503))
    result = await report(api)
    assert (result.exit_code, api.origin in result.stderr) == (1, True)
    monkeypatch.setenv("TOCSIN__ALERTING__API__KEY", "tcs_wrong")
    result = await report(api)
    assert "keys create" in result.stderr
    assert "tcs_wrong" not in result.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--weekly", "--daily"], "exclude each other"),
        (["--at", "yesterday"], "no day or moment"),
        (["--png", "nowhere/week.png"], "nowhere/week.png cannot be written"),
    ],
)
async def test_wrong_use_is_told(api: ApiServer, arguments: list[str], named: str) -> None:
    result = await report(api, *arguments)
    assert result.exit_code == 2
    assert named in " ".join(result.stderr.split())

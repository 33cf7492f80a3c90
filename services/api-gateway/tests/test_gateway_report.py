"""Reports over real HTTP and real PostgreSQL, held against the same figures computed another way."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway.reports.windows import Window, hour_name, usual_window, window_before
from tocsin_common.events import OutcomeMeasured, SignalRaised
from tocsin_common.report import Group, Ranking, Report

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ZONE = ZoneInfo("Asia/Kolkata")  # half an hour off, so that slices of a whole hour would be wrong
MONDAY = datetime(2026, 11, 9, tzinfo=ZONE)
FROM_MS, TO_MS = (int((MONDAY + timedelta(days=days)).timestamp() * 1000) for days in (0, 7))
WEEK = f"from_ms={FROM_MS}&to_ms={TO_MS}&zone=Asia/Kolkata"

Pair = tuple[SignalRaised, OutcomeMeasured | None]


def history(make: Any, seed: int) -> list[Pair]:
    """Some 400 signals of six weeks; a tenth is still active, results have few digits so that sums are exact."""
    dice, found = random.Random(seed), []
    for n in range(400):
        confirmed_ms = TO_MS - int(dice.random() * 42 * DAY_MS)
        signal = make.signal(
            n,
            candle_open_ms=n,
            confirmed_ms=confirmed_ms,
            strategy=dice.choice(["ema_cross", "breakout", "reversal", "rare"]) if n % 50 else "rare",
            symbol=dice.choice(["BTC/USDT", "ETH/USDT", "SOL/USDT"]),
            timeframe=dice.choice(["5m", "1h"]),
        )
        ended_ms = confirmed_ms + int(dice.expovariate(1 / (6 * HOUR_MS)))
        r = dice.choice([-1.0, -1.0, -0.25, 0.0, 0.5, 1.5, 2.25])
        result = "stop" if r == -1 else "target_1" if r > 0 else "expired"
        outcome = make.outcome(signal, ended_ms=ended_ms, r_multiple=r, result=result) if dice.random() < 0.9 else None
        found.append((signal, outcome))
    return found


async def publish(gateway: Any, pairs: Iterable[Pair]) -> None:
    await gateway.fill([event for pair in pairs for event in pair if event is not None])


async def ask(gateway: Any, query: str) -> Report:
    status, found = await gateway.get(f"/report?{query}")
    assert status == 200, found
    return msgspec.convert(found, Report)


def expected(
    pairs: list[Pair], name: Callable[[SignalRaised], str], begin: int, end: int
) -> dict[str, tuple[Any, ...]]:
    """By group: signals, outcomes, wins, sum and mean of R; of all that is in the window."""
    signals: defaultdict[str, int] = defaultdict(int)
    ended: defaultdict[str, list[float]] = defaultdict(list)
    for signal, outcome in pairs:
        signals[name(signal)] += begin <= signal.confirmed_ms < end
        if outcome and begin <= outcome.ended_ms < end:
            ended[name(signal)].append(outcome.r_multiple)
    return {
        group: (count, len(rs), sum(r > 0 for r in rs), sum(rs), statistics.fmean(rs) if rs else None)
        for group, count in signals.items()
        if count or ended[group]
        for rs in [ended[group]]
    }


def shown(figures: Any) -> tuple[Any, ...]:
    return figures.signals, figures.outcomes, figures.wins, figures.total_r, figures.average_r


def groups(ranking: Ranking) -> dict[str, Group]:
    return {group.name: group for group in (*ranking.best, *ranking.worst, *ranking.few)}


def local_hour(signal: SignalRaised) -> str:
    return f"{datetime.fromtimestamp(signal.confirmed_ms / 1000, ZONE):%a %H}:00"


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_figure_is_what_the_outcomes_say(reading: Any, make: Any, seed: int) -> None:
    pairs = history(make, seed)
    await publish(reading, pairs)
    found = await ask(reading, f"{WEEK}&hours=week&top=100&min_count=5")
    before_ms = FROM_MS - 7 * DAY_MS
    assert found.before_from_ms == before_ms
    everything: Callable[[SignalRaised], str] = lambda _: ""  # noqa: E731
    assert shown(found.now) == expected(pairs, everything, FROM_MS, TO_MS)[""]
    assert shown(found.before) == expected(pairs, everything, before_ms, FROM_MS)[""]
    for ranking, name in (
        (found.strategies, lambda signal: signal.strategy),
        (found.symbols, lambda signal: signal.symbol),
        (found.hours, local_hour),
    ):
        now, before = expected(pairs, name, FROM_MS, TO_MS), expected(pairs, name, before_ms, FROM_MS)
        assert {group.name: shown(group.now) for group in groups(ranking).values()} == now
        assert ranking.groups == len(now)
        for group in groups(ranking).values():
            assert shown(group.before) == before.get(group.name, (0, 0, 0, 0.0, None))
            assert group.enough == (group.now.outcomes >= 5)
    ended = [outcome for _, outcome in pairs if outcome and FROM_MS <= outcome.ended_ms < TO_MS]
    assert found.results == {
        name: sum(one.result == name for one in ended) for name in sorted({o.result for o in ended})
    }
    recent = [(signal, outcome) for signal, outcome in pairs if FROM_MS <= signal.confirmed_ms < TO_MS]
    assert found.active == sum(outcome is None or outcome.ended_ms >= TO_MS for _, outcome in recent)


async def test_the_curve_is_the_sum_of_r_so_far_at_each_of_its_points(reading: Any, make: Any) -> None:
    pairs = history(make, 3)
    await publish(reading, pairs)
    found = await ask(reading, WEEK)
    ended = [outcome for _, outcome in pairs if outcome and outcome.ended_ms >= FROM_MS]
    for point in found.curve:
        assert point.r == sum(outcome.r_multiple for outcome in ended if outcome.ended_ms < point.ts_ms)
    assert (found.curve[0].ts_ms, found.curve[-1].ts_ms) == (FROM_MS, TO_MS)
    assert found.curve[-1].r == found.now.total_r
    assert len(found.curve) <= 242


async def test_rankings_go_by_the_average_and_leave_out_who_has_too_few(reading: Any, make: Any) -> None:
    results = {"good": [2.0] * 6, "fair": [0.5] * 6, "bad": [-1.0] * 6, "lucky": [5.0] * 2}
    pairs = [
        (signal, make.outcome(signal, r_multiple=r))
        for strategy, rs in results.items()
        for n, r in enumerate(rs)
        for signal in [make.signal(n, strategy=strategy, confirmed_ms=FROM_MS + n)]
    ]
    await publish(reading, pairs)
    ranking = (await ask(reading, f"{WEEK}&min_count=6&top=2")).strategies
    names = [[group.name for group in part] for part in (ranking.best, ranking.worst, ranking.few)]
    assert (ranking.groups, names) == (4, [["good", "fair"], ["bad"], ["lucky"]])
    assert (ranking.few[0].enough, ranking.few[0].now.win_rate) == (False, 1.0)
    assert 0.3 < (ranking.few[0].now.win_rate_low or 0) < 0.4  # Wilson: two of two may still be a coin


async def test_filters_are_for_signals_and_their_outcomes(reading: Any, make: Any) -> None:
    pairs = history(make, 4)
    await publish(reading, pairs)
    for query, wanted in {
        "strategy=breakout": lambda signal: signal.strategy == "breakout",
        "symbol=BTC/USDT&timeframe=1h": lambda signal: (signal.symbol, signal.timeframe) == ("BTC/USDT", "1h"),
        "exchange=kraken": lambda signal: False,
    }.items():
        part = [pair for pair in pairs if wanted(pair[0])]
        found = await ask(reading, f"{WEEK}&{query}")
        assert shown(found.now) == expected(part, lambda _: "", FROM_MS, TO_MS).get("", (0, 0, 0, 0.0, None))


async def test_a_changed_win_rate_and_a_doubled_number_of_signals_are_told(reading: Any, make: Any) -> None:
    """Four weeks of one win in three and two signals a day; then a week of wins, four a day on BTC and none on ETH."""
    pairs: list[Pair] = []
    for n in range(28 * 4):
        at_ms = FROM_MS - 28 * DAY_MS + n * DAY_MS // 4
        signal = make.signal(n, confirmed_ms=at_ms, symbol="BTC/USDT" if n % 2 else "ETH/USDT")
        pairs.append((signal, make.outcome(signal, r_multiple=1.0 if n % 3 == 0 else -1.0)))
    for n in range(28):
        signal = make.signal(1000 + n, confirmed_ms=FROM_MS + n * DAY_MS // 4)
        pairs.append((signal, make.outcome(signal, r_multiple=1.0 if n % 5 else -1.0)))
    await publish(reading, pairs)
    found = [
        (change.kind, change.name, round(change.before, 3), round(change.now, 3))
        for change in (await ask(reading, WEEK)).changes
    ]
    assert found == [
        ("win_rate", "ema_cross", round(38 / 112, 3), round(22 / 28, 3)),
        ("signals", "BTC/USDT", 14.0, 28.0),
        ("signals", "ETH/USDT", 14.0, 0.0),
    ]
    assert (await ask(reading, f"{WEEK}&min_count=50")).changes == []


async def test_alerts_deliveries_and_portfolios_of_the_period_are_counted(reading: Any, make: Any) -> None:
    inside = {"ts_ms": FROM_MS + HOUR_MS}
    marks = [(FROM_MS - HOUR_MS, "10000"), (FROM_MS + HOUR_MS, "11000"), (TO_MS - 1, "9900"), (TO_MS, "5")]
    await reading.fill(
        [
            *(make.alert(f"c{n}", **inside) for n in range(3)),
            make.alert("earlier", ts_ms=FROM_MS - 1),
            make.suppressed("c0", **inside),
            *(make.delivery(n, "queued", alert_id=f"alert-c{n}") for n in range(3)),
            make.delivery(0, "sent", 1, alert_id="alert-c0"),
            make.delivery(1, "failed", 1, alert_id="alert-c1"),
            make.opened(ts_ms=FROM_MS - DAY_MS),
            make.fill(2, amount="2", held="2", ts_ms=FROM_MS),
            make.fill(3, amount="2", held="0", side="sell", pnl="12.5", ts_ms=TO_MS - 1),
            *(make.equity(4 + n, ts_ms=at, equity=Decimal(value)) for n, (at, value) in enumerate(marks)),
        ]
    )
    found = await ask(reading, WEEK)
    assert (found.alerts.raised, found.alerts.suppressed) == (3, {"muted": 1})
    assert found.alerts.deliveries == {"failed": 1, "queued": 1, "sent": 1}
    assert (found.alerts_before.raised, found.alerts_before.deliveries) == (1, {})
    (main,) = found.portfolios
    assert (main.equity_before, main.equity, main.fills, main.realised_pnl) == ("10000", "9900", 2, "12.5")
    assert (round(main.change or 0, 6), round(main.drawdown, 6), Decimal(main.fees)) == (-0.01, 0.1, Decimal("0.2"))


async def test_it_says_how_much_is_not_counted_yet(reading: Any, make: Any) -> None:
    await reading.fill(make.story())
    assert (await ask(reading, WEEK)).behind == 0
    await reading.bus.publish([make.signal(100), make.signal(101), make.candles(5000)])
    assert (await ask(reading, WEEK)).behind == 2


async def test_without_a_range_it_is_the_last_seven_days(reading: Any) -> None:
    found = await ask(reading, "zone=Asia/Kolkata")
    assert found.to_ms - found.from_ms == 7 * DAY_MS
    assert abs(found.to_ms - datetime.now(UTC).timestamp() * 1000) < DAY_MS
    assert (found.now.win_rate, found.strategies.groups, found.portfolios) == (None, 0, [])


WRONG = {
    f"from_ms={TO_MS}&to_ms={FROM_MS}": "from_ms",
    f"from_ms=0&to_ms={TO_MS}": "from_ms",
    "from_ms=99999999999999": "from_ms",
    "zone=Mars/Olympus": "zone",
    "zone=../../etc/passwd": "zone",
    "zone=Europe": "zone",
    "min_count=0": "min_count",
    "top=101": "top",
    "hours=month": "hours",
}


async def test_a_wrong_parameter_is_named(reading: Any) -> None:
    for query, parameter in WRONG.items():
        status, found = await reading.get(f"/report?{query}")
        assert (status, [error["parameter"] for error in found["errors"]]) == (422, [parameter]), query


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", "2026-10-26", 169), ("America/New_York", "2026-03-09", 167), ("UTC", "2026-03-09", 168)],
)
def test_the_week_before_has_seven_days_on_the_clock_whatever_its_hours(zone: str, day: str, hours: int) -> None:
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    window = Window(*(int((begin + timedelta(days=days)).timestamp() * 1000) for days in (0, 7)))
    before = window_before(window, ZoneInfo(zone))
    assert (before.to_ms, before.length_ms) == (window.from_ms, hours * HOUR_MS)
    assert datetime.fromtimestamp(before.from_ms / 1000, ZoneInfo(zone)).hour == 0


@given(
    st.integers(0, 4 * 10**12),
    st.integers(1, 400 * DAY_MS),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Santiago"]),
)
def test_what_it_is_compared_to_ends_where_it_begins(from_ms: int, length_ms: int, zone: str) -> None:
    window = Window(from_ms, from_ms + length_ms)
    for other in (window_before(window, ZoneInfo(zone)), usual_window(window, ZoneInfo(zone))):
        assert other.to_ms == from_ms
        assert other.length_ms > 0
    local = datetime.fromtimestamp(from_ms / 1000, ZoneInfo(zone))
    assert hour_name(from_ms // 900_000, ZoneInfo(zone), "week") == f"{local:%a %H}:00"

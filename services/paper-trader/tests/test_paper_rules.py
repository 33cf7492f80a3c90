"""The rules of the simulation, one by one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from paper_trader.simulation import Arrived, Simulation, Slice
from paper_trader.snapshot import Positions, Snapshot, decode, encode
from tocsin_common.documents import Portfolio
from tocsin_common.events import EquityMarked, Event, OrderFilled, OutcomeMeasured, SignalRaised, SignalSkipped

PLACE = ("binance", "BTC/USDT")
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
T0 = 1_700_000_000_000 // HOUR_MS * HOUR_MS


def signal(**changes: Any) -> SignalRaised:
    """Long from 100, stop 90, targets 110 and 120, for an hour from T0 on."""
    fields: dict[str, Any] = {
        "strategy": "ema",
        "strategy_version": "1",
        "params_hash": "p",
        "exchange": PLACE[0],
        "symbol": PLACE[1],
        "timeframe": "1m",
        "candle_open_ms": T0 - MINUTE_MS,
        "confirmed_ms": T0,
        "side": "long",
        "confidence": 50,
        "entry": 100.0,
        "stop": 90.0,
        "targets": [110.0, 120.0],
        "expires_ms": T0 + HOUR_MS,
        "reasons": [],
    }
    return SignalRaised(**{**fields, **changes})


def play(market: list[Any], *signals: SignalRaised, until_ms: int = T0 + 2 * HOUR_MS, **portfolio: Any) -> list[Event]:
    simulation = Simulation()
    simulation.set_portfolio(Portfolio(portfolio_id="p", **portfolio))
    return simulation.advance(Slice(until_ms, [Arrived(event) for event in market], signals))


def outcome(events: list[Event]) -> OutcomeMeasured:
    (found,) = (event for event in events if isinstance(event, OutcomeMeasured))
    return found


def fills(events: list[Event]) -> list[OrderFilled]:
    return [event for event in events if isinstance(event, OrderFilled)]


def skips(events: list[Event]) -> list[str]:
    return [event.reason for event in events if isinstance(event, SignalSkipped)]


def trades(kit: Any, *rows: tuple[int, float], place: tuple[str, str] = PLACE) -> Any:
    """Trades at seconds after T0; one before it, so that the portfolio is open."""
    return kit.trades(place, [(T0 - 1000, 100.0), *((T0 + int(1000 * s), price) for s, price in rows)])


def test_follows_a_signal_to_its_last_target(kit: Any) -> None:
    events = play([trades(kit, (1, 101.0), (2, 112.0), (3, 95.0), (4, 121.0), (5, 50.0))], signal())
    bought, sold = fills(events)
    assert (bought.reason, bought.market_price, bought.ts_ms) == ("entry", Decimal("101.0"), T0 + 1000)
    assert bought.price == Decimal("101.0505")
    assert bought.amount == Decimal("9.04936428")  # 1 % of 10,000 over the distance 101.0505 - 90
    assert (sold.reason, sold.market_price, sold.basis_ref) == ("target_2", Decimal("121.0"), "5")
    assert sold.realised_pnl == bought.amount * (sold.price - bought.price)
    measured = outcome(events)
    assert (measured.result, measured.r_multiple, measured.mae_r, measured.targets_hit) == ("target_2", 2.1, -0.5, 2)


def test_a_position_is_at_most_the_stated_fraction_of_equity(kit: Any) -> None:
    (bought, *_) = fills(play([trades(kit, (1, 100.0))], signal(stop=99.9)))
    assert Decimal(1999) < bought.amount * bought.price <= Decimal(2000)


def test_leaves_an_expired_position_with_the_first_price_after_the_expiry(kit: Any) -> None:
    events = play([trades(kit, (1, 101.0), (3599, 104.0), (3700, 80.0))], signal())
    assert [(fill.reason, fill.market_price) for fill in fills(events)] == [
        ("entry", Decimal("101.0")),
        ("expired", Decimal("80.0")),
    ]
    measured = outcome(events)
    assert (measured.result, measured.exit_price, measured.ended_ms) == ("expired", 104.0, T0 + HOUR_MS)


def test_a_short_grows_cash_by_its_proceeds_and_marks_negative(kit: Any) -> None:
    events = play([trades(kit, (1, 100.0), (2, 99.0))], signal(side="short", stop=110.0, targets=[90.0]))
    (sold,) = fills(events)
    assert (sold.side, sold.position_amount) == ("sell", -sold.amount)
    assert sold.cash_after == 10_000 + sold.amount * sold.price - sold.fee
    mark = next(event for event in events if isinstance(event, EquityMarked))
    assert mark.holdings[0].value < 0
    assert mark.equity == mark.cash + mark.holdings[0].value


@pytest.mark.parametrize(
    ("reason", "rows", "changes", "portfolio"),
    [
        ("quote_currency", [(1, 100.0)], {}, {"currency": "EUR"}),
        ("quote_currency", [(1, 100.0)], {"symbol": "BTC/USD:BTC"}, {"currency": "USD"}),
        ("below_min_confidence", [(1, 100.0)], {}, {"min_confidence": 51}),
        ("strategy_not_followed", [(1, 100.0)], {}, {"strategies": ["rsi"]}),
        ("expired_before_entry", [(7200, 100.0)], {}, {}),
        ("stop_already_touched", [(0.1, 89.0), (1, 100.0)], {}, {}),
        ("target_already_touched", [(1, 130.0)], {}, {}),
        ("too_small", [(1, 100.0)], {}, {"cash": Decimal("0.0000001")}),
        ("contradictory_levels", [(1, 100.0)], {"stop": 101.0}, {}),
    ],
)
def test_says_why_it_does_not_follow(
    kit: Any, reason: str, rows: list[tuple[int, float]], changes: dict[str, Any], portfolio: dict[str, Any]
) -> None:
    events = play([trades(kit, *rows)], signal(**changes), until_ms=T0 + 3 * HOUR_MS, **portfolio)
    assert skips(events) == [reason]
    assert fills(events) == []


def test_one_position_per_instrument_and_the_more_confident_signal_gets_it(kit: Any) -> None:
    weak, strong = signal(params_hash="weak", confidence=10), signal(params_hash="strong", confidence=90)
    events = play([trades(kit, (1, 100.0))], weak, strong)
    assert [fill.signal_id for fill in fills(events)] == [strong.signal_id]
    assert skips(events) == [
        "position_open",
    ]


def test_cash_that_is_spent_cannot_buy(kit: Any) -> None:
    other = ("binance", "ETH/USDT")
    market = [trades(kit, (1, 100.0)), trades(kit, (2, 100.0), place=other)]
    everything = {"risk_fraction": Decimal(1), "max_position_fraction": Decimal(1), "cash": Decimal("0.000011")}
    events = play(market, signal(), signal(symbol=other[1]), **everything)
    assert len(fills(events)) == 1
    assert skips(events) == ["insufficient_cash"]


def test_a_contradictory_signal_is_invalidated_at_once(kit: Any) -> None:
    measured = outcome(play([trades(kit, (1, 100.0))], signal(targets=[])))
    assert (measured.result, measured.r_multiple, measured.ended_ms) == ("invalidated", 0.0, T0)


def test_a_signal_without_any_price_expires_with_nothing_won_or_lost() -> None:
    measured = outcome(play([], signal()))
    assert (measured.result, measured.r_multiple, measured.mfe_r, measured.mae_r) == ("expired", 0.0, 0.0, 0.0)


def test_a_signal_given_twice_lives_once(kit: Any) -> None:
    events = play([trades(kit, (1, 100.0), (2, 89.0))], signal(), signal())
    assert outcome(events).result == "stop"
    assert len(fills(events)) == 2


# Candles


def candles(kit: Any, *bars: tuple[float, float, float, float], origin: str = "exchange", timeframe: str = "1m") -> Any:
    """One event per candle from T0 on: open, high, low, close."""
    length = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS}[timeframe]
    first = kit.candle(PLACE, "1m", T0 - MINUTE_MS, [100.0], origin)
    made = [kit.candle(PLACE, timeframe, T0 + i * length, bar, origin) for i, bar in enumerate(bars)]
    return [first, *made] if timeframe == "1m" else made


def test_on_candles_a_touch_of_both_is_the_stop_and_the_entry_is_an_open(kit: Any) -> None:
    events = play(candles(kit, (100, 101, 99, 100), (101, 125, 85, 110)), signal(confirmed_ms=T0))
    bought, sold = fills(events)
    assert (bought.basis, bought.basis_ref, bought.market_price) == ("candle", str(T0 + MINUTE_MS), Decimal("101.0"))
    assert (sold.reason, sold.market_price, sold.ts_ms) == ("stop", Decimal("90.0"), T0 + 2 * MINUTE_MS - 1)
    measured = outcome(events)
    assert (measured.result, measured.basis, measured.mfe_r) == ("stop", "candles", 0.1)


def test_a_gap_through_the_stop_leaves_at_the_open(kit: Any) -> None:
    events = play(candles(kit, (100, 101, 99, 100), (101, 102, 100, 101), (70, 80, 65, 75)), signal())
    assert fills(events)[-1].market_price == Decimal("70.0")
    assert outcome(events).r_multiple == -3.0


def test_a_candle_that_began_before_the_confirmation_does_not_count(kit: Any) -> None:
    early = kit.candle(PLACE, "1m", T0 - 30_000, [100, 130, 80, 100])
    assert outcome(play([early], signal())).result == "expired"


@pytest.mark.parametrize("origin", ["trades", "history"])
def test_candles_made_from_trades_and_history_are_never_prices(kit: Any, origin: str) -> None:
    events = play(candles(kit, (100, 101, 99, 100), (101, 125, 85, 110), origin=origin), signal())
    assert fills(events) == []
    assert outcome(events).result == "expired"


def test_a_corrected_candle_tells_of_the_past_and_is_no_price(kit: Any) -> None:
    plain = candles(kit, (100, 101, 99, 100), (100, 101, 99, 100))
    added = kit.candle(PLACE, "1m", T0 + 2 * MINUTE_MS, [100, 125, 85, 100])
    assert play([*plain, added], signal()) != play(plain, signal())
    corrected = msgspec.structs.replace(added, revision=1)
    assert play([*plain, corrected], signal()) == play(plain, signal())


def test_of_several_timeframes_the_shortest_is_the_price(kit: Any) -> None:
    short = candles(kit, *[(100, 101, 99, 100)] * 5)
    derived = candles(kit, (100, 300, 1, 100), timeframe="5m")
    assert outcome(play([*short, *derived], signal())).result == "expired"


def test_from_the_first_trade_on_candles_no_longer_count(kit: Any) -> None:
    market = [*candles(kit, (100, 101, 99, 100)), kit.trades(PLACE, [(T0 + 61_000, 100.0)])]
    wild = kit.candle(PLACE, "1m", T0 + MINUTE_MS, [100, 300, 1, 100])
    measured = outcome(play([*market, wild], signal()))
    assert (measured.result, measured.basis) == ("expired", "trades")


# Time


def test_a_price_older_than_the_clock_it_came_after_is_dropped_and_counted(kit: Any) -> None:
    simulation = Simulation()
    late = Arrived(kit.trades(PLACE, [(T0 + 1000, 50.0), (T0 + 5000, 100.0)]), floor_ms=T0 + 3000)
    simulation.advance(Slice(T0 + 3000, (), [signal()]))
    assert simulation.advance(Slice(T0 + 10_000, [late])) == []
    assert simulation.late["trades"] == 1


def test_a_trade_out_of_order_counts_from_the_moment_of_the_one_before(kit: Any) -> None:
    events = play([kit.trades(PLACE, [(T0 + 5000, 100.0), (T0 + 4000, 89.0)])], signal())
    measured = outcome(events)
    assert (measured.result, measured.exit_price, measured.ended_ms) == ("stop", 89.0, T0 + 5000)


def test_a_signal_that_comes_late_counts_from_the_clock_on(kit: Any) -> None:
    simulation = Simulation()
    simulation.advance(Slice(T0 + 60_000, [Arrived(trades(kit, (1, 89.0)))]))
    events = simulation.advance(
        Slice(T0 + 2 * HOUR_MS, [Arrived(kit.trades(PLACE, [(T0 + 61_000, 121.0)]))], [signal()])
    )
    assert outcome(events).result == "target_2"


def test_equity_is_marked_at_full_hours_with_new_prices_and_not_through_years_of_silence(kit: Any) -> None:
    years = 3 * 365 * 24 * HOUR_MS
    rows = [(1, 100.0), (60, 101.0), (4000, 102.0), (years // 1000, 103.0)]
    lasting = signal(expires_ms=T0 + 2 * years)
    events = play([trades(kit, *rows)], lasting, until_ms=T0 + years + HOUR_MS)
    marks = [event.ts_ms - T0 for event in events if isinstance(event, EquityMarked)]
    assert marks == [1000, HOUR_MS, 2 * HOUR_MS, years]


def test_new_parameters_apply_but_currency_and_cash_of_an_open_portfolio_stay(kit: Any) -> None:
    simulation = Simulation()
    simulation.set_portfolio(Portfolio(portfolio_id="p"))
    simulation.advance(Slice(T0, [Arrived(trades(kit))]))
    changed = Portfolio(portfolio_id="p", currency="EUR", cash=Decimal(5), risk_fraction=Decimal("0.02"))
    simulation.set_portfolio(changed)
    account = simulation.state.accounts["p"]
    assert (account.portfolio.currency, account.portfolio.cash) == ("USDT", Decimal(10_000))
    assert account.portfolio.risk_fraction == Decimal("0.02")


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_between_any_two_slices_changes_nothing(kit: Any, seed: int) -> None:
    scene = kit.scene(seed)
    marks = [kit.start_ms + minute * MINUTE_MS + 7 for minute in range(0, 180, 9)]
    simulation = Simulation()
    for portfolio in scene.portfolios:
        simulation.set_portfolio(portfolio)
    events: list[Event] = []
    for piece in scene.slices(marks):
        events += simulation.advance(piece)
        again = decode(encode(Snapshot(Positions(clock_seq=7), {"CLOCK": "x"}, simulation.state)))
        assert again.positions.clock_seq == 7
        simulation = Simulation(again.state)
    assert events == scene.play()


def test_a_snapshot_that_is_damaged_is_refused() -> None:
    with pytest.raises(ValueError, match="not a snapshot"):
        decode(b"nonsense")

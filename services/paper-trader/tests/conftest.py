"""A slow, row-by-row reading of the paper trader's rules, to compare the real one with, and random markets for both."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal, localcontext
from typing import Any

import pytest

from paper_trader.simulation import Arrived, Simulation, Slice
from tocsin_common.documents import Portfolio
from tocsin_common.events import (
    CandlesClosed,
    EquityMarked,
    Event,
    OrderFilled,
    Origin,
    OutcomeMeasured,
    PortfolioOpened,
    SignalRaised,
    SignalSkipped,
    TradesReceived,
)

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
START_MS = 1_600_000_000_000 // HOUR_MS * HOUR_MS


@dataclass
class Row:
    """One price as the slow loop sees it; `open` marks a candle's open, `body` its range."""

    tick: int
    since_ms: int
    ts_ms: int
    low: float
    high: float
    last: float
    basis: str
    ref: str


def rows_of(market: Sequence[TradesReceived | CandlesClosed]) -> dict[tuple[str, str], list[Row]]:
    """The rows of every instrument, from events whose candles have one timeframe per instrument."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for event in market:
        mine = rows.setdefault((event.exchange, event.symbol), [])
        if isinstance(event, TradesReceived):
            for ts, price, name in zip(event.ts_ms, event.price, event.trade_id, strict=True):
                mine.append(Row(4 * ts + 3, ts, ts, price, price, price, "trade", name or str(ts)))
        else:
            length = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS}[event.timeframe]
            for i, opened in enumerate(event.open_ms):
                closed, o = opened + length, event.open[i]
                mine.append(Row(4 * closed, opened, opened, o, o, o, "candle", str(opened)))
                body = (event.low[i], event.high[i], event.close[i])
                mine.append(Row(4 * closed + 1, opened, closed - 1, *body, "candle", str(opened)))
    for mine in rows.values():
        mine.sort(key=lambda row: row.tick)
    return rows


@dataclass
class SlowAccount:
    portfolio: Portfolio
    cash: Decimal
    n: int = 0
    held: dict[tuple[str, str], tuple[SignalRaised, Decimal]] = field(default_factory=dict)
    marked_tick: int = -1
    fresh: bool = False


@dataclass
class SlowLife:
    signal: SignalRaised
    low: float
    high: float
    waiting: list[str]
    expired: bool = False
    last: float | None = None


class SlowTrader:
    """Walks through all rows of all instruments once, looking at every signal and portfolio at each."""

    def __init__(self, portfolios: Sequence[Portfolio], signals: Sequence[SignalRaised]) -> None:
        self.accounts = {
            p.portfolio_id: SlowAccount(p, p.cash) for p in sorted(portfolios, key=lambda p: p.portfolio_id)
        }
        self.signals = list(signals)
        self.lives: list[SlowLife] = []
        self.rows: dict[tuple[str, str], list[Row]] = {}
        self.told: list[tuple[Any, ...]] = []

    def run(self, rows: dict[tuple[str, str], list[Row]], until_ms: int) -> list[tuple[Any, ...]]:
        self.rows = rows
        with localcontext() as context:
            context.prec = 150
            for item in sorted(self._timeline(rows, until_ms), key=lambda entry: entry[:-1]):
                item[-1]()
        return self.told

    def _timeline(self, rows: dict[tuple[str, str], list[Row]], until_ms: int) -> Iterator[tuple[Any, ...]]:
        first = min((row.tick, row.since_ms) for mine in rows.values() for row in mine)
        yield (first[0], 0, "", 0, 0, "", lambda: self._open(first[1]))
        for s in self.signals:
            life = SlowLife(s, s.entry, s.entry, [])
            if s.expires_ms < until_ms:
                yield (4 * s.expires_ms + 2, 0, "", 0, 1, s.signal_id, lambda life=life: self._expire(life))
            if s.confirmed_ms < until_ms:
                name = f"{100 - s.confidence:03d} {s.signal_id}"
                yield (4 * s.confirmed_ms + 2, 0, "", 0, 2, name, lambda life=life: self._confirm(life))
        for place, mine in rows.items():
            for i, row in enumerate(mine):
                if row.tick < 4 * until_ms:
                    yield (row.tick, 1, " ".join(place), i, 0, "", lambda p=place, r=row: self._price(p, r))
        for hour in range(first[1] // HOUR_MS * HOUR_MS, until_ms, HOUR_MS):
            yield (4 * hour + 3, 2, "", 0, 0, "", lambda hour=hour: self._hour(hour))

    def _tell(self, account: SlowAccount, *facts: Any) -> None:
        account.n += 1
        self.told.append((account.portfolio.portfolio_id, account.n, *facts))

    def _open(self, ts_ms: int) -> None:
        for account in self.accounts.values():
            self._tell(account, "opened", ts_ms, account.cash)

    def _confirm(self, life: SlowLife) -> None:
        s = life.signal
        self.lives.append(life)
        for name, account in self.accounts.items():
            p = account.portfolio
            if account.n == 0:
                continue
            reason = None
            if p.strategies and s.strategy not in p.strategies:
                reason = "strategy_not_followed"
            elif s.confidence < p.min_confidence:
                reason = "below_min_confidence"
            elif s.symbol.partition(":")[0].split("/")[1] != p.currency or s.symbol.partition(":")[2] not in (
                "",
                p.currency,
            ):
                reason = "quote_currency"
            if reason:
                self._tell(account, "skip", s.confirmed_ms, s.signal_id, reason)
            else:
                life.waiting.append(name)

    def _expire(self, life: SlowLife) -> None:
        if life not in self.lives:
            return
        price = life.signal.entry if life.last is None else life.last
        self._outcome(life, "expired", life.signal.expires_ms, price)
        self._turn_away(life, life.signal.expires_ms, "expired_before_entry")
        life.expired = True

    def _price(self, place: tuple[str, str], row: Row) -> None:
        for account in self.accounts.values():
            account.fresh |= place in account.held and row.tick > account.marked_tick
        mine = [life for life in self.lives if (life.signal.exchange, life.signal.symbol) == place]
        for life in sorted((x for x in mine if x.expired), key=lambda x: x.signal.signal_id):
            if row.since_ms >= life.signal.expires_ms:
                self._leave(life, row, row.last, "expired")
        alive = [life for life in mine if not life.expired and row.since_ms >= life.signal.confirmed_ms]
        for life in sorted(alive, key=lambda x: x.signal.signal_id):
            self._live(life, row)
        for life in sorted(alive, key=lambda x: (-x.signal.confidence, x.signal.signal_id)):
            for name in list(life.waiting):
                account = self.accounts[name]
                if row.since_ms >= life.signal.confirmed_ms + account.portfolio.latency_ms:
                    life.waiting.remove(name)
                    self._enter(account, life, row)

    def _live(self, life: SlowLife, row: Row) -> None:
        s = life.signal
        life.last = row.last
        long = s.side == "long"
        stopped = row.low <= s.stop if long else row.high >= s.stop
        reached = row.high >= s.targets[-1] if long else row.low <= s.targets[-1]
        if stopped or reached:
            level = s.stop if stopped else s.targets[-1]
            price = row.last if row.low == row.high else level
            life.low, life.high = min(life.low, price), max(life.high, price)
            if not stopped and long:
                life.low = min(life.low, row.low)
            if not stopped and not long:
                life.high = max(life.high, row.high)
            result = "stop" if stopped else f"target_{len(s.targets)}"
            self._outcome(life, result, row.ts_ms, price)
            self._turn_away(life, row.ts_ms, "stop_already_touched" if stopped else "target_already_touched")
            self._leave(life, row, price, result)
        else:
            life.low, life.high = min(life.low, row.low), max(life.high, row.high)

    def _outcome(self, life: SlowLife, result: str, ts_ms: int, price: float) -> None:
        s, sign = life.signal, 1 if life.signal.side == "long" else -1
        risk = abs(s.entry - s.stop)
        best, worst = (life.high, life.low) if sign > 0 else (life.low, life.high)
        hit = sum(sign * best >= sign * target for target in s.targets)
        mfe, mae = max(0.0, sign * (best - s.entry) / risk), min(0.0, sign * (worst - s.entry) / risk)
        self.told.append(("outcome", s.signal_id, result, ts_ms, price, sign * (price - s.entry) / risk, mfe, mae, hit))

    def _turn_away(self, life: SlowLife, ts_ms: int, reason: str) -> None:
        for name in sorted(life.waiting):
            self._tell(self.accounts[name], "skip", ts_ms, life.signal.signal_id, reason)
        life.waiting.clear()

    def _leave(self, life: SlowLife, row: Row, price: float, reason: str) -> None:
        place = (life.signal.exchange, life.signal.symbol)
        for account in self.accounts.values():
            if place in account.held and account.held[place][0] is life.signal:
                self._fill(account, life.signal, -account.held[place][1], row, price, reason)
        self.lives.remove(life)

    def _enter(self, account: SlowAccount, life: SlowLife, row: Row) -> None:
        s, p = life.signal, account.portfolio
        sign = 1 if s.side == "long" else -1
        price = _worse(row.last, p.slippage_rate, sign)
        equity = self._worth(account, row.tick)
        reason = None
        if (s.exchange, s.symbol) in account.held:
            reason = "position_open"
        elif equity <= 0:
            reason = "insufficient_cash"
        else:
            amount = _floor(
                min(
                    equity * p.risk_fraction / abs(price - Decimal(repr(s.stop))),
                    equity * p.max_position_fraction / price,
                )
            )
            if not amount:
                reason = "too_small"
            elif sign > 0:
                amount = min(amount, _floor(max(Decimal(0), account.cash / (price * (1 + p.fee_rate)))))
                reason = None if amount else "insufficient_cash"
        if reason:
            self._tell(account, "skip", row.ts_ms, s.signal_id, reason)
        else:
            self._fill(account, s, sign * amount, row, row.last, "entry")

    def _fill(
        self, account: SlowAccount, s: SignalRaised, amount: Decimal, row: Row, market: float, reason: str
    ) -> None:
        p, place = account.portfolio, (s.exchange, s.symbol)
        price = _worse(market, p.slippage_rate, 1 if amount > 0 else -1)
        account.cash -= amount * price + abs(amount) * price * p.fee_rate
        if reason == "entry":
            account.held[place] = (s, amount)
        else:
            del account.held[place]
        self._tell(
            account,
            "fill",
            row.ts_ms,
            s.signal_id,
            reason,
            amount,
            price,
            Decimal(repr(market)),
            row.basis,
            row.ref,
            account.cash,
        )
        self._mark(account, row.ts_ms, row.tick)

    def _mark(self, account: SlowAccount, ts_ms: int, tick: int) -> None:
        account.fresh, account.marked_tick = False, tick
        self._tell(account, "equity", ts_ms, account.cash, len(account.held), self._worth(account, tick))

    def _worth(self, account: SlowAccount, tick: int) -> Decimal:
        worth = account.cash
        for place, (_, amount) in account.held.items():
            last = [row for row in self.rows[place] if row.tick <= tick][-1].last
            worth += amount * Decimal(repr(last))
        return worth

    def _hour(self, hour: int) -> None:
        for account in self.accounts.values():
            if account.held and account.fresh:
                self._mark(account, hour, 4 * hour + 3)


def _worse(market: float, rate: Decimal, sign: int) -> Decimal:
    """A market price after slippage, to 12 digits, rounded against the trader (sign 1: a buyer)."""
    exact = Decimal(repr(market)) * (1 + sign * rate)
    step = Decimal(1).scaleb(exact.adjusted() - 11)
    return exact.quantize(step, rounding=ROUND_CEILING if sign > 0 else ROUND_FLOOR)


def _floor(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("1E-8"), rounding=ROUND_DOWN)


def plain(event: Event) -> tuple[Any, ...]:
    """An event as the slow loop tells it."""
    if isinstance(event, OutcomeMeasured):
        r = (event.r_multiple, event.mfe_r, event.mae_r, event.targets_hit)
        return ("outcome", event.signal_id, event.result, event.ended_ms, event.exit_price, *r)
    assert isinstance(event, PortfolioOpened | SignalSkipped | OrderFilled | EquityMarked)
    head = (event.portfolio, event.n)
    if isinstance(event, PortfolioOpened):
        return (*head, "opened", event.ts_ms, event.cash)
    if isinstance(event, SignalSkipped):
        return (*head, "skip", event.ts_ms, event.signal_id, event.reason)
    if isinstance(event, EquityMarked):
        return (*head, "equity", event.ts_ms, event.cash, len(event.holdings), event.equity)
    amount = event.amount if event.side == "buy" else event.amount.copy_negate()
    price = (event.price, event.market_price, event.basis, event.basis_ref)
    return (*head, "fill", event.ts_ms, event.signal_id, event.reason, amount, *price, event.cash_after)


@dataclass
class Scene:
    """A random market of a few hours: trades, candles, signals and portfolios, all from one seed."""

    seed: int
    hours: float = 3.0
    signal_count: int = 25
    market: list[TradesReceived | CandlesClosed] = field(default_factory=list)
    signals: list[SignalRaised] = field(default_factory=list)
    portfolios: list[Portfolio] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.end_ms = START_MS + int(self.hours * HOUR_MS)
        self.paths: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for symbol in ("AAA/USDT", "BBB/USDT:USDT", "CCC/BTC"):
            self._trade(("kraken", symbol))
        for symbol, timeframe in (("DDD/USDT", "1m"), ("EEE/USDT", "5m"), ("FFF/USD:FFF", "1m")):
            self._candles(("binance", symbol), timeframe)
        self.signals = [self._signal() for _ in range(self.signal_count)]
        self.portfolios = [
            Portfolio(portfolio_id="steady"),
            Portfolio(
                portfolio_id="bold",
                risk_fraction=Decimal("0.2"),
                max_position_fraction=Decimal(1),
                cash=Decimal("999.99"),
                latency_ms=0,
            ),
            Portfolio(portfolio_id="picky", strategies=["ema"], min_confidence=50, latency_ms=60_000),
            Portfolio(portfolio_id="coins", currency="BTC", cash=Decimal("0.00000001")),
        ]

    def _walk(self, place: tuple[str, str], step_ms: int) -> list[tuple[int, float]]:
        """Prices on a coarse grid, so that levels are touched exactly and several trades share a millisecond."""
        at, price, walk = START_MS + self.random.randrange(step_ms), 1000, []
        while at < self.end_ms:
            walk.append((at, price / 10))
            price = max(100, price + self.random.choice((-30, -5, -1, 0, 0, 1, 5, 30)))
            at += self.random.choice((0, 1, step_ms // 2, step_ms, 3 * step_ms))
        self.paths[place] = walk
        return walk

    def _trade(self, place: tuple[str, str]) -> None:
        walk = self._walk(place, self.random.choice((5_000, 40_000)))
        while walk:
            size = self.random.randrange(1, 40)
            part, walk = walk[:size], walk[size:]
            self.market.append(trades(place, part, first_id=len(self.market) * 1000))

    def _candles(self, place: tuple[str, str], timeframe: str) -> None:
        length = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS}[timeframe]
        walk = self._walk(place, 9_000)
        for opened in range(START_MS, self.end_ms, length):
            inside = [price for ts, price in walk if opened <= ts < opened + length]
            if inside:
                self.market.append(candle(place, timeframe, opened, inside))

    def _signal(self) -> SignalRaised:
        place = self.random.choice(list(self.paths))
        confirmed = START_MS + MINUTE_MS * self.random.randrange(int(self.hours * 60))
        entry = next((price for ts, price in self.paths[place] if ts >= confirmed), 100.0)
        side = self.random.choice(("long", "short"))
        sign = 1 if side == "long" else -1
        risk = self.random.choice((0.5, 3.0, 10.0))
        return SignalRaised(
            strategy=self.random.choice(("ema", "rsi")),
            strategy_version="1",
            params_hash=str(self.random.randrange(10**9)),
            exchange=place[0],
            symbol=place[1],
            timeframe="1m",
            candle_open_ms=confirmed - MINUTE_MS,
            confirmed_ms=confirmed,
            side=side,
            confidence=self.random.randrange(101),
            entry=entry,
            stop=round(entry - sign * risk, 1),
            targets=[round(entry + sign * risk * k, 1) for k in range(1, self.random.randrange(2, 5))],
            expires_ms=confirmed + MINUTE_MS * self.random.choice((1, 20, 90, 600)),
            reasons=["seeded"],
        )

    def slices(self, marks: Sequence[int]) -> list[Slice]:
        """The market cut at the given times; what is known by a time is in the slice that ends there, at the latest."""
        pieces, market, signals = [], self.market, self.signals
        for until in [*marks, self.end_ms]:
            given = [Arrived(event) for event in market if known_ms(event) < until]
            market = [event for event in market if known_ms(event) >= until]
            pieces.append(Slice(until, given, [signal for signal in signals if signal.confirmed_ms <= until]))
            signals = [signal for signal in signals if signal.confirmed_ms > until]
        return pieces

    def play(self, marks: Sequence[int] = ()) -> list[Event]:
        """What the simulation makes of the market cut at the given times."""
        simulation = Simulation()
        for portfolio in self.portfolios:
            simulation.set_portfolio(portfolio)
        return [event for piece in self.slices(marks) for event in simulation.advance(piece)]

    def slow(self) -> list[tuple[Any, ...]]:
        """What the slow loop makes of it."""
        return SlowTrader(self.portfolios, self.signals).run(rows_of(self.market), self.end_ms)


def trades(place: tuple[str, str], rows: Sequence[tuple[int, float]], *, first_id: int | None = 1) -> TradesReceived:
    """Trades `(ts_ms, price)` of an instrument as one event."""
    ids = [None if first_id is None else str(first_id + i) for i in range(len(rows))]
    return TradesReceived(
        exchange=place[0],
        symbol=place[1],
        source="test",
        cursor=0,
        received_ms=0,
        ts_ms=[ts for ts, _ in rows],
        price=[price for _, price in rows],
        amount=[1.0] * len(rows),
        side="-" * len(rows),
        trade_id=ids,
    )


def candle(
    place: tuple[str, str], timeframe: str, open_ms: int, inside: Sequence[float], origin: Origin = "exchange"
) -> CandlesClosed:
    """One candle of an instrument with these prices inside."""
    return CandlesClosed(
        exchange=place[0],
        symbol=place[1],
        timeframe=timeframe,
        origin=origin,
        open_ms=[open_ms],
        open=[inside[0]],
        high=[max(inside)],
        low=[min(inside)],
        close=[inside[-1]],
        volume=[float(len(inside))],
    )


def known_ms(event: TradesReceived | CandlesClosed) -> int:
    """When the first row of an event is known."""
    if isinstance(event, TradesReceived):
        return event.ts_ms[0]
    return event.open_ms[0] + {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS}[event.timeframe]


class Kit:
    """What the tests build markets and expectations with."""

    scene = Scene
    slow = SlowTrader
    rows_of = staticmethod(rows_of)
    plain = staticmethod(plain)
    trades = staticmethod(trades)
    candle = staticmethod(candle)
    start_ms = START_MS


@pytest.fixture
def kit() -> type[Kit]:
    return Kit

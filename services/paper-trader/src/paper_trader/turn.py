"""One slice, played: everything that happens before a clock, in order, to signals and portfolios."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from paper_trader.account import Account, Quote
from paper_trader.agenda import Agenda, Kind
from paper_trader.life import Life
from paper_trader.tape import Segment, Tape
from tocsin_common.events import Event, SignalRaised
from tocsin_trading.exits import Touch
from tocsin_trading.money import market_decimal
from tocsin_trading.prices import ms_of, tick_of_clock, tick_of_trade

HOUR_MS = 3_600_000

_TOO_LATE = {"stop": "stop_already_touched", "target": "target_already_touched"}


@dataclass(slots=True)
class State:
    """All the simulation knows; tapes and lives by place, `announced` signals wait for the clock."""

    now_ms: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)
    tapes: dict[str, Tape] = field(default_factory=dict)
    lives: dict[str, dict[str, Life]] = field(default_factory=dict)
    announced: list[SignalRaised] = field(default_factory=list)

    def tape(self, place: str) -> Tape:
        """The tape of an instrument; an empty one, kept from now on, if nothing has been seen of it."""
        tape = self.tapes.get(place)
        if tape is None:
            tape = self.tapes[place] = Tape()
        return tape


class Turn:
    """Plays one slice; the tapes have been cut at `until_ms` before."""

    def __init__(self, state: State, until_ms: int) -> None:
        self._state = state
        self._until_ms = until_ms
        self._agenda = Agenda()
        self._events: list[Event] = []
        self._accounts = [account for _, account in sorted(state.accounts.items())]

    def play(self) -> list[Event]:
        """Do everything that happens in the slice; returns the events in order."""
        self._plan_confirmations()
        self._open_accounts()
        for lives in self._state.lives.values():
            for life in lives.values():
                self._watch(life)
        for account in self._accounts:
            self._plan_mark(account)
        self._agenda.run()
        return self._events

    # What is planned

    def _plan_confirmations(self) -> None:
        """Signals whose confirmation the clock passes come to life, the most confident of a moment first."""
        ready = [signal for signal in self._state.announced if signal.confirmed_ms < self._until_ms]
        self._state.announced = [signal for signal in self._state.announced if signal.confirmed_ms >= self._until_ms]
        for signal in ready:
            life, at_ms = Life.of(signal), max(signal.confirmed_ms, self._state.now_ms)
            name = f"{100 - signal.confidence:03d} {life.signal_id}"
            self._agenda.add(Kind.CONFIRM, tick_of_clock(at_ms), partial(self._confirm, life, at_ms), name=name)

    def _open_accounts(self) -> None:
        """A new portfolio opens with the first price after it was added."""
        new = [account for account in self._accounts if not account.is_open and account.portfolio.enabled]
        paths = [tape.segment.path for tape in self._state.tapes.values() if tape.segment is not None]
        if new and paths:
            tick, ts_ms = min((int(path.tick[0]), int(path.since_ms[0])) for path in paths)
            for account in new:
                self._agenda.add(Kind.OPEN, tick, partial(self._open, account, ts_ms), name=account.name)

    def _watch(self, life: Life) -> None:
        """Plan what the slice brings to a living signal and those who follow it."""
        segment, place = self._state.tape(life.place).segment, life.place
        if life.expired:
            self._plan_close(life)
            return
        touch = life.touch(segment) if segment is not None else None
        expires_ms = life.signal.expires_ms
        if touch is not None:
            assert segment is not None
            tick = int(segment.path.tick[touch.row])
            self._agenda.add(
                Kind.END, tick, partial(self._end, life, touch), name=life.signal_id, place=place, row=touch.row
            )
        elif expires_ms < self._until_ms:
            self._agenda.add(Kind.EXPIRE, tick_of_clock(expires_ms), partial(self._expire, life), name=life.signal_id)
        if segment is not None:
            for name in life.waiting:
                self._plan_entry(life, self._state.accounts[name], segment)

    def _plan_entry(self, life: Life, account: Account, segment: Segment) -> None:
        row = segment.path.row_since(life.signal.confirmed_ms + account.portfolio.latency_ms)
        if row < len(segment.path):
            enter = partial(self._enter, life, account, row)
            name = f"{100 - life.signal.confidence:03d} {life.signal_id} {account.name}"
            self._agenda.add(Kind.ENTER, int(segment.path.tick[row]), enter, name=name, place=life.place, row=row)

    def _plan_close(self, life: Life) -> None:
        """What an expired signal leaves open is closed with the first price at or after the expiry."""
        segment = self._state.tape(life.place).segment
        if segment is None or not life.holders:
            return
        row = segment.path.row_since(life.signal.expires_ms)
        if row < len(segment.path):
            close = partial(self._close, life, row)
            tick = int(segment.path.tick[row])
            self._agenda.add(Kind.CLOSE, tick, close, name=life.signal_id, place=life.place, row=row)

    def _plan_mark(self, account: Account) -> None:
        """Mark the account at the first full hour by which something held has a new price."""
        if account.due_ms is None:
            ticks = [tick for place in account.held if (tick := self._new_price_tick(place, account.marked_tick))]
            if not ticks:
                return
            account.due_ms = -(-ms_of(min(ticks)) // HOUR_MS) * HOUR_MS
        if account.due_ms < self._until_ms:
            mark = partial(self._mark_hour, account, account.due_ms)
            self._agenda.add(Kind.MARK, tick_of_trade(account.due_ms), mark, name=account.name)

    def _new_price_tick(self, place: str, after_tick: int) -> int | None:
        segment = self._state.tape(place).segment
        if segment is None:
            return None
        row = segment.path.rows_through(after_tick)
        return int(segment.path.tick[row]) if row < len(segment.path) else None

    # What happens

    def _open(self, account: Account, ts_ms: int) -> None:
        self._events.append(account.open(ts_ms))

    def _confirm(self, life: Life, at_ms: int) -> None:
        """A signal comes to life, unless it lives already, and is offered to every portfolio."""
        lives = self._state.lives.setdefault(life.place, {})
        if life.signal_id in lives:
            return
        problem = life.problem()
        lives[life.signal_id] = life
        if problem:
            self._events.append(life.invalidated(at_ms, self._state.tape(life.place)))
        for account in self._accounts:
            if account.is_open:
                self._offer(life, account, at_ms, problem)
        if problem:
            self._forget(life)
        else:
            self._watch(life)

    def _offer(self, life: Life, account: Account, at_ms: int, problem: str | None) -> None:
        reason = problem or account.refusal(life.signal)
        if reason is None:
            life.waiting.append(account.name)
        else:
            self._events.append(account.skip(at_ms, life.signal_id, reason))

    def _enter(self, life: Life, account: Account, row: int) -> None:
        if account.name not in life.waiting:
            return
        life.waiting.remove(account.name)
        quote = self._quote(life.place, row)
        tick = self._tick(life.place, row)
        if life.place in account.held:
            self._events.append(account.skip(quote.ts_ms, life.signal_id, "position_open"))
            return
        amount = account.size(life.signal, quote.price, self._prices(account, tick))
        if isinstance(amount, str):
            self._events.append(account.skip(quote.ts_ms, life.signal_id, amount))
            return
        life.holders.append(account.name)
        self._events.append(account.enter(life.signal, life.signal_id, amount, quote))
        self._mark_fill(account, quote.ts_ms, tick)

    def _end(self, life: Life, touch: Touch) -> None:
        """Stop or last target: the outcome, and every position leaves with the price that touched."""
        outcome = life.outcome(self._state.tape(life.place), touch)
        self._events.append(outcome)
        self._turn_away(life, outcome.ended_ms, _TOO_LATE[touch.kind])
        self._leave(life, touch.row, outcome.result, touch.price)

    def _expire(self, life: Life) -> None:
        self._events.append(life.outcome(self._state.tape(life.place), None))
        self._turn_away(life, life.signal.expires_ms, "expired_before_entry")
        life.expired = True
        if life.holders:
            self._plan_close(life)
        else:
            self._forget(life)

    def _close(self, life: Life, row: int) -> None:
        self._leave(life, row, "expired", None)

    def _leave(self, life: Life, row: int, reason: str, price: float | None) -> None:
        quote, tick = self._quote(life.place, row, price), self._tick(life.place, row)
        for name in sorted(life.holders):
            account = self._state.accounts[name]
            self._events.append(account.leave(life.place, reason, quote))
            self._mark_fill(account, quote.ts_ms, tick)
        self._forget(life)

    def _turn_away(self, life: Life, ts_ms: int, reason: str) -> None:
        """Skip the signal for every portfolio whose order is still on its way."""
        for name in sorted(life.waiting):
            self._events.append(self._state.accounts[name].skip(ts_ms, life.signal_id, reason))
        life.waiting.clear()

    def _forget(self, life: Life) -> None:
        lives = self._state.lives[life.place]
        del lives[life.signal_id]
        if not lives:
            del self._state.lives[life.place]

    def _mark_fill(self, account: Account, ts_ms: int, tick: int) -> None:
        self._events.append(account.mark(ts_ms, tick, self._prices(account, tick)))
        self._plan_mark(account)

    def _mark_hour(self, account: Account, due_ms: int) -> None:
        if account.due_ms == due_ms:
            tick = tick_of_trade(due_ms)
            self._events.append(account.mark(due_ms, tick, self._prices(account, tick)))
            self._plan_mark(account)

    # What things cost

    def _tick(self, place: str, row: int) -> int:
        segment = self._state.tape(place).segment
        assert segment is not None
        return int(segment.path.tick[row])

    def _quote(self, place: str, row: int, price: float | None = None) -> Quote:
        """The market price of a row: the given level inside a candle, else the row's own price."""
        segment = self._state.tape(place).segment
        assert segment is not None
        market = float(segment.path.last[row]) if price is None else price
        return Quote(segment.path.event_ms(row), market_decimal(market), segment.basis(row), segment.reference(row))

    def _prices(self, account: Account, tick: int) -> dict[str, Decimal]:
        """The last price of everything the account holds, as known at a tick."""
        return {place: market_decimal(self._state.tape(place).price_through(tick)) for place in account.held}

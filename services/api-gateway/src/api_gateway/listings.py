"""The lists the API offers: their JSON, their order and their filters, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CANDLE = "c.exchange, c.symbol, c.timeframe, c.open_ms, c.open, c.high, c.low, c.close, c.volume, c.trades, c.origin, "
CANDLE += "c.revision"
OUTCOME = """o.signal_id, o.strategy, o.exchange, o.symbol, o.timeframe, o.side, o.result, o.confirmed_ms, o.ended_ms,
    o.exit_price, o.r_multiple, o.mfe_r, o.mae_r, o.targets_hit, o.basis"""
SIGNAL = """s.signal_id, s.strategy, s.strategy_version, s.params_hash, s.exchange, s.symbol, s.timeframe,
    s.candle_open_ms, s.confirmed_ms, s.side, s.confidence, s.entry, s.stop, s.targets, s.expires_ms, s.reasons,
    s.features, s.definition, s.risk, coalesce(o.result, 'active') as state,
    case when o.signal_id is not null then json_build_object(
        'result', o.result, 'ended_ms', o.ended_ms, 'exit_price', o.exit_price, 'r_multiple', o.r_multiple,
        'mfe_r', o.mfe_r, 'mae_r', o.mae_r, 'targets_hit', o.targets_hit, 'basis', o.basis) end as outcome"""
ALERT = """a.event_id, a.alert_id, a.decision, a.rule_id, a.kind, a.cause_id, a.ts_ms, a.exchange, a.symbol, a.title,
    a.text, a.fields, a.subscribers, a.subscriber_id, a.reason, a.detail"""
DELIVERY = """d.delivery_id, d.alert_id, d.subscriber_id, d.channel, d.state, d.attempt, d.queued_ms, d.at_ms,
    d.reason, d.provider_ref"""
FILL = """f.portfolio, f.n, f.ts_ms, f.position_id, f.signal_id, f.exchange, f.symbol, f.side, f.reason,
    f.amount::text, f.price::text, f.market_price::text, f.fee::text, f.basis, f.basis_ref,
    f.position_amount::text, f.position_entry_price::text, f.realised_pnl::text, f.cash_after::text"""
SKIP = "k.portfolio, k.n, k.ts_ms, k.signal_id, k.reason"
POSITION = """p.portfolio, p.position_id, p.signal_id, p.exchange, p.symbol, p.side, p.state, p.amount::text,
    p.entry_price::text, p.realised_pnl::text, p.fees::text, p.fills, p.opened_ms, p.closed_ms"""
EQUITY = "e.portfolio, e.n, e.ts_ms, e.cash::text, e.equity::text, e.holdings"
PORTFOLIO = """b.portfolio, b.currency, b.opened_ms, b.initial_cash::text, e.cash::text, e.equity::text,
    e.ts_ms as marked_ms"""


@dataclass(frozen=True, eq=False)
class Listing:
    """One list. `key` names what orders it, unique together, each with its Python type; `alias` owns those columns.

    `filters` maps a parameter's name to a condition with `{}` where its value goes.
    """

    name: str
    columns: str
    source: str
    alias: str
    key: tuple[tuple[str, type], ...]
    filters: Mapping[str, str]

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.key)


def _equal(alias: str, *names: str) -> dict[str, str]:
    return {name: f"{alias}.{name} = {{}}" for name in names}


def _between(column: str) -> dict[str, str]:
    return {"from_ms": f"{column} >= {{}}", "to_ms": f"{column} < {{}}"}


CANDLES = Listing(
    "candles",
    CANDLE,
    "candles c",
    "c",
    (("exchange", str), ("symbol", str), ("timeframe", str), ("open_ms", int)),
    _equal("c", "exchange", "symbol", "timeframe") | _between("c.open_ms"),
)
SIGNALS = Listing(
    "signals",
    SIGNAL,
    "signals s left join outcomes o using (signal_id)",
    "s",
    (("confirmed_ms", int), ("signal_id", str)),
    _equal("s", "exchange", "symbol", "strategy", "timeframe", "side")
    | {"min_confidence": "s.confidence >= {}", "result": "o.result = {}", "ended": "(o.signal_id is not null) = {}"}
    | _between("s.confirmed_ms"),
)
OUTCOMES = Listing(
    "outcomes",
    OUTCOME,
    "outcomes o",
    "o",
    (("ended_ms", int), ("signal_id", str)),
    _equal("o", "exchange", "symbol", "strategy", "timeframe", "side", "result") | _between("o.ended_ms"),
)
ALERTS = Listing(
    "alerts",
    ALERT,
    "alerts a",
    "a",
    (("ts_ms", int), ("event_id", str)),
    _equal("a", "alert_id", "decision", "rule_id", "cause_id", "exchange", "symbol", "reason") | _between("a.ts_ms"),
)
DELIVERIES = Listing(
    "deliveries",
    DELIVERY,
    "deliveries d",
    "d",
    (("queued_ms", int), ("delivery_id", str)),
    _equal("d", "alert_id", "subscriber_id", "channel", "state") | _between("d.queued_ms"),
)
PORTFOLIOS = Listing(
    "portfolios",
    PORTFOLIO,
    """portfolios b left join lateral (
        select cash, equity, ts_ms from equity where portfolio = b.portfolio order by n desc limit 1) e on true""",
    "b",
    (("portfolio", str),),
    {},
)
FILLS = Listing(
    "fills",
    FILL,
    "fills f",
    "f",
    (("n", int),),
    _equal("f", "portfolio", "exchange", "symbol", "position_id", "signal_id") | _between("f.ts_ms"),
)
POSITIONS = Listing(
    "positions",
    POSITION,
    "positions p",
    "p",
    (("opened_ms", int), ("position_id", str)),
    _equal("p", "portfolio", "exchange", "symbol", "state") | _between("p.opened_ms"),
)
EQUITY_CURVE = Listing("equity", EQUITY, "equity e", "e", (("n", int),), _equal("e", "portfolio") | _between("e.ts_ms"))

SIGNAL_STORY = f"""
select row_to_json(r)::text from (
    select {SIGNAL},
        (select coalesce(json_agg(x order by x.ts_ms, x.event_id), '[]') from (
            select {ALERT}, (
                select coalesce(json_agg(y order by y.queued_ms, y.delivery_id), '[]') from (
                    select {DELIVERY}, (
                        select json_agg(json_build_object('state', t.state, 'attempt', t.attempt, 'at_ms', t.at_ms,
                            'reason', t.reason) order by t.at_ms, t.attempt, t.state)
                        from delivery_events t where t.delivery_id = d.delivery_id) as steps
                    from deliveries d where d.alert_id = a.alert_id and a.decision = 'raised') y) as deliveries
            from alerts a where a.cause_id = s.signal_id) x) as alerts,
        (select coalesce(json_agg(x order by x.portfolio, x.n), '[]') from (
            select {FILL} from fills f where f.signal_id = s.signal_id) x) as fills,
        (select coalesce(json_agg(x order by x.portfolio, x.n), '[]') from (
            select {SKIP} from skips k where k.signal_id = s.signal_id) x) as skips
    from signals s left join outcomes o using (signal_id) where s.signal_id = $1
) r
"""  # noqa: S608 - made of the constants above
"""One signal with all that followed from it: outcome, alerts with their deliveries, fills, and who skipped it why."""

-- Projections of the streams. Everything here can be dropped and replayed.
--
-- Text keys use the "C" collation: comparison is by byte, so ordering is the same on every server, and fast.
-- Prices and amounts of market data are double precision, money in ledgers is numeric, times are milliseconds UTC.

create table projection_offsets (
    stream   text collate "C" primary key,
    identity text not null,
    seq      bigint not null check (seq >= 0)
);

create table candles (
    exchange  text collate "C" not null,
    symbol    text collate "C" not null,
    timeframe text collate "C" not null,
    open_ms   bigint not null,
    open      double precision not null,
    high      double precision not null,
    low       double precision not null,
    close     double precision not null,
    volume    double precision not null,
    trades    integer,
    origin    text collate "C" not null,
    revision  integer not null,
    primary key (exchange, symbol, timeframe, open_ms)
);

create table signals (
    signal_id        text collate "C" primary key,
    strategy         text collate "C" not null,
    strategy_version text collate "C" not null,
    params_hash      text collate "C" not null,
    exchange         text collate "C" not null,
    symbol           text collate "C" not null,
    timeframe        text collate "C" not null,
    candle_open_ms   bigint not null,
    confirmed_ms     bigint not null,
    side             text collate "C" not null,
    confidence       integer not null,
    entry            double precision not null,
    stop             double precision not null,
    targets          jsonb not null,
    expires_ms       bigint not null,
    reasons          jsonb not null,
    features         jsonb not null,
    definition       text collate "C" not null,
    risk             jsonb
);
create index signals_by_time on signals (confirmed_ms, signal_id);

create table outcomes (
    signal_id    text collate "C" primary key,
    strategy     text collate "C" not null,
    exchange     text collate "C" not null,
    symbol       text collate "C" not null,
    timeframe    text collate "C" not null,
    side         text collate "C" not null,
    result       text collate "C" not null,
    confirmed_ms bigint not null,
    ended_ms     bigint not null,
    exit_price   double precision not null,
    r_multiple   double precision not null,
    mfe_r        double precision not null,
    mae_r        double precision not null,
    targets_hit  integer not null,
    basis        text collate "C" not null
);
create index outcomes_by_time on outcomes (ended_ms, signal_id);

-- One row per decision: an alert raised, or an alert that one subscriber was spared, with the reason.
create table alerts (
    event_id      text collate "C" primary key,
    alert_id      text collate "C" not null,
    decision      text collate "C" not null check (decision in ('raised', 'suppressed')),
    rule_id       text collate "C" not null,
    kind          text collate "C",
    cause_id      text collate "C" not null,
    ts_ms         bigint not null,
    exchange      text collate "C",
    symbol        text collate "C",
    title         text,
    text          text,
    fields        jsonb,
    subscribers   jsonb,
    subscriber_id text collate "C",
    reason        text,
    detail        text
);
create index alerts_by_time on alerts (ts_ms, event_id);
create index alerts_by_alert on alerts (alert_id);
create index alerts_by_cause on alerts (cause_id);

-- The present state of each delivery; `queued_ms` never changes, so pages over it are stable.
create table deliveries (
    delivery_id   text collate "C" primary key,
    alert_id      text collate "C" not null,
    subscriber_id text collate "C" not null,
    channel       text collate "C" not null,
    state         text collate "C" not null,
    attempt       integer not null,
    queued_ms     bigint not null,
    at_ms         bigint not null,
    reason        text not null,
    provider_ref  text not null
);
create index deliveries_by_time on deliveries (queued_ms, delivery_id);
create index deliveries_by_alert on deliveries (alert_id);

-- Every step of every delivery.
create table delivery_events (
    delivery_id  text collate "C" not null,
    state        text collate "C" not null,
    attempt      integer not null,
    at_ms        bigint not null,
    reason       text not null,
    provider_ref text not null,
    primary key (delivery_id, state, attempt)
);

create table portfolios (
    portfolio    text collate "C" primary key,
    n            bigint not null,
    opened_ms    bigint not null,
    currency     text collate "C" not null,
    initial_cash numeric not null
);

create table fills (
    portfolio            text collate "C" not null,
    n                    bigint not null,
    ts_ms                bigint not null,
    position_id          text collate "C" not null,
    signal_id            text collate "C" not null,
    exchange             text collate "C" not null,
    symbol               text collate "C" not null,
    side                 text collate "C" not null,
    reason               text not null,
    amount               numeric not null,
    price                numeric not null,
    market_price         numeric not null,
    fee                  numeric not null,
    basis                text collate "C" not null,
    basis_ref            text collate "C" not null,
    position_amount      numeric not null,
    position_entry_price numeric not null,
    realised_pnl         numeric not null,
    cash_after           numeric not null,
    primary key (portfolio, n)
);
create index fills_by_position on fills (portfolio, position_id);
create index fills_by_signal on fills (signal_id);

create table skips (
    portfolio text collate "C" not null,
    n         bigint not null,
    ts_ms     bigint not null,
    signal_id text collate "C" not null,
    reason    text not null,
    primary key (portfolio, n)
);
create index skips_by_signal on skips (signal_id);

-- Derived from fills: always what the fills of the position add up to.
create table positions (
    portfolio    text collate "C" not null,
    position_id  text collate "C" not null,
    signal_id    text collate "C" not null,
    exchange     text collate "C" not null,
    symbol       text collate "C" not null,
    side         text collate "C" not null,
    state        text collate "C" not null check (state in ('open', 'closed')),
    amount       numeric not null,
    entry_price  numeric not null,
    realised_pnl numeric not null,
    fees         numeric not null,
    fills        integer not null,
    opened_ms    bigint not null,
    closed_ms    bigint,
    primary key (portfolio, position_id)
);
create index positions_by_time on positions (portfolio, opened_ms, position_id);

create table equity (
    portfolio text collate "C" not null,
    n         bigint not null,
    ts_ms     bigint not null,
    cash      numeric not null,
    equity    numeric not null,
    holdings  jsonb not null,
    primary key (portfolio, n)
);

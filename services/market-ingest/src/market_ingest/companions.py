"""What runs beside a source: the candles of the past; beside a live one what exchanges have, and what is no trade."""

from __future__ import annotations

from collections.abc import Callable

from market_ingest.columns import NO_CANDLES, Candles
from market_ingest.config import Settings
from market_ingest.history.backfill import Backfill
from market_ingest.history.metrics import HistoryMetrics
from market_ingest.history.paging import FetchCandles
from market_ingest.history.serving import History
from market_ingest.metrics import IngestMetrics
from market_ingest.quotes.feed import QuoteFeed
from market_ingest.reconcile.metrics import ReconcileMetrics
from market_ingest.reconcile.reconciler import Reconciler
from market_ingest.sources.klines import Klines
from market_ingest.sources.live import LiveSource
from market_ingest.sources.live.exchange import known_exchanges, open_exchange
from tocsin_common.requests import HISTORY
from tocsin_common.runtime import Service


async def start(service: Service[Settings], source: LiveSource, metrics: IngestMetrics) -> None:
    """Start everything the source's settings ask for; it stops with the service."""
    klines = Klines(lambda exchange: source.feeds[exchange].rest)
    await _give_history(service, source, klines)
    _reconcile(service, source, klines)
    await _collect_quotes(service, source, metrics)


async def remember(service: Service[Settings]) -> None:
    """Answer who asks for candles of the past with those of the stream, where no exchange stands behind the source."""

    async def nothing(_exchange: str, _symbol: str, _timeframe: str, _since_ms: int, _limit: int) -> Candles:
        return NO_CANDLES

    await _answer(service, nothing, HistoryMetrics(service.registry))


async def _answer(service: Service[Settings], fetch: FetchCandles, metrics: HistoryMetrics) -> None:
    history = History(service.bus, fetch, metrics)
    await service.stack.enter_async_context(service.bus.serve(HISTORY, history.answer, at_once=2))


async def _give_history(service: Service[Settings], source: LiveSource, klines: Klines) -> None:
    """Fetch the candles before our own, and answer who asks for candles of the past."""
    metrics = HistoryMetrics(service.registry)
    backfill = Backfill(
        service.bus,
        klines.fetch,
        metrics,
        instruments=lambda: source.instruments,
        candles=source.settings.history_candles,
        timeframes=service.settings.market_ingest.timeframes,
    )
    service.spawn(backfill.run(service.stop))
    await _answer(service, klines.fetch, metrics)


def _reconcile(service: Service[Settings], source: LiveSource, klines: Klines) -> None:
    """Compare closed candles with the exchanges' own."""
    if not source.settings.reconcile_s:
        return
    reconciler = Reconciler(
        service.bus,
        klines.fetch,
        lambda: source.instruments,
        ReconcileMetrics(service.registry),
        every_s=source.settings.reconcile_s,
    )
    service.spawn(reconciler.run(service.stop))


async def _collect_quotes(service: Service[Settings], source: LiveSource, metrics: IngestMetrics) -> None:
    """Collect quotes, funding and tickers of the exchanges for which they are switched on."""
    wanted = {name: settings for name, settings in source.settings.exchanges.items() if settings.also}
    if wanted:
        await known_exchanges()
    for name, settings in wanted.items():
        client = open_exchange(name, settings)
        feed = QuoteFeed(name, client, settings.also, _symbols_of(source, name), service.bus, metrics)
        service.spawn(feed.run(service.stop))


def _symbols_of(source: LiveSource, exchange: str) -> Callable[[], list[str]]:
    """Gives what is watched of an exchange at the moment it is asked."""
    return lambda: [instrument.symbol for instrument in source.instruments if instrument.exchange == exchange]

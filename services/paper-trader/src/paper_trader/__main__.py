"""The paper-trader service: `python -m paper_trader`."""

from __future__ import annotations

from paper_trader.config import Settings
from paper_trader.feed import SERVICE
from paper_trader.metrics import Metrics
from paper_trader.trader import MARKS_PER_SLICE, Trader
from tocsin_common.errors import TocsinError
from tocsin_common.runtime import Service, main
from tocsin_common.streams import PAPER_TRADER


async def serve(service: Service[Settings]) -> None:
    """Wire the trader to the bus, go on where it stopped, then handle marks until the service stops."""
    metrics = Metrics(service.registry)
    trader = Trader(service.bus, service.settings.paper_trader, metrics, service.stop)
    after = await trader.resume()
    service.spawn(_trade(service, trader, after))


async def _trade(service: Service[Settings], trader: Trader, after: int) -> None:
    watch = service.tasks.create_task(trader.portfolios.follow())
    await service.consume_in_order(PAPER_TRADER, trader.handle, batch=MARKS_PER_SLICE, after=after)
    watch.cancel()
    if trader.failure is not None:
        raise TocsinError("The simulation failed (see the log above); a restart goes on from the last snapshot.")
    await trader.save()


def run() -> None:
    main(SERVICE, Settings, serve)


if __name__ == "__main__":
    run()

"""The signal-engine service: `python -m signal_engine`."""

from __future__ import annotations

from signal_engine.config import Settings
from signal_engine.engine import Engine
from signal_engine.metrics import Metrics
from signal_engine.rehearsal import rehearse
from signal_engine.rounds import MARKS_PER_ROUND, SERVICE, Rounds
from tocsin_common.runtime import Service, main
from tocsin_common.streams import SIGNAL_ENGINE


async def serve(service: Service[Settings]) -> None:
    """Wire the engine to the bus, rehearse, warm up, then handle marks until the service stops."""
    section = service.settings.signal_engine
    engine = Engine([choice.build() for choice in section.strategies], section.timeframes)
    rehearse(engine.evaluation)
    rounds = Rounds(service.bus, engine, Metrics(service.registry))
    service.health.checks["warm_up"] = rounds.problem
    await rounds.resume()
    service.stack.push_async_callback(rounds.close)
    await service.consume_in_order(SIGNAL_ENGINE, rounds.handle, batch=MARKS_PER_ROUND)


def run() -> None:
    main(SERVICE, Settings, serve)


if __name__ == "__main__":
    run()

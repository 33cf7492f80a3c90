"""The signal-engine service: `python -m signal_engine`."""

from __future__ import annotations

import structlog

from signal_engine.config import Settings, SignalEngineSection
from signal_engine.engine import Engine
from signal_engine.intake import SERVICE
from signal_engine.metrics import Metrics
from signal_engine.rehearsal import rehearse
from signal_engine.rounds import MARKS_PER_ROUND, Rounds
from tocsin_common.runtime import Service, main
from tocsin_common.streams import SIGNAL_ENGINE

log = structlog.get_logger()


async def serve(service: Service[Settings]) -> None:
    """Wire the engine to the bus, rehearse, warm up, then handle marks until the service stops."""
    section = service.settings.signal_engine
    engine = _engine(section)
    rehearse(engine.evaluation)
    engine.evaluation.forget()
    rounds = Rounds(service.bus, engine, Metrics(service.registry), slow_round_s=section.slow_round_s)
    service.health.checks["warm_up"] = rounds.problem
    await rounds.resume()
    service.stack.push_async_callback(rounds.close)
    await service.consume_in_order(SIGNAL_ENGINE, rounds.handle, batch=MARKS_PER_ROUND)


def _engine(section: SignalEngineSection) -> Engine:
    strategies = section.build()
    for strategy in strategies:
        if strategy.timeframes and not {*strategy.timeframes} & {*section.timeframes}:
            log.warning("strategy has nothing to look at", strategy=strategy.instance, made_for=strategy.timeframes)
    return Engine(
        strategies,
        section.timeframes,
        section.risk.sizing(),
        budget_s=section.strategy_budget_s,
        indicators=section.indicators,
    )


def run() -> None:
    main(SERVICE, Settings, serve)


if __name__ == "__main__":
    run()

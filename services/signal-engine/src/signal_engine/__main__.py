"""The signal-engine service: `python -m signal_engine`."""

from __future__ import annotations

import structlog

from signal_engine.config import Settings, SignalEngineSection
from signal_engine.engine import Engine
from signal_engine.intake import SERVICE
from signal_engine.metrics import Metrics
from signal_engine.partitions.replica import Life, Replica
from signal_engine.rehearsal import rehearse
from signal_engine.rounds import Rounds, wall_clock_ms
from tocsin_common.bus.consume import insist
from tocsin_common.events import IndicatorsOffered
from tocsin_common.partitions.sharing import parse_ranges
from tocsin_common.runtime import Service, main

log = structlog.get_logger()


async def serve(service: Service[Settings]) -> None:
    """Wire the engine to the bus, rehearse, then evaluate our share of the partitions until the service stops."""
    section = service.settings.signal_engine
    engine = _engine(section)
    rehearse(engine.evaluation)
    engine.evaluation.forget()
    metrics = Metrics(service.registry)

    def begin(life: Life) -> Rounds:
        return Rounds(
            service.bus,
            engine,
            metrics,
            slow_round_s=section.slow_round_s,
            partitions=life.partitions,
            store=life.store,
            writer=life.writer,
            breathe=life.breathe,
        )

    offer = IndicatorsOffered(columns=section.indicators, timeframes=[*section.timeframes], at_ms=wall_clock_ms())
    await insist(service.stop, lambda: service.bus.publish([offer]), "say which indicators there are")
    loop_metrics = service.bus_metrics.loop(SERVICE)
    replica = Replica(service.bus, parse_ranges(section.partitions), begin, metrics, loop_metrics)
    service.health.checks["warm_up"] = replica.problem
    await replica.run(service.stop)


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

"""The five services: what they are called, how each is started, and where each listens."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin_common.config import CommonSettings


@dataclass(frozen=True)
class Service:
    """One service: its name, its Python module, and how far it steps back where processors are short."""

    name: str
    module: str
    niceness: int = 0

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", self.module)

    def settings(self) -> type[CommonSettings]:
        """The settings type the service reads, to check a configuration before anything starts."""
        kind: type[CommonSettings] = importlib.import_module(f"{self.module}.config").Settings
        return kind


BOOKKEEPING = 10
"""On a small machine the way from trade to alert comes before what is only written down."""

SERVICES = (
    Service("market-ingest", "market_ingest"),
    Service("signal-engine", "signal_engine"),
    Service("alerting", "alerting"),
    Service("paper-trader", "paper_trader", niceness=BOOKKEEPING),
    Service("api-gateway", "api_gateway", niceness=BOOKKEEPING),
)
"""In the order of the flow; they stop in the reverse order."""


@dataclass(frozen=True)
class Launch:
    """A service as it is going to run: its whole environment, and its health URL."""

    service: Service
    environment: Mapping[str, str] = field(repr=False)
    health_url: str

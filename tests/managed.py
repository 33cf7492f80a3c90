"""Management on a bus, as the service makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from alerting.config import QuotasSection
from alerting.directory import Directory
from alerting.gateway import Away, Gateway
from alerting.judging.quotas import Quotas
from alerting.management.core import Management
from alerting.management.serving import serve
from alerting.management.trials import Trials
from alerting.metrics import Metrics
from alerting.sending.opener import Opener
from alerting.why.answers import Why
from tocsin_common.bus.protocol import Bus
from tocsin_common.requests.management import Actor

NOW_MS = 1_700_000_000_000
OPERATOR = Actor(role="operator", via="test")
ANN = Actor(role="subscriber", subscriber_id="ann", via="test")
BOB = Actor(role="subscriber", subscriber_id="bob", via="test")


class NoGateway(Gateway):
    """The read API where it is away."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1", "")

    async def get(self, *_: Any, **__: Any) -> Any:
        raise Away("unreachable")


def usual_quotas(directory: Directory) -> Quotas:
    """What subscribers may have where nothing is configured."""
    return Quotas(directory.subscribers, QuotasSection())


@dataclass(frozen=True)
class Managed:
    """What answers; its clock stands at NOW_MS."""

    bus: Bus
    directory: Directory
    management: Management
    trials: Trials
    why: Why

    @classmethod
    async def on(cls, bus: Bus, gateway: Gateway | None = None, *, quotas: QuotasSection | None = None) -> Managed:
        """On what the buckets hold; without a gateway the read API is away."""
        metrics = Metrics(CollectorRegistry())
        directory = Directory(bus, metrics)
        await directory.load()
        limits = Quotas(directory.subscribers, quotas) if quotas else usual_quotas(directory)
        management = Management(bus, directory, metrics, limits, clock_ms=lambda: NOW_MS)
        trials = Trials(Opener(bus, directory, metrics, ttl_s=60, clock_ms=lambda: NOW_MS))
        why = Why(bus, directory, gateway or NoGateway(), clock_ms=lambda: NOW_MS)
        return cls(bus, directory, management, trials, why)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Its endpoints answer inside the context."""
        async with AsyncExitStack() as stack:
            await serve(stack, self.bus, self.management, self.trials, self.why)
            yield

"""What replicas of signal-engine share: the instruments, by partition."""

from __future__ import annotations

from tocsin_common.events import Event, SignalRaised
from tocsin_common.partitions.ownership import Shared
from tocsin_common.streams import SIGNALS
from tocsin_common.subjects import partition_of


def partition_of_event(event: Event) -> int | None:
    """The partition of a signal's instrument; what else a replica has to say is nobody's."""
    return partition_of(event.exchange, event.symbol) if isinstance(event, SignalRaised) else None


SIGNAL_ENGINE = Shared("signal-engine", (SIGNALS,), partition_of_event)

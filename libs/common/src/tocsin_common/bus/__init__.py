"""The bus: publish events, read streams in order, consume durables, keep documents. Two implementations, one suite."""

from tocsin_common.bus.consume import consume_in_order, consume_queue
from tocsin_common.bus.protocol import (
    Bus,
    Consumer,
    DurableState,
    Entry,
    Fence,
    FenceOf,
    KeyValue,
    Reader,
    Received,
    Stored,
    StreamState,
)

__all__ = [
    "Bus",
    "Consumer",
    "DurableState",
    "Entry",
    "Fence",
    "FenceOf",
    "KeyValue",
    "Reader",
    "Received",
    "Stored",
    "StreamState",
    "consume_in_order",
    "consume_queue",
]

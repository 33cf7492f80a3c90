"""Every question one part of the system may ask another over NATS: its subject, who answers, and the two types.

Requests are no facts: nothing stores them. Whoever got no answer may ask again, nothing is done twice. A subject of a
stream is never used.
"""

from __future__ import annotations

import msgspec

from tocsin_common.requests import management, verification
from tocsin_common.requests.endpoint import Endpoint
from tocsin_common.requests.market import HISTORY, HistoryReply, HistoryRequest

ENDPOINTS: tuple[Endpoint[msgspec.Struct, msgspec.Struct], ...] = (  # type: ignore[assignment]  # any pair
    HISTORY,
    management.LIST,
    management.GET,
    management.PUT,
    management.DELETE,
    management.SEND_TEST,
    management.DELIVERY_LOG,
    management.WHY,
    verification.VERIFY,
    verification.CONFIRM,
    verification.UNSUBSCRIBE,
)

__all__ = ["ENDPOINTS", "HISTORY", "Endpoint", "HistoryReply", "HistoryRequest"]

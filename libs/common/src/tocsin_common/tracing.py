"""Every message says which trace it belongs to: the header `traceparent` of https://www.w3.org/TR/trace-context/.

A trace begins where something enters the system and is not the work of a handler; what a handler publishes belongs to
the trace of the message it handles, or of the first one of a batch. Whoever collects traces joins them by these ids; in
our logs the id is the field `trace_id`.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

import structlog

HEADER = "traceparent"

_SHAPE = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_trace: ContextVar[str] = ContextVar("trace", default="")


def begin() -> None:
    """What this task publishes from here on is a trace of its own."""
    _enter(secrets.token_hex(16))


def follow(traceparent: str) -> None:
    """What this task publishes from here on continues the trace of a message; one without a valid trace begins one."""
    found = _SHAPE.fullmatch(traceparent)
    _enter(found[1] if found else secrets.token_hex(16))


def traceparent() -> str:
    """The header of what is published now: the current trace, or a new one, and a span of its own."""
    return f"00-{_trace.get() or secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _enter(trace_id: str) -> None:
    _trace.set(trace_id)
    structlog.contextvars.bind_contextvars(trace_id=trace_id)

"""What the server answers: a result, a refusal, or that nobody is there."""

from __future__ import annotations

from typing import Any

import msgspec
from nats.aio.msg import Msg

from tocsin_common.errors import TocsinError, Unreachable

NO_RESPONDERS = "503"
MISSING = "is JetStream enabled, and were the streams made (`tocsin streams apply`)?"

Headers = dict[str, str]


class Refused(TocsinError):
    """JetStream answered with an error. `code` is its err_code."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(f"{text} ({code})")


def status_of(message: Msg) -> str | None:
    """The status of a message that carries no data but news of a request, such as 503 or 408."""
    return message.headers.get("Status") if message.headers and not message.data else None


def parse(message: Msg) -> dict[str, Any]:
    """An answer of JetStream. Raises Refused, Unreachable (there is no such stream)."""
    if status_of(message) == NO_RESPONDERS:
        raise Unreachable(f"no stream takes the message: {MISSING}")
    answer: dict[str, Any] = msgspec.json.decode(message.data)
    error = answer.get("error")
    if error:
        raise Refused(error.get("err_code", error.get("code", 0)), error.get("description", ""))
    return answer

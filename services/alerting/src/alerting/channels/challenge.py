"""Whether a webhook is its subscriber's own: it is sent a challenge, and answers with it."""

from __future__ import annotations

import hmac
import time
from datetime import UTC, datetime

import msgspec

from alerting.channels import Message, Sent
from alerting.channels.http import Outbound
from alerting.channels.webhook import signed_headers
from alerting.reasons import Undelivered
from tocsin_common.decoding import decode
from tocsin_common.documents import Destination
from tocsin_common.errors import Malformed, Rejected


class Challenge:
    """A channel to webhooks whose messages are nothing but a challenge, their `text`.

    POSTs `{"type": "verification", "timestamp": ..., "data": {"challenge": ...}}`, signed like an alert; a receiver
    that wants alerts answers `{"challenge": ...}`. An echo of the whole body is no answer.
    """

    dedupes = True

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def send(self, message: Message, destination: Destination) -> Sent:
        """Raises Rejected for any other answer."""
        body = msgspec.json.encode(
            {
                "type": "verification",
                "timestamp": datetime.fromtimestamp(message.ts_ms / 1000, UTC).isoformat(timespec="milliseconds"),
                "data": {"challenge": message.text},
            }
        )
        headers = {"Content-Type": "application/json", "User-Agent": "Tocsin"}
        headers |= signed_headers(message.delivery_id, int(time.time()), body, destination.secret)
        answer = await self._outbound.post(destination.address, body, headers)
        try:
            returned = decode(answer.body, _Returned).challenge
        except Malformed:
            returned = ""
        if not hmac.compare_digest(returned.encode(), message.text.encode()):
            raise Rejected(Undelivered.WRONG_ANSWER, "the receiver did not answer with the challenge")
        return Sent()

    async def close(self) -> None:
        await self._outbound.close()


class _Returned(msgspec.Struct):
    challenge: str

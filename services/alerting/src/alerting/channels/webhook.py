"""Generic webhooks, as https://www.standardwebhooks.com describes them: signed, and deduplicated by `webhook-id`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import UTC, datetime

import msgspec

from alerting.channels import Message, Sent
from alerting.channels.http import Outbound
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected

SECRET_PREFIX = "whsec_"


class Webhook:
    """POSTs `{"type": "alert", "timestamp": ..., "data": {...}}`; any 2xx is a delivery."""

    dedupes = True

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def send(self, message: Message, destination: Destination) -> Sent:
        body = payload(message)
        headers = {"Content-Type": "application/json", "User-Agent": "Tocsin"}
        headers |= signed_headers(message.delivery_id, int(time.time()), body, destination.secret)
        await self._outbound.post(destination.address, body, headers)
        return Sent()

    async def close(self) -> None:
        await self._outbound.close()


def payload(message: Message) -> bytes:
    """The body: what the alert says and the ids it is known by; `timestamp` is the market time.

    `in_reply_to` is the `delivery_id` of the message that it is news of.
    """
    return msgspec.json.encode(
        {
            "type": "alert",
            "timestamp": datetime.fromtimestamp(message.ts_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            "data": {
                "alert_id": message.alert_id,
                "delivery_id": message.delivery_id,
                "title": message.title,
                "text": message.text,
                "fields": dict(message.fields),
                "ts_ms": message.ts_ms,
                "silent": message.silent,
                "in_reply_to": message.answers.delivery_id if message.answers else None,
            },
        }
    )


def signed_headers(webhook_id: str, timestamp_s: int, body: bytes, secrets: str) -> dict[str, str]:
    """The Standard Webhooks headers. `secrets`: none, one, or several apart by blanks while they are being rotated.

    Raises Rejected for a secret that is not `whsec_` and base64.
    """
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp_s)}
    content = f"{webhook_id}.{timestamp_s}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(_key(secret), content, hashlib.sha256).digest()).decode()
        for secret in secrets.split()
    ]
    if signatures:
        headers["webhook-signature"] = " ".join(signatures)
    return headers


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or not secret.startswith(SECRET_PREFIX):
        raise Rejected(Undelivered.BAD_SECRET, "a webhook secret is whsec_ and base64")
    return key

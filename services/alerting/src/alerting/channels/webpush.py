"""Web push: notifications in a browser, through the push service its maker runs.

The message is encrypted for the one browser (RFC 8291, `http-ece`) and signed with our key (VAPID, RFC 8292,
`py-vapid`); the request is ours, because a subscription's address is somebody's URL like any other. A destination's
address is the subscription's `endpoint`, its secret the subscription's `p256dh` and `auth`, apart by a blank.
"""

from __future__ import annotations

import base64
import time

import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02, VapidException
from yarl import URL

from alerting.channels import Message, Sent
from alerting.channels.http import Outbound
from alerting.channels.text import cut, utf16_length
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected

PLAIN_MAX = 3_993
"""Bytes of a message: a push service need not take more than 4,096 (RFC 8291, section 4), of which the header takes 86,
the tag 16 and the delimiter 1."""

TITLE_MAX, BODY_MAX, FIELD_MAX = 500, 2_000, 300
"""Bytes of each part as JSON: more than any browser shows."""

TTL_S = 3_600
"""How long the push service keeps a message for a browser that is away (RFC 8030, section 5.2)."""

URGENCY, SILENT_URGENCY = "high", "low"
"""High wakes a device whose battery is low; low waits for power or Wi-Fi (RFC 8030, section 5.3)."""

TOKEN_S = 12 * 3_600
"""How long a signature is used: at most 24 hours are allowed (RFC 8292, section 2)."""

TOPIC_CHARS = 32
"""RFC 8030, section 5.4."""


class WebPush:
    """Pushes `{"title", "body", "fields", "alert_id", "delivery_id", "ts_ms", "silent", "tag"}`. `tag` is also the
    message's topic: a copy takes the place of the first one, in the push service and, as the notification's tag, in the
    browser.
    """

    dedupes = True

    def __init__(self, outbound: Outbound, vapid: Vapid02, contact: str) -> None:
        self._outbound = outbound
        self._vapid = vapid
        self._contact = contact
        self._tokens: dict[str, tuple[float, str]] = {}

    async def send(self, message: Message, destination: Destination) -> Sent:
        headers = {
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(TTL_S),
            "Urgency": SILENT_URGENCY if message.silent else URGENCY,
            "Topic": tag(message)[:TOPIC_CHARS],
            "Authorization": self._authorization(destination.address),
        }
        body = encrypted(payload(message), destination.secret)
        await self._outbound.post(destination.address, body, headers)
        return Sent()  # what the push service calls the message lets whoever knows it take it back

    async def close(self) -> None:
        await self._outbound.close()

    def _authorization(self, endpoint: str) -> str:
        """Our signature for a push service, made anew when it has been used for long."""
        now_s = time.time()
        self._tokens = {known: token for known, token in self._tokens.items() if token[0] > now_s}
        try:
            origin = str(URL(endpoint).origin())
            if origin not in self._tokens:
                claims = {"aud": origin, "exp": int(now_s) + TOKEN_S + TTL_S, "sub": self._contact}
                self._tokens[origin] = (now_s + TOKEN_S, self._vapid.sign(claims)["Authorization"])
            return self._tokens[origin][1]
        except (ValueError, VapidException):
            raise Rejected(Undelivered.BAD_ADDRESS, "not the URL of a push service") from None


def tag(message: Message) -> str:
    """What a notification is replaced by: news of a signal take the place of the signal."""
    return message.answers.delivery_id if message.answers else message.delivery_id


def payload(message: Message) -> bytes:
    """What the browser's service worker gets: title and text cut, and as many fields as PLAIN_MAX bytes leave room."""
    fields: dict[str, str] = {}
    said = {
        "title": _fitting(message.title, TITLE_MAX),
        "body": _fitting(message.text, BODY_MAX),
        "fields": fields,
        "alert_id": message.alert_id,
        "delivery_id": message.delivery_id,
        "ts_ms": message.ts_ms,
        "silent": message.silent,
        "tag": tag(message),
    }
    if message.action is not None:
        said["url"] = message.action.url
    room = PLAIN_MAX - len(msgspec.json.encode(said))
    for name, value in message.fields.items():
        label, content = _fitting(name, FIELD_MAX), _fitting(value, FIELD_MAX)
        size = len(msgspec.json.encode({label: content}))
        if size <= room:
            fields[label] = content
            room -= size
    return msgspec.json.encode(said)


def encrypted(plain: bytes, keys: str) -> bytes:
    """A message only the browser can read. Raises Rejected for keys that no browser has made."""
    try:
        public, auth = (_bytes_of(key) for key in keys.split())
        ours = ec.generate_private_key(ec.SECP256R1())
        return bytes(http_ece.encrypt(plain, private_key=ours, dh=public, auth_secret=auth, version="aes128gcm"))
    except (ValueError, http_ece.ECEException):
        raise Rejected(
            Undelivered.BAD_SECRET, "the secret is a subscription's p256dh and auth, apart by a blank"
        ) from None


def _bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _fitting(text: str, limit: int) -> str:
    """The text, cut so that it takes at most so many bytes as JSON."""
    units = utf16_length(text)
    while (size := len(msgspec.json.encode(kept := cut(text, units)))) > limit:
        units = min(units - 1, units * limit // size)
    return kept

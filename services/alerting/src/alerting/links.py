"""Links in messages that lead back to us: to confirm an address, and to unsubscribe it without a login.

A link to unsubscribe is the same in every mail to an address: its token holds the subscriber's id and a keyed digest of
id, channel and address. Nothing of it is stored, and it is void for any other address, also where this one has been
corrected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

from tocsin_common.documents import Destination

PUBLIC_URL = r"^https://[^\s/?#@]+(/[^\s?#]*[^\s/?#])?$"
"""Mail programs unsubscribe over https only (RFC 8058, section 3.1)."""

KEY_CHARS_MIN = 32
SEAL_BYTES = 16
TOKEN_MAX = 400
"""Characters, enough for an id of 284 bytes: a header's line has at most 998 (RFC 5322, section 2.1.1)."""


class Token(NamedTuple):
    """Whom a link is for, and the proof that we made it for one of their addresses."""

    subscriber_id: str
    seal: bytes


class Links:
    """Makes links below `public_url`, sealed with `key`."""

    def __init__(self, public_url: str, key: str) -> None:
        self._public_url, self._key = public_url, key.encode()

    def confirm(self, code: str) -> str:
        """Where a code is confirmed."""
        return f"{self._public_url}/confirm/{code}"

    def unsubscribe(self, subscriber_id: str, destination: Destination) -> str:
        """Where a destination is unsubscribed; empty where the id is too long for a link."""
        token = written(Token(subscriber_id, self._seal(subscriber_id, destination)))
        return f"{self._public_url}/unsubscribe/{token}" if len(token) <= TOKEN_MAX else ""

    def made(self, token: Token, destination: Destination) -> bool:
        """Whether we made a token for this destination."""
        return hmac.compare_digest(token.seal, self._seal(token.subscriber_id, destination))

    def _seal(self, subscriber_id: str, destination: Destination) -> bytes:
        parts = [part.encode() for part in ("unsubscribe", subscriber_id, destination.channel, destination.address)]
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.new(self._key, framed, hashlib.sha256).digest()[:SEAL_BYTES]


def written(token: Token) -> str:
    """As it stands in a link."""
    return base64.urlsafe_b64encode(token.seal + token.subscriber_id.encode()).decode().rstrip("=")


def read(text: str) -> Token | None:
    """The token of a link; None: it is none of ours, whatever it is."""
    if len(text) > TOKEN_MAX or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        token = Token(raw[SEAL_BYTES:].decode(), raw[:SEAL_BYTES])
    except (binascii.Error, ValueError):
        return None
    return token if token.subscriber_id and written(token) == text else None

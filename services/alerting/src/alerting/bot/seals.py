"""What a button carries is signed for the one who was shown it: Telegram lets anybody send any data back.

64 bytes are all there is (https://core.telegram.org/bots/api#inlinekeyboardbutton), of which the seal takes 12.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

DATA_BYTES_MAX = 64
SEAL_CHARS = 11
"""64 bits in base64. They cannot be tried out: each try is an update, of which a person has a few in a minute."""

PAYLOAD_BYTES_MAX = DATA_BYTES_MAX - SEAL_CHARS - 1


class Seals:
    """Signs for one bot."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.blake2b(token.encode(), digest_size=32, person=b"tocsin buttons").digest()

    def seal(self, payload: str, user_id: int) -> str:
        """Data for a button of this person's. Raises ValueError: it is too long for one."""
        if len(payload.encode()) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"{len(payload.encode())} bytes for a button, the limit is {PAYLOAD_BYTES_MAX}")
        return f"{self._of(payload, user_id)}:{payload}"

    def opened(self, data: str, user_id: int) -> str | None:
        """The payload; None: it was not sealed for this person."""
        seal, _, payload = data.partition(":")
        genuine = hmac.compare_digest(seal.encode(), self._of(payload, user_id).encode())
        return payload if genuine else None

    def _of(self, payload: str, user_id: int) -> str:
        digest = hmac.digest(self._key, f"{user_id}:{payload}".encode(), "sha256")[:8]
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

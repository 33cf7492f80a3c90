"""The key by which push services know us (VAPID, RFC 8292)."""

from __future__ import annotations

import base64
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

KEY_BYTES = 32


class Keys(NamedTuple):
    """Both halves in URL-safe base64: 32 bytes to sign with, and the 65 bytes of a point that browsers are given."""

    private: str
    public: str


def signing_key(text: str) -> Vapid02:
    """The key of a configuration: 32 bytes in URL-safe base64, as `tocsin push-keys` prints it.

    Raises ValueError, without the key, for anything else.
    """
    try:
        raw = base64.b64decode(f"{text.strip()}=", altchars=b"-_", validate=True)
        if len(raw) != KEY_BYTES:
            raise ValueError(f"{len(raw)} bytes")
        vapid = Vapid02.from_raw(text.strip().encode())
    except ValueError:
        raise ValueError("not a VAPID key: 32 bytes in URL-safe base64, as `tocsin push-keys` prints them") from None
    vapid.conf["no-strict"] = True  # its idea of a contact is narrower than that of push services
    return vapid


def new_keys() -> Keys:
    """A new pair."""
    vapid = Vapid02()
    vapid.generate_keys()
    number = vapid.private_key.private_numbers().private_value
    return Keys(_text(number.to_bytes(KEY_BYTES, "big")), public_key(vapid))


def public_key(vapid: Vapid02) -> str:
    """What a browser subscribes with (`applicationServerKey`)."""
    return _text(vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

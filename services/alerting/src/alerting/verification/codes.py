"""Codes that prove who reads what arrives at an address. Pure but for the randomness.

A code is a link's last part and is also typed by people. 80 random bits need no counting of guesses, and only its
digest is kept.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

CODE_BYTES, GROUP = 10, 4
CODE = re.compile(r"[A-Z2-7]{16}")
TYPED_MAX = 64
"""Characters of what may be typed for a code, blanks and dashes included."""


def new_code() -> str:
    """16 characters of base32."""
    return base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode()


def spaced(code: str) -> str:
    """In groups, for people: `K7QD-2M5X-PV4T-RHCA`."""
    return "-".join(code[start : start + GROUP] for start in range(0, len(code), GROUP))


def typed(text: str) -> str | None:
    """The code that somebody typed, however they spaced it; None: it is none."""
    if len(text) > TYPED_MAX or not text.isascii():
        return None
    code = "".join(text.replace("-", " ").split()).upper()
    return code if CODE.fullmatch(code) else None


def digest(*parts: str) -> str:
    """What is kept in place of a code or an address: SHA-256 of the parts, each with its length."""
    framed = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(framed).hexdigest()

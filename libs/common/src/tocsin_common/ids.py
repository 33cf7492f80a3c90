"""Derived identity: an id is computed from what caused the thing, never drawn at random.

Doing the same work twice therefore gives the same id, and the second copy is recognised and dropped.
"""

from __future__ import annotations

import hashlib

ID_BYTES = 16
"""128 bits: the chance of any collision among 10^12 ids is below 10^-14 (birthday bound n^2 / 2^129)."""

_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_SHIFTS = range(120, -1, -10)


def derive(*causes: str | int | float | bytes | None) -> str:
    """Return the id of whatever `causes` determine: 26 characters of lower-case base32.

    Parts are length-prefixed, so ``("ab", "c")`` and ``("a", "bc")`` differ.
    """
    digest = hashlib.blake2b(digest_size=ID_BYTES)
    for cause in causes:
        part = cause if isinstance(cause, bytes) else repr(cause).encode()
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    number = int.from_bytes(digest.digest(), "big") << 2  # 130 bits: 26 digits of 5, two at a time
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])

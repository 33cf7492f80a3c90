"""What paths begin with, and which of them are for keys that manage or operate."""

from __future__ import annotations

PREFIX = "/api/v1"

MANAGED_ROOTS = frozenset({"/rules", "/subscribers", "/silences", "/why"})

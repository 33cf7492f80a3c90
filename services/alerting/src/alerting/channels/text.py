"""Cutting text to a channel's limit, counted the way the channel counts."""

from __future__ import annotations

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units: how Telegram and Discord count (an emoji outside the basic plane is two)."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, limit: int) -> str:
    """The text, shortened with an ellipsis to at most `limit` UTF-16 code units ("" for a limit below 1).

    Cut before escaping, so that neither an entity nor a surrogate pair is ever broken.
    """
    if utf16_length(text) <= limit:
        return text
    if limit < 1:
        return ""
    kept = text.encode("utf-16-le")[: (limit - 1) * 2].decode("utf-16-le", errors="ignore")
    return kept.rstrip() + ELLIPSIS


def one_line(text: str) -> str:
    """Collapse every run of white space and control characters into one blank."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())

"""What others wrote, made fit to be shown: no sign in it acts on what stands around it, and it is cut to a channel's
limit, counted the way the channel counts.
"""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

_LINE_BREAK = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x09\x0e-\x1f\x7f-\x9f]")
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""Marks that turn the direction of what follows, and signs that nobody sees. Those of Unicode's category Cf that words
and emoji are made with stay: joiners and tags."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANK_LINES = re.compile(r"\n[ \n]*\n")

CLUSTER_MAX = 32
"""Characters: more than any emoji or syllable has. What is longer is cut anywhere."""

_JOINER = "\N{ZERO WIDTH JOINER}"
_EXTENDING = re.compile("[\u200c\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""What belongs to the character before it beside marks: joiners, vowels and ends of Hangul, skin tones, tags."""
_FLAG_HALVES = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""Two make a flag."""


def shown(text: str) -> str:
    """The text as lines that anybody sees alike: control characters are blanks, no sign turns the direction of the line
    or hides, and at most one line in a row is empty."""
    text = _CONTROL.sub(" ", _LINE_BREAK.sub("\n", text))
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _UNSEEN.sub("", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


def one_line(text: str) -> str:
    """What is shown of a text, with one blank for every run of white space."""
    return " ".join(shown(text).split())


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units: how Telegram and Discord count (an emoji outside the basic plane is two)."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """The text, shortened with an ellipsis to at most `limit` UTF-16 code units ("" for a limit below 1).

    Neither an emoji nor an accented letter is cut in two. Cut before escaping, so that no entity is broken either.
    """
    if utf16_length(text) <= limit:
        return text
    if limit < 1:
        return ""
    kept = text.encode("utf-16-le", errors="surrogatepass")[: (limit - 1) * 2].decode("utf-16-le", errors="ignore")
    return text[: _boundary(text, len(kept))].rstrip() + ELLIPSIS


def _boundary(text: str, end: int) -> int:
    """The last place up to `end` that is between two signs as a reader counts them (the rules of Unicode's annex 29,
    but for those of single scripts of India)."""
    for place in range(end, max(0, end - CLUSTER_MAX), -1):
        if not _joined(text, place):
            return place
    return 0 if end <= CLUSTER_MAX else end


def _joined(text: str, place: int) -> bool:
    before, after = text[place - 1], text[place]
    if before in _FLAG_HALVES and after in _FLAG_HALVES:
        return (place - len(text[:place].rstrip(_FLAG_HALVES))) % 2 == 1
    return before == _JOINER or bool(_EXTENDING.match(after)) or unicodedata.category(after).startswith("M")

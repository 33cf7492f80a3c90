"""What outsiders may write wherever they may write anything, and how it is to be shown.

One corpus for every field (names of rules, notes, symbols, reasons, comments, commands ...) and every place where it is
shown. Each is text: it shows as itself, whatever it means to a markup, a protocol, a template or a terminal. Only what
acts on its surroundings without being seen is not shown: control characters, marks of direction, signs without width.
"""

from __future__ import annotations

from collections.abc import Mapping

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
CLUSTERS = (FAMILY, ENGLAND, "\U0001f1ee\U0001f1e9", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "e\u0301", "1\ufe0f\u20e3")
"""What readers take for one sign."""

TEXTS = (
    "<b>bold</b> <script>alert(1)</script> &amp; &#60; &lt &nbsp; &#0; <!-- x --> ]]> </td></table></html>",
    '" onmouseover="alert(1)" x=\' `',
    '<a href="tg://user?id=1">me</a> <tg-spoiler>x</tg-spoiler> @admin /start #tag',
    "**bold** __under__ ~~gone~~ `code` ```block``` ||hidden|| *_x_* \\* \\\\ back\\slash",
    "[free](https://evil.example) ![](https://evil.example/x.png) <https://evil.example>",
    "# heading\n- item\n+ item\n3. item\n> quote\n-# small\n```",
    "@everyone @here @channel <@123> <@&4> <#5> <:e:1> <t:0:R> </x:1> <!channel> <users/all>",
    "%s %(x)s %n {0} {} {symbol} {0.__class__} ${x} $title $$ {{7*7}} {% x %} #{7*7} `id` $(id)",
    '"}],"x":{"y":[1,2 \\u0000 \\n \\" \'',
    "--===============1234==\nContent-Type: text/html\n\n<b>x</b>\n--===============1234==--",
    "=?utf-8?q?=3Cb=3E=0D=0ABcc=3A_eve=40example=2Eorg?= =?utf-8?b?PGI+?=",
    "../../etc/passwd file:///etc/passwd \\\\host\\share C:\\x",
    "; drop table alerts; -- ' or 1=1",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u2603",
    " ".join(CLUSTERS),
    "Z" + "\u0301" * 20,
)
"""Shown as they are."""

CLEANED: Mapping[str, str] = {
    "one\r\nBcc: eve@example.org\r\n\r\nbody\rtwo": "one\nBcc: eve@example.org\n\nbody\ntwo",
    "\r\n.\r\nMAIL FROM:<eve@example.org>\r\n": ".\nMAIL FROM:<eve@example.org>",
    "a\u2028b\u2029c\x85d\x0be\x0cf": "a\nb\nc\nd\ne\nf",
    "a\x00b\x01c\x1b[31md\x7fe\x9bf\tg": "a b c [31md e f g",
    "\u202eevil\u202c \u2066x\u2069 \u200fy\u200e \u061cz": "evil x y z",
    "B\u200bT\u2060C\ufeff\u00ad \u180ex": "BTC x",
    "a\ud800b": "a\ufffdb",
    "\n" * 1_000 + "x" + "\n \n" * 1_000 + "y": "x\n\ny",
    " \t\r\n\u200b\u200e": "",
}
"""How the others are shown."""

REPEATED = ("x", "<", "\\", '"', "*", "\N{BELL}", FAMILY, CLUSTERS[2])
LONG = tuple(one * (10_000 // len(one)) for one in REPEATED)
"""Shown as far as there is room: the beginning, an ellipsis at the end."""

CORPUS: Mapping[str, str] = {**{text: text for text in (*TEXTS, *LONG)}, **CLEANED}

FROM_OUTSIDE = [text for text in CORPUS if "\ud800" not in text]
"""Those that JSON can carry, and so an event or document."""


def flat(text: str) -> str:
    """As it is shown on one line."""
    return " ".join(text.split())


def shows(seen: str, text: str) -> bool:
    """Whether what is seen is the text, or as much of it as there was room for, with no sign cut in two."""
    if seen == text:
        return True
    kept = seen.removesuffix("\N{HORIZONTAL ELLIPSIS}")
    if kept == seen or not text.startswith(kept):
        return False
    repeated = next((one for one in CLUSTERS if one * 20 in text), None)
    return repeated is None or not (len(kept) - text.index(repeated)) % len(repeated)

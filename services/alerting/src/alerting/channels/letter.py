"""How a mail looks: as text, and as a page that mail programs agree on.

They differ in what they can do: tables and inline styles work in all, a style sheet in most, so it only turns the page
dark where the reader likes that. Nothing is loaded from anywhere; the picture comes with the mail. Links lead to us.
"""

from __future__ import annotations

import html
from string import Template

from alerting.channels import Message
from alerting.channels.text import cut, one_line

TEXT_MAX = 100_000
PREVIEW_MAX = 140
"""What lists of mails show beside the subject."""

PICTURE_ID = "signal.png@tocsin"

_PAGE = Template("""<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
@media (prefers-color-scheme: dark) {
.page { background: #0e1116 !important }
.card { background: #171b22 !important; border-color: #2a313c !important }
.ink { color: #e8ebf0 !important }
.dim { color: #98a1b0 !important }
.row { border-color: #2a313c !important }
}
</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f2f3f5">
<div style="display:none;max-height:0;overflow:hidden">$preview</div>
<table role="presentation" class="page" width="100%" cellpadding="0" cellspacing="0" style="background:#f2f3f5">
<tr><td align="center" style="padding:24px 12px">
<table role="presentation" class="card" width="100%" cellpadding="0" cellspacing="0" style="max-width:640px;\
background:#ffffff;border:1px solid #e3e6ea;border-radius:14px;font-family:-apple-system,'Segoe UI',Roboto,\
Helvetica,Arial,sans-serif">
<tr><td style="padding:24px 28px 0">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr>
<td style="color:#c47f17;font-size:12px;font-weight:700;letter-spacing:2px">TOCSIN</td>
<td align="right" class="dim" style="color:#6a7280;font-size:12px">$moment</td>
</tr></table>
</td></tr>
<tr><td class="ink" style="padding:14px 28px 0;color:#14181f">
<h1 style="margin:0;font-size:23px;line-height:30px;font-weight:650">$title</h1>
</td></tr>
$text$picture$fields$action<tr><td class="dim" style="padding:22px 28px 24px;color:#8a93a1;font-size:11px;\
line-height:16px">
$foot
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
""")

_TEXT = Template("""<tr><td class="ink" style="padding:10px 28px 0;color:#3a414d;font-size:15px;line-height:23px">
$text
</td></tr>
""")

_PICTURE = Template("""<tr><td style="padding:18px 28px 0">
<img src="cid:$picture" width="584" alt="$title" style="display:block;width:100%;height:auto;border-radius:10px">
</td></tr>
""")

_FIELDS = Template("""<tr><td style="padding:14px 28px 0">
<table width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse;font-size:14px;line-height:20px">
$rows</table>
</td></tr>
""")

_ROW = Template("""<tr>
<th scope="row" align="left" class="dim row" style="padding:8px 16px 8px 0;border-bottom:1px solid #eceef1;\
color:#6a7280;font-weight:400;white-space:nowrap;vertical-align:top">$name</th>
<td align="right" class="ink row" style="padding:8px 0;border-bottom:1px solid #eceef1;color:#14181f;\
font-weight:600;word-break:break-word">$value</td>
</tr>
""")


_ACTION = Template("""<tr><td style="padding:22px 28px 0">
<a href="$url" style="display:inline-block;padding:11px 22px;background:#c47f17;border-radius:8px;color:#ffffff;\
font-size:15px;font-weight:600;text-decoration:none">$label</a>
</td></tr>
""")

_UNSUBSCRIBE = Template('<a href="$url" class="dim" style="color:#8a93a1;text-decoration:underline">$label</a>')


def plain(message: Message, unsubscribe: str = "") -> str:
    """Text, then one aligned line per field, then the links."""
    width = max((len(name) for name in message.fields), default=0)
    lines = [f"{name + ':':<{width + 1}} {value}" for name, value in message.fields.items()]
    links = [f"{message.action.label}: {message.action.url}"] if message.action else []
    links += [f"{message.voice.say('letter.unsubscribe')}: {unsubscribe}"] if unsubscribe else []
    parts = (cut(message.text, TEXT_MAX), "\n".join(lines), "\n".join(links))
    return "\n\n".join(part for part in parts if part) + "\n"


def page(message: Message, unsubscribe: str = "") -> str:
    """A card with title, text, picture, fields and what is to be done; below, how to get no more of them."""
    title = html.escape(message.title)
    text = html.escape(cut(message.text, TEXT_MAX)).replace("\n", "<br>\n")
    rows = "".join(
        _ROW.substitute(name=html.escape(name), value=html.escape(value)) for name, value in message.fields.items()
    )
    return _PAGE.substitute(
        preview=html.escape(cut(one_line(message.text), PREVIEW_MAX)),
        language=message.voice.language,
        moment=message.voice.moment(message.ts_ms),
        title=title,
        text=_TEXT.substitute(text=text) if text else "",
        picture=_PICTURE.substitute(picture=PICTURE_ID, title=title) if message.picture is not None else "",
        fields=_FIELDS.substitute(rows=rows) if rows else "",
        action=_linked(_ACTION, message.action.label, message.action.url) if message.action else "",
        foot=_foot(message, unsubscribe),
    )


def _foot(message: Message, unsubscribe: str) -> str:
    say = message.voice.say
    alert = html.escape(say("letter.alert", alert_id=message.alert_id)) if message.alert_id else ""
    link = _linked(_UNSUBSCRIBE, say("letter.unsubscribe"), unsubscribe) if unsubscribe else ""
    return "<br>\n".join(part for part in (alert, link) if part)


def _linked(template: Template, label: str, url: str) -> str:
    return template.substitute(label=html.escape(label), url=html.escape(url))

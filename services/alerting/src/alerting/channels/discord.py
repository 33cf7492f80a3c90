"""Discord webhooks.

`discord-webhook` builds the payload; the request is ours. The library's own makes a client per message, waits without
a limit, raises on every answer that is not JSON (also on the success 204) and sleeps in place when rate limited.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
from discord_webhook import DiscordEmbed, DiscordWebhook
from yarl import URL

from alerting.channels import Ambiguous, Message
from alerting.channels.http import Answer, Outbound
from alerting.channels.text import cut, one_line, utf16_length
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected

TITLE_MAX, DESCRIPTION_MAX, FIELDS_MAX, FIELD_NAME_MAX, FIELD_VALUE_MAX, EMBED_MAX = 256, 4096, 25, 256, 1024, 6000
"""https://discord.com/developers/docs/resources/message#embed-object-embed-limits"""

SUPPRESS_NOTIFICATIONS = 1 << 12
"""https://discord.com/developers/docs/resources/message#message-object-message-flags"""

MARKUP = re.compile(r"[\\*_~`|\[\]<>]|^\s*[#+-]", re.MULTILINE)
"""What Discord would read as formatting: anywhere in a line, and headings and lists at its beginning."""


class Discord:
    """Posts one embed and waits for the message Discord made of it."""

    dedupes = False

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def send(self, message: Message, destination: Destination) -> str:
        try:
            url = str(URL(destination.address).update_query(wait="true"))
        except ValueError:
            raise Rejected(Undelivered.BAD_ADDRESS, "not a URL") from None
        body = msgspec.json.encode(payload(message))
        return message_id(await self._outbound.post(url, body, {"Content-Type": "application/json"}))

    async def close(self) -> None:
        await self._outbound.close()


def payload(message: Message) -> dict[str, object]:
    """One embed within Discord's limits; nobody is mentioned, and markup in the text stays text."""
    title = escaped(one_line(message.title), TITLE_MAX)
    moment = datetime.fromtimestamp(message.ts_ms / 1000, UTC).isoformat()
    embed = DiscordEmbed(title=title, timestamp=moment, url=message.action.url if message.action else None)
    room = EMBED_MAX - utf16_length(title)
    for name, value in list(message.fields.items())[:FIELDS_MAX]:
        label, content = escaped(one_line(name), FIELD_NAME_MAX), escaped(value, FIELD_VALUE_MAX)
        size = utf16_length(label) + utf16_length(content)
        if label and content and size <= room:
            embed.add_embed_field(name=label, value=content)
            room -= size
    if message.text:
        embed.set_description(escaped(message.text, min(DESCRIPTION_MAX, room)))
    filled = {key: value for key, value in vars(embed).items() if value is not None}
    flags = SUPPRESS_NOTIFICATIONS if message.silent else None
    return dict(DiscordWebhook(url="", allowed_mentions={"parse": []}, wait=False, embeds=[filled], flags=flags).json)


def escaped(text: str, limit: int) -> str:
    """Escape markup and cut to the limit, which holds for the escaped text; no escape is split."""
    kept = text
    while (excess := utf16_length(result := MARKUP.sub(_escape, kept)) - limit) > 0:
        kept = cut(text, utf16_length(kept) - max(1, excess // 2))
    return result


def _escape(found: re.Match[str]) -> str:
    return f"{found[0][:-1]}\\{found[0][-1]}"


def message_id(answer: Answer) -> str:
    """The id of the new message. Raises Ambiguous when something other than Discord seems to have answered."""
    if answer.status == 204:
        return ""
    try:
        return msgspec.json.decode(answer.body, type=_Created).id
    except msgspec.DecodeError:
        raise Ambiguous(Undelivered.BAD_REPLY, "not the JSON of a message") from None


class _Created(msgspec.Struct):
    id: str

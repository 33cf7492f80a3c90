"""Discord webhooks.

`discord-webhook` builds the payload; the request is ours. The library's own makes a client per message, waits without
a limit, raises on every answer that is not JSON (also on the success 204) and sleeps in place when rate limited.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from discord_webhook import DiscordEmbed, DiscordWebhook
from yarl import URL

from alerting.channels import Ambiguous, Message, Original, Sent
from alerting.channels.discord_limits import obeyed, rest_s
from alerting.channels.http import Answer, Outbound
from alerting.channels.text import cut, utf16_length
from alerting.reasons import Undelivered
from tocsin_common.decoding import decode
from tocsin_common.documents import Destination
from tocsin_common.errors import Malformed, Rejected, Retryable

TITLE_MAX, DESCRIPTION_MAX, FIELDS_MAX, FIELD_NAME_MAX, FIELD_VALUE_MAX, EMBED_MAX = 256, 4096, 25, 256, 1024, 6000
"""https://discord.com/developers/docs/resources/message#embed-object-embed-limits"""

SUPPRESS_NOTIFICATIONS = 1 << 12
"""https://discord.com/developers/docs/resources/message#message-object-message-flags"""

MARKUP = re.compile(r"[\\*_~`|\[\]<>]|^ *(?:[#+-]|\d+\.)", re.MULTILINE)
"""What Discord would read as formatting: anywhere in a line, and headings and lists at its beginning."""


CHANNELS_URL = "https://discord.com/channels"
CHANNELS_MAX = 10_000
"""Webhooks whose channels are remembered."""

Snowflake = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")]


class Discord:
    """Posts one embed and waits for the message Discord made of it.

    Webhooks cannot answer a message, so the title of an answer links to its original.
    """

    dedupes = False

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._channels: dict[URL, str] = {}

    async def send(self, message: Message, destination: Destination) -> Sent:
        try:
            address = URL(destination.address)
            url = str(address.update_query(wait="true"))
        except ValueError:
            raise Rejected(Undelivered.BAD_ADDRESS, "not a URL") from None
        link = await self._link(address, message.answers) if message.answers else None
        body = msgspec.json.encode(payload(message, link))
        answer = await self._outbound.post(url, body, {"Content-Type": "application/json"}, judge=obeyed)
        return Sent(message_id(answer), rest_s(answer.headers))

    async def _link(self, address: URL, original: Original) -> str | None:
        """Where a message of this webhook can be seen; None where Discord does not say."""
        if address not in self._channels:
            with suppress(Rejected, Retryable, Malformed):
                answer = await self._outbound.get(str(address.with_query(None)))
                there = decode(answer.body, _Webhook)
                if len(self._channels) >= CHANNELS_MAX:
                    del self._channels[next(iter(self._channels))]
                thread = address.query.get("thread_id", there.channel_id)
                self._channels[address] = f"{CHANNELS_URL}/{there.guild_id}/{thread}"
        channel = self._channels.get(address)
        return f"{channel}/{original.reference}" if channel and original.reference.isdecimal() else None

    async def close(self) -> None:
        await self._outbound.close()


def payload(message: Message, link: str | None = None) -> dict[str, object]:
    """One embed within Discord's limits; nobody is mentioned, and markup in the text stays text."""
    title = escaped(message.title, TITLE_MAX)
    moment = datetime.fromtimestamp(message.ts_ms / 1000, UTC).isoformat()
    link = message.action.url if message.action else link
    embed = DiscordEmbed(title=title, timestamp=moment, url=link)
    room = EMBED_MAX - utf16_length(title)
    for name, value in list(message.fields.items())[:FIELDS_MAX]:
        label, content = escaped(name, FIELD_NAME_MAX), escaped(value, FIELD_VALUE_MAX)
        size = utf16_length(label) + utf16_length(content)
        if size <= room:
            embed.add_embed_field(name=label, value=content)
            room -= size
    if message.text:
        embed.set_description(escaped(message.text, min(DESCRIPTION_MAX, room)))
    filled = {key: value for key, value in vars(embed).items() if value is not None}
    flags = SUPPRESS_NOTIFICATIONS if message.silent else None
    return dict(DiscordWebhook(url="", allowed_mentions={"parse": []}, wait=False, embeds=[filled], flags=flags).json)


def escaped(text: str, limit: int) -> str:
    """Escape markup and cut to the limit, which holds for the escaped text; no escape is split."""
    kept = cut(text, limit)
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
        return decode(answer.body, _Created).id
    except Malformed:
        raise Ambiguous(Undelivered.BAD_REPLY, "not the JSON of a message") from None


class _Webhook(msgspec.Struct):
    """https://discord.com/developers/docs/resources/webhook#get-webhook-with-token"""

    guild_id: Snowflake
    channel_id: Snowflake


class _Created(msgspec.Struct):
    id: str

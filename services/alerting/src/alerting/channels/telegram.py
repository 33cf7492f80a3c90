"""Telegram, by the Bot API. It knows no idempotency: a request without an answer may have been delivered."""

from __future__ import annotations

import html
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
from telegram import Bot, LinkPreviewOptions, ReplyParameters
from telegram.constants import ParseMode
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest

from alerting.channels import Ambiguous, Message, Sent
from alerting.channels.text import cut, utf16_length
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable, TocsinError

TEXT_MAX = 4096
"""UTF-16 code units after the entities are parsed: https://core.telegram.org/bots/api#sendmessage"""

CAPTION_MAX = 1024
"""The same, of the text below a photo: https://core.telegram.org/bots/api#sendphoto"""

UPLOADED_MAX = 64
"""Pictures whose ids are remembered, the newest."""

TITLE_MAX, FIELDS_MAX, FIELD_MAX = 256, 2048, 512

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Telegram:
    """Sends as one bot. `destination.address` is a chat id or `@channel`."""

    dedupes = False

    def __init__(self, token: str, *, base_url: str, timeout_s: float, connections: int) -> None:
        silence_urls()
        request = Request(
            connection_pool_size=connections,
            connect_timeout=timeout_s / 2,
            read_timeout=timeout_s,
            write_timeout=timeout_s,
            media_write_timeout=timeout_s,
            pool_timeout=timeout_s,
        )
        base = f"{base_url.rstrip('/')}/bot"
        self._uploaded: dict[bytes, str] = {}
        self._bot = Bot(token, base_url=base, request=request, get_updates_request=request)

    async def send(self, message: Message, destination: Destination) -> Sent:
        text = markup(message)
        picture = message.picture if shown_length(text) <= CAPTION_MAX else None
        try:
            try:
                reference = await self._post(destination.address, text, picture, _manner(message))
            except ChatMigrated as moved:  # where no message has the id it had
                reference = await self._post(moved.new_chat_id, text, picture, _manner(replace(message, answers=None)))
        except TelegramError as error:
            raise meaning(error) from None
        return Sent(reference)

    async def _post(self, chat_id: int | str, text: str, picture: bytes | None, manner: dict[str, Any]) -> str:
        """A photo with the text below it. Where Telegram refuses that (a chat may forbid photos), the text alone."""
        if picture is not None:
            with suppress(BadRequest):
                return await self._post_photo(chat_id, text, picture, manner)
        preview = LinkPreviewOptions(is_disabled=True)
        sent = await self._bot.send_message(chat_id, text, link_preview_options=preview, **manner)
        return str(sent.message_id)

    async def _post_photo(self, chat_id: int | str, text: str, picture: bytes, manner: dict[str, Any]) -> str:
        """A picture is uploaded once; then it goes by the id that Telegram gave it."""
        known = self._uploaded.get(picture)
        sent = await self._bot.send_photo(chat_id, known or picture, text, filename="signal.png", **manner)
        if sent.photo and known is None:
            if len(self._uploaded) >= UPLOADED_MAX:
                del self._uploaded[next(iter(self._uploaded))]
            self._uploaded[picture] = sent.photo[-1].file_id
        return str(sent.message_id)

    async def close(self) -> None:
        await self._bot.request.shutdown()


def _manner(message: Message) -> dict[str, Any]:
    """How a message comes: silently or not, and as an answer where its original is still there."""
    original = message.answers.reference if message.answers else ""
    answered = ReplyParameters(int(original), allow_sending_without_reply=True) if original.isdecimal() else None
    return {
        "parse_mode": ParseMode.HTML,
        "disable_notification": message.silent,
        "reply_parameters": answered,
    }


class Request(HTTPXRequest):
    """Tells apart, by the HTTP status, failures that the library reports alike."""

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        status, payload = await super().do_request(*args, **kwargs)
        if status >= 500:
            raise Retryable(Undelivered.SERVER_ERROR, f"HTTP {status}")
        if status == 429 and b'"retry_after"' not in payload:
            raise Retryable(Undelivered.RATE_LIMITED, f"HTTP {status}")
        if not payload.lstrip().startswith(b"{"):
            raise Ambiguous(Undelivered.BAD_REPLY, f"HTTP {status} without JSON")
        if status < 300 and b'"result"' not in payload:
            raise Ambiguous(Undelivered.BAD_REPLY, f"HTTP {status} without a result")
        return status, payload


def meaning(error: TelegramError) -> TocsinError:
    """What an error of the library means for the delivery. Its text may hold the token, so none of it is passed on."""
    match error:
        case RetryAfter(retry_after=wait):
            seconds = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)
            return Retryable(Undelivered.RATE_LIMITED, "flood control", retry_after_s=seconds)
        case InvalidToken():
            return Rejected(Undelivered.UNAUTHORIZED, "the bot token is not valid")
        case Forbidden():
            return Rejected(Undelivered.FORBIDDEN, "the bot was blocked or removed")
        case ChatMigrated():
            return Rejected(Undelivered.GONE, "the chat moved twice")
        case BadRequest():
            return Rejected(Undelivered.REFUSED, "chat not found, or not writable")
        case NetworkError(__cause__=TocsinError() as cause):
            return cause
        case NetworkError(__cause__=cause) if isinstance(cause, NOT_SENT):
            return Retryable(Undelivered.CONNECTION_FAILED, type(cause).__name__)
        case NetworkError(__cause__=httpx.TimeoutException()):
            return Ambiguous(Undelivered.TIMEOUT, "no answer in time")
        case NetworkError(__cause__=httpx.HTTPError() as cause):
            return Ambiguous(Undelivered.CONNECTION_LOST, type(cause).__name__)
    return Ambiguous(Undelivered.BAD_REPLY, type(error).__name__)


def markup(message: Message) -> str:
    """Telegram's HTML: title in bold, text, fields. Cut before escaping, so no entity breaks."""
    title = cut(message.title, TITLE_MAX)
    lines, room = [], FIELDS_MAX
    for name, value in ((cut(name, FIELD_MAX), cut(value, FIELD_MAX)) for name, value in message.fields.items()):
        size = utf16_length(name) + utf16_length(value) + len("\n: ")
        if size <= room:
            lines.append(f"<b>{html.escape(name)}</b>: {html.escape(value)}")
            room -= size
    text = cut(message.text, TEXT_MAX - FIELDS_MAX - utf16_length(title) - len("\n\n\n"))
    parts = [f"<b>{html.escape(title)}</b>\n{html.escape(text)}".rstrip(), "\n".join(lines)]
    return "\n\n".join(part for part in parts if part)


def shown_length(text: str) -> int:
    """UTF-16 code units of what `markup` made, after its entities are parsed."""
    return utf16_length(html.unescape(text.replace("<b>", "").replace("</b>", "")))


def silence_urls() -> None:
    """These libraries log the URLs they call, and the bot's token is part of them."""
    for name in ("httpx", "httpcore", "telegram"):
        logging.getLogger(name).setLevel(logging.WARNING)

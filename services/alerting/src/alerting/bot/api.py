"""The Bot API, as far as the bot uses it. Errors are those of the channel: Rejected, Retryable, Ambiguous."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions, Message, Update
from telegram.constants import ParseMode
from telegram.error import BadRequest, Conflict, TelegramError

from alerting.bot.answers import CAPTION_MAX, TOAST_MAX, Answer, Rows, shown_length
from alerting.bot.asked import TEXT_MAX, Asked, Person, Press
from alerting.channels.telegram import Request, meaning, silence_urls
from tocsin_common.errors import Retryable

BATCH = 100
"""Updates of one answer: as many as Telegram gives."""

CONFLICT = "conflict"
"""Why polling fails while somebody else polls, or a webhook is set."""

NAME_MAX = 64
"""Characters of a person's name: as many as Telegram lets anybody have."""

_KINDS = ("message", "callback_query")
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class BotApi:
    """One bot. `bot_id` is the public part of its token."""

    def __init__(self, token: str, *, base_url: str, timeout_s: float, connections: int) -> None:
        silence_urls()
        head, colon, _ = token.partition(":")
        self.bot_id = head if colon and head.isdigit() else "unknown"
        self._bot = Bot(
            token,
            base_url=f"{base_url.rstrip('/')}/bot",
            request=_open(Request, connections, timeout_s),
            get_updates_request=_open(_Polling, 1, timeout_s),
        )

    async def username(self) -> str:
        """The name people address the bot by, without `@`."""
        try:
            return (await self._bot.get_me()).username or ""
        except TelegramError as error:
            raise meaning(error) from None

    async def updates(self, offset: int, *, wait_s: int) -> list[tuple[int, Asked | None]]:
        """What waits from `offset` on, which confirms all before it; waits for the first one. None: nothing for us."""
        try:
            found = await self._bot.get_updates(offset=offset, limit=BATCH, timeout=wait_s, allowed_updates=_KINDS)
        except Conflict:
            raise Retryable(CONFLICT, "somebody else polls with this token, or a webhook is set") from None
        except TelegramError as error:
            raise meaning(error) from None
        received_ms = time.time_ns() // 1_000_000
        return [(update.update_id, asked(update, received_ms)) for update in found]

    async def send(self, chat_id: int, answer: Answer) -> None:
        """A new message; a photo with the text below it where there is a picture."""
        markup = _keyboard(answer.buttons)
        try:
            if answer.picture is not None and shown_length(answer.text) <= CAPTION_MAX:
                with suppress(BadRequest):  # a chat may forbid photos
                    await self._bot.send_photo(
                        chat_id, answer.picture, answer.text, parse_mode=ParseMode.HTML, reply_markup=markup
                    )
                    return
            await self._bot.send_message(
                chat_id, answer.text, parse_mode=ParseMode.HTML, reply_markup=markup, link_preview_options=_NO_PREVIEW
            )
        except TelegramError as error:
            raise meaning(error) from None

    async def edit(self, chat_id: int, message_id: int, answer: Answer) -> None:
        """Put an answer in the place of a message; that it stands there already is as good."""
        try:
            await self._bot.edit_message_text(
                answer.text,
                chat_id,
                message_id,
                parse_mode=ParseMode.HTML,
                reply_markup=_keyboard(answer.buttons),
                link_preview_options=_NO_PREVIEW,
            )
        except BadRequest as error:
            if "not modified" not in error.message:
                raise meaning(error) from None
        except TelegramError as error:
            raise meaning(error) from None

    async def toast(self, callback_id: str, text: str) -> None:
        """End the waiting of who pressed a button; one that was pressed long ago has ended its waiting itself."""
        try:
            with suppress(BadRequest):
                await self._bot.answer_callback_query(callback_id, text[:TOAST_MAX] or None)
        except TelegramError as error:
            raise meaning(error) from None

    async def offer(self, commands: Mapping[str, str], language: str) -> None:
        """The commands that Telegram shows beside the field; `language` empty: to everybody else."""
        try:
            await self._bot.set_my_commands(list(commands.items()), language_code=language or None)
        except TelegramError as error:
            raise meaning(error) from None

    async def close(self) -> None:
        for request in self._bot._request:
            await request.shutdown()


class _Polling(Request):
    """Reads updates one by one: one that the library cannot read says nothing, and the others are heard."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError):
            raise TelegramError("not JSON") from None
        if not isinstance(answer, dict):
            raise TelegramError("not an answer")
        if answer.get("ok") is True:
            found = answer.get("result")
            answer["result"] = [_readable(one) for one in found if _numbered(one)] if isinstance(found, list) else []
        return answer


def _open(kind: type[Request], connections: int, timeout_s: float) -> Request:
    return kind(
        connection_pool_size=connections,
        connect_timeout=timeout_s / 2,
        read_timeout=timeout_s,
        write_timeout=timeout_s,
        media_write_timeout=timeout_s,
        pool_timeout=timeout_s,
    )


def _numbered(update: Any) -> bool:
    return isinstance(update, dict) and isinstance(update.get("update_id"), int)


def _readable(update: dict[str, Any]) -> dict[str, Any]:
    try:
        Update.de_json(dict(update), None)
    except Exception:  # whatever the library stumbles over: it is of no use to us either
        return {"update_id": update["update_id"]}
    return update


def asked(update: Update, received_ms: int) -> Asked | None:
    """What somebody asks with an update; None: it is nothing for us (an edit, a channel, another bot, a photo)."""
    message, query = update.message, update.callback_query
    if query is not None and query.message is not None and query.data and not query.from_user.is_bot:
        chat = query.message.chat
        shown = query.message.text if isinstance(query.message, Message) else None
        press = Press(query.id, query.message.message_id, query.data, shown or "")
        person = _person(query.from_user)
        private = chat.type == chat.PRIVATE
        return Asked(update.update_id, person, chat.id, private, received_ms, received_ms, press=press)
    if message is None or not message.text or message.from_user is None or message.from_user.is_bot:
        return None
    if message.sender_chat is not None:  # said in the name of a group or channel: nobody's own
        return None
    said_ms = int(message.date.timestamp() * 1000)
    private = message.chat.type == message.chat.PRIVATE
    text = message.text[:TEXT_MAX]
    return Asked(update.update_id, _person(message.from_user), message.chat_id, private, said_ms, received_ms, text)


def _person(user: Any) -> Person:
    return Person(user.id, user.full_name[:NAME_MAX], (user.language_code or "")[:16])


def _keyboard(rows: Rows) -> InlineKeyboardMarkup | None:
    if not rows:
        return None
    keys: Sequence[Sequence[InlineKeyboardButton]] = [
        [InlineKeyboardButton(key.label, callback_data=key.data or None, url=key.url or None) for key in row]
        for row in rows
    ]
    return InlineKeyboardMarkup(keys)

"""Telegram's Bot API as a bot sees it: updates that wait to be confirmed, buttons, edits, toasts, commands.

https://core.telegram.org/bots/api#getting-updates: an update is confirmed by a request with a higher offset, until then
every request returns it again; a second request for updates ends the first one with 409.

    async with BotServer() as server:
        server.say(7, "/help")
        await server.wait_for(1)
        server.press(7, server.buttons()["English"])
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from tests.channels.record import Fault
from tests.channels.telegram import TEXT_MAX, TelegramServer, Unparsable, parse

CALLBACK_DATA_BYTES, TOAST_MAX, BATCH_MAX = 64, 200, 100
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


@dataclass
class BotServer(TelegramServer):
    """`pending` is what is not confirmed yet, `polls` the offsets asked with, `poll_faults` spoil the next polls.

    `edits` are texts put in the place of others, by message; `toasts` what was shown on a button, by callback.
    """

    pending: list[dict[str, Any]] = field(default_factory=list)
    polls: list[int] = field(default_factory=list)
    poll_faults: deque[Fault] = field(default_factory=deque)
    edits: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    toasts: dict[str, str] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    conflicts: int = 0
    _next_id: int = 700_000_001
    _poll: asyncio.Event | None = None
    _contents: dict[int, tuple[str, str]] = field(default_factory=dict)

    def say(self, user: int, text: str, *, chat: int | None = None, **about: Any) -> int:
        """A message of a user, in the private chat or in a group (a negative id); returns the update's id."""
        message = {
            "message_id": self._next_id,
            "date": about.pop("date", int(time.time())),
            "chat": self._chat(user if chat is None else chat),
            "from": self._user(user, **about),
            "text": text,
        }
        if text.startswith("/"):
            length = len(text.split()[0].encode("utf-16-le")) // 2
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
        return self.push({"message": message})

    def press(self, user: int, data: str, *, chat: int | None = None, message: int | None = None, **about: Any) -> str:
        """A button pressed below the bot's message `message` (the last one), which says `text`; returns the callback's
        id."""
        text = about.pop("text", "menu")
        ref = message if message is not None else len(self.accepted)
        callback = f"cb{self._next_id}"
        below = {"message_id": ref, "date": int(time.time()), "chat": self._chat(user if chat is None else chat)}
        query = {"id": callback, "from": self._user(user, **about), "chat_instance": "1", "data": data}
        self.push({"callback_query": {**query, "message": {**below, "text": text}}})
        return callback

    def push(self, content: dict[str, Any]) -> int:
        """Any update; returns its id."""
        update_id, self._next_id = self._next_id, self._next_id + 1
        self.pending.append({"update_id": update_id, **content})
        if self._poll is not None:
            self._poll.set()
        return update_id

    def buttons(self, ref: int | None = None) -> dict[str, str]:
        """Label and data of the buttons below a message of the bot (the last one sent or edited)."""
        if ref is None:
            edited = [number for number, _, _ in self.edits]
            ref = edited[-1] if edited and not self.accepted[edited[-1] :] else len(self.accepted)
        return buttons_in(self._contents[ref][1])

    async def wait_until(self, condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
        """Wait until what the server has seen fulfils a condition. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def wait_confirmed(self) -> None:
        await self.wait_until(lambda: not self.pending)

    async def _call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"].lower()
        answers = {
            "getupdates": self._updates,
            "editmessagetext": self._edit,
            "answercallbackquery": self._toast,
            "setmycommands": self._commands,
        }
        if method not in answers or request.match_info["token"] != self.token:
            return await super()._call(request)
        form = await request.json() if request.content_type == "application/json" else dict(await request.post())
        if method == "getupdates":
            return await self._updates(request, form)
        await self.asked()
        fault = self.next_fault()
        if (response := await self.commit(fault, request)) is not None:
            return response
        response = await answers[method](request, form)
        async with self._changed:
            self._changed.notify_all()
        return response if response.status != 200 else self.answer(fault, request, response)

    async def _updates(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        offset = int(form.get("offset", 0))
        async with self._changed:
            self.polls.append(offset)
            self.pending = [update for update in self.pending if update["update_id"] >= offset]
            self._changed.notify_all()
        fault = self.poll_faults.popleft() if self.poll_faults else None
        if fault is not None and (response := await self.commit(fault, request)) is not None:
            return response
        if self._poll is not None:
            self.conflicts += 1
            self._poll.set()
        mine = self._poll = asyncio.Event()
        if not self.pending:
            waits = [asyncio.ensure_future(mine.wait()), asyncio.ensure_future(self._closing.wait())]
            await asyncio.wait(waits, timeout=float(form.get("timeout", 0)), return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if self._poll is not mine:
            return self._refuse(409, CONFLICT)
        self._poll = None
        limit = min(int(form.get("limit", BATCH_MAX)), BATCH_MAX)
        return web.json_response({"ok": True, "result": self.pending[:limit]})

    async def _edit(self, _request: web.Request, form: dict[str, Any]) -> web.Response:
        ref, text, markup = int(form["message_id"]), str(form.get("text", "")), str(form.get("reply_markup", ""))
        try:
            shown = parse(text, str(form.get("parse_mode", ""))).text
        except Unparsable as error:
            return self._refuse(400, f"Bad Request: can't parse entities: {error}")
        if ref not in self._contents:
            return self._refuse(400, "Bad Request: message to edit not found")
        if wrong := wrong_markup(markup):
            return self._refuse(400, wrong)
        if self._contents[ref] == (text, markup):
            return self._refuse(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        if len(shown.encode("utf-16-le")) // 2 > TEXT_MAX:
            return self._refuse(400, "Bad Request: MESSAGE_TOO_LONG")
        self._contents[ref] = text, markup
        self.edits.append((ref, shown, buttons_in(markup)))
        chat = str(form["chat_id"])
        message = {"message_id": ref, "date": int(time.time()), "chat": self._chat(int(chat)), "text": shown}
        return web.json_response({"ok": True, "result": message})

    async def _toast(self, _request: web.Request, form: dict[str, Any]) -> web.Response:
        callback, text = str(form["callback_query_id"]), str(form.get("text", ""))
        if not callback.startswith("cb") or len(text) > TOAST_MAX:
            return self._refuse(
                400, "Bad Request: query is too old and response timeout expired or query ID is invalid"
            )
        self.toasts[callback] = text
        return web.json_response({"ok": True, "result": True})

    async def _commands(self, _request: web.Request, form: dict[str, Any]) -> web.Response:
        listed = json.loads(form["commands"])
        for one in listed:
            name = one["command"]
            if not (1 <= len(name) <= 32 and name.replace("_", "a").isalnum() and name == name.lower()):
                return self._refuse(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(one["description"]) <= 256:
                return self._refuse(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
        self.commands[str(form.get("language_code", ""))] = [one["command"] for one in listed]
        return web.json_response({"ok": True, "result": True})

    def _refusal(self, method: str, form: dict[str, object]) -> web.Response | None:
        wrong = wrong_markup(str(form.get("reply_markup", "")))
        return self._refuse(400, wrong) if wrong else super()._refusal(method, form)

    async def _accepted(self, method: str, form: dict[str, object]) -> web.Response:
        self._contents[len(self.accepted) + 1] = str(form.get("text", "")), str(form.get("reply_markup", ""))
        return await super()._accepted(method, form)

    def _chat(self, chat: int) -> dict[str, Any]:
        return {"id": chat, "type": "private" if chat > 0 else "supergroup"}

    def _user(self, user: int, *, name: str = "Ada", language: str = "en", is_bot: bool = False) -> dict[str, Any]:
        return {"id": user, "is_bot": is_bot, "first_name": name, "language_code": language}


def buttons_in(markup: str) -> dict[str, str]:
    if not markup:
        return {}
    rows = json.loads(markup)["inline_keyboard"]
    return {button["text"]: button.get("callback_data", button.get("url", "")) for row in rows for button in row}


def wrong_markup(markup: str) -> str:
    """What is wrong with buttons, in Telegram's words."""
    for label, data in buttons_in(markup).items():
        if not label:
            return "Bad Request: can't parse inline keyboard button: text must be non-empty"
        if not 1 <= len(data.encode()) <= CALLBACK_DATA_BYTES and not data.startswith("https://"):
            return "Bad Request: BUTTON_DATA_INVALID"
    return ""

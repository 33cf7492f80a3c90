"""Telegram's Bot API as far as messages go: sendMessage, sendPhoto and getMe, with their limits and errors."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field

from aiohttp import web
from tests.channels.http_server import HttpServer

TEXT_MAX, CAPTION_MAX = 4096, 1024
FILE_ID = "photo-"
SAYS = {"sendmessage": "text", "sendphoto": "caption"}
PNG = b"\x89PNG\r\n\x1a\n"
TAGS = frozenset({"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "a", "code", "pre", "tg-spoiler"})
WORDING = {
    400: "Bad Request: chat not found",
    401: "Unauthorized",
    403: "Forbidden: bot was blocked by the user",
    404: "Not Found",
    429: "Too Many Requests: retry later",
}


class Unparsable(Exception):
    """The text's entities cannot be parsed."""


_ENTITY = re.compile(r"&(?:#x(?P<hex>[0-9a-fA-F]+)|#(?P<decimal>[0-9]+)|(?P<name>[a-zA-Z]+));?")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
"""The only ones; whatever else looks like an entity is text."""

_TAG = re.compile(r"<(?P<end>/?)(?P<name>[^\s<>]*)(?:\s(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)?>")
_BLANKED = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f]")
_DROPPED = re.compile("[\r\u2028-\u202e\u030a\u0333\u033f]")


@dataclass
class Entities:
    """What a message shows: its text, and which parts of it are bold."""

    text: str = ""
    bold: list[str] = field(default_factory=list)


def parse(text: str, parse_mode: str) -> Entities:
    """Plain text and entities of a message, cleaned as Telegram does. Raises Unparsable."""
    entities = _parse_html(text) if parse_mode.upper() == "HTML" else Entities(text)
    entities.text = cleaned(entities.text)
    return entities


def cleaned(text: str) -> str:
    """https://github.com/tdlib/td/blob/master/td/telegram/misc.cpp (clean_input_string), and blanks at the ends."""
    return _DROPPED.sub("", _BLANKED.sub(" ", text)).strip()


def _parse_html(text: str) -> Entities:
    """Few tags, all closed in order; every other `<` has to be escaped, and few entities are known.

    https://core.telegram.org/bots/api#html-style
    """
    entities, opened, place = Entities(), list[str](), 0
    while place < len(text):
        char, found = text[place], None
        if char == "<":
            found = _TAG.match(text, place)
            _open_or_close(found, opened, entities)
            char = ""
        elif char == "&" and (found := _ENTITY.match(text, place)):
            char = _char_of(found)
            found = found if char else None
            char = char or "&"
        place = found.end() if found else place + 1
        entities.text += char
        if opened[-1:] == ["b"]:
            entities.bold[-1] += char
    if opened:
        raise Unparsable(f'Can\'t find end tag corresponding to start tag "{opened[-1]}"')
    return entities


def _open_or_close(tag: re.Match[str] | None, opened: list[str], entities: Entities) -> None:
    name = tag["name"].lower() if tag else ""
    if tag is None or (not tag["end"] and name not in TAGS):
        raise Unparsable(f'Unsupported start tag "{name}"')
    if not tag["end"]:
        opened.append(name)
        entities.bold += [""] if name == "b" else []
    elif not opened or opened.pop() != name:
        raise Unparsable(f'Unexpected end tag "{name}"')


def _char_of(entity: re.Match[str]) -> str:
    """Empty where it is none."""
    if entity["name"]:
        return _NAMED.get(entity["name"], "")
    code = int(entity["hex"], 16) if entity["hex"] else int(entity["decimal"])
    return chr(code) if 0 < code < 0x10FFFF else ""


@dataclass
class TelegramServer(HttpServer):
    """`origin` is the base URL; a `migrated` chat answers with the chat it became, chats `without_photos` forbid them.

    `raw` of what is accepted is the form; a photo is in it as bytes, also where it came by the id of an upload.
    """

    token: str = "123456:LOCAL-test-token"
    migrated: dict[str, int] = field(default_factory=dict)
    without_photos: set[str] = field(default_factory=set)
    uploads: list[bytes] = field(default_factory=list)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_route("*", "/bot{token}/{method}", self._call)

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        parameters = {} if retry_after_s is None else {"retry_after": int(retry_after_s)}
        return self._refuse(status, WORDING.get(status, "Internal Server Error"), parameters)

    async def _call(self, request: web.Request) -> web.Response:
        await self.asked()
        if not hmac.compare_digest(request.match_info["token"], self.token):
            return self._refuse(401, "Unauthorized")
        method = request.match_info["method"].lower()
        if method == "getme":
            bot = {"id": 123456, "is_bot": True, "first_name": "Tocsin", "username": "tocsin_local_bot"}
            return web.json_response({"ok": True, "result": bot})
        if method not in ("sendmessage", "sendphoto"):
            return self._refuse(404, "Not Found")
        form = await request.json() if request.content_type == "application/json" else dict(await request.post())
        fault = self.next_fault()
        if (response := await self.commit(fault, request, str(form.get(SAYS[method], "")))) is not None:
            return response
        photo = form.get("photo")
        if isinstance(photo, web.FileField):
            form["photo"] = photo.file.read()
            self.uploads.append(form["photo"])
        elif str(photo).startswith(FILE_ID):
            form["photo"] = self.uploads[int(str(photo).removeprefix(FILE_ID))]
        return self._refusal(method, form) or self.answer(fault, request, await self._accepted(method, form))

    def _refusal(self, method: str, form: dict[str, object]) -> web.Response | None:
        """What is wrong with a message, in Telegram's words."""
        chat, photo = str(form.get("chat_id", "")), form.get("photo")
        if chat in self.migrated:
            parameters = {"migrate_to_chat_id": self.migrated[chat]}
            return self._refuse(400, "Bad Request: group chat was upgraded to a supergroup chat", parameters)
        try:
            entities = parse(str(form.get(SAYS[method], "")), str(form.get("parse_mode", "")))
        except Unparsable as error:
            return self._refuse(400, f"Bad Request: can't parse entities: {error}")
        length = len(entities.text.encode("utf-16-le")) // 2
        if method == "sendphoto":
            if chat in self.without_photos:
                return self._refuse(400, "Bad Request: not enough rights to send photos to the chat")
            if not isinstance(photo, bytes) or not photo.startswith(PNG):
                return self._refuse(400, "Bad Request: IMAGE_PROCESS_FAILED")
            return self._refuse(400, "Bad Request: message caption is too long") if length > CAPTION_MAX else None
        if not entities.text.strip():
            return self._refuse(400, "Bad Request: message text is empty")
        return self._refuse(400, "Bad Request: message is too long") if length > TEXT_MAX else None

    async def _accepted(self, method: str, form: dict[str, object]) -> web.Response:
        chat, said = str(form["chat_id"]), str(form.get(SAYS[method], ""))
        text = parse(said, str(form.get("parse_mode", ""))).text
        ref = len(self.accepted) + 1
        accepted = await self.accept(text=text, address=chat, key="", ref=str(ref), raw=form)
        message = {
            "message_id": ref,
            "date": accepted.at_ms // 1000,
            "chat": {"id": int(chat) if chat.lstrip("-").isdigit() else -1, "type": "private"},
            SAYS[method]: text,
        }
        if method == "sendphoto":
            file_id = f"{FILE_ID}{self.uploads.index(form['photo'])}"
            message["photo"] = [{"file_id": file_id, "file_unique_id": file_id, "width": 1280, "height": 768}]
        return web.json_response({"ok": True, "result": message})

    def _refuse(self, status: int, description: str, parameters: dict[str, int] | None = None) -> web.Response:
        body: dict[str, object] = {"ok": False, "error_code": status, "description": description}
        if parameters:
            body["parameters"] = parameters
        return web.json_response(body, status=status)

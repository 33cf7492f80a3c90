"""Discord's webhook endpoint: `POST /api/webhooks/<id>/<token>`, with its limits and the wording of its errors."""

from __future__ import annotations

import hmac
import math
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from tests.channels.http_server import HttpServer

EMBEDS_MAX, EMBED_TOTAL_MAX, FIELDS_MAX = 10, 6000, 25
LIMITS = {"title": 256, "description": 4096}
FIELD_LIMITS = {"name": 256, "value": 1024}
RESET = "X-RateLimit-Reset-After"


@dataclass
class DiscordServer(HttpServer):
    """`url` is the webhook's URL. Messages are kept as `title`, `description` and `name: value` lines.

    `limit`: it takes so many in `window_s` from the first on, says so in every answer, and refuses (`over`) others.
    `everybody`: where it answers 429, that holds for all webhooks.
    """

    webhook_id: str = "1100000000000000001"
    token: str = "LOCAL-discord-token"
    limit: int = 0
    window_s: float = 2.0
    everybody: bool = False
    over: int = 0
    _window: tuple[float, int] = (0.0, 0)
    """When it began, and how many it took."""

    @property
    def url(self) -> str:
        return f"{self.origin}/api/webhooks/{self.webhook_id}/{self.token}"

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/api/webhooks/{webhook}/{token}", self._execute)
        app.router.add_get("/api/webhooks/{webhook}/{token}", self._describe)

    async def _describe(self, request: web.Request) -> web.Response:
        """The webhook itself, as its token shows it."""
        if not hmac.compare_digest(request.match_info["token"], self.token):
            return web.json_response({"message": "Unknown Webhook", "code": 10015}, status=404)
        return web.json_response({"id": self.webhook_id, "type": 1, "guild_id": "7", "channel_id": "1"})

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
        body: dict[str, object] = {"message": f"refused with {status}"}
        if status == 429:
            body = {"message": "You are being rate limited.", "retry_after": retry_after_s, "global": self.everybody}
        return web.json_response(body, status=status, headers=headers)

    async def _execute(self, request: web.Request) -> web.Response:
        await self.asked()
        body = await request.json()
        if request.match_info["webhook"] != self.webhook_id:
            return web.json_response({"message": "Unknown Webhook", "code": 10015}, status=404)
        if not hmac.compare_digest(request.match_info["token"], self.token):
            return web.json_response({"message": "Invalid Webhook Token", "code": 50027}, status=401)
        headers = self._count() if self.limit else {}
        if headers.get("X-RateLimit-Scope"):
            self.over += 1
            body = {"message": "You are being rate limited.", "retry_after": float(headers[RESET]), "global": False}
            return web.json_response(body, status=429, headers=headers)
        fault = self.next_fault()
        if (response := await self.commit(fault, request, plain(body))) is not None:
            return response
        if problems := check(body):
            return web.json_response({"message": "Invalid Form Body", "code": 50035, "errors": problems}, status=400)
        ref = str(1200000000000000000 + len(self.accepted))
        await self.accept(text=plain(body), address=self.webhook_id, key="", ref=ref, raw=body)
        waits = request.query.get("wait", "false").lower() == "true"
        created = {"id": ref, "type": 0, "channel_id": "1", "webhook_id": self.webhook_id, "embeds": body["embeds"]}
        return self.answer(
            fault, request, web.json_response(created, headers=headers) if waits else web.Response(status=204)
        )

    def _count(self) -> dict[str, str]:
        """One more request: what the headers say of it."""
        now_s = time.monotonic()
        began_s, taken = self._window
        if now_s >= began_s + self.window_s:
            began_s, taken = now_s, 0
        self._window = began_s, taken + 1
        left, reset_s = self.limit - taken - 1, began_s + self.window_s - now_s
        said = {
            "X-RateLimit-Limit": f"{self.limit}",
            "X-RateLimit-Remaining": f"{max(left, 0)}",
            RESET: f"{reset_s:.3f}",
        }
        return said if left >= 0 else said | {"X-RateLimit-Scope": "user", "Retry-After": f"{math.ceil(reset_s)}"}


def check(body: dict[str, Any]) -> dict[str, str]:
    """What Discord would refuse, by place. Blanks at the ends of a text are not counted."""
    embeds = body.get("embeds") or []
    problems = {}
    if not body.get("content") and not embeds:
        problems["content"] = "Cannot send an empty message"
    if len(embeds) > EMBEDS_MAX:
        problems["embeds"] = f"Must be {EMBEDS_MAX} or fewer in length."
    if sum(map(_size, embeds)) > EMBED_TOTAL_MAX:
        problems["embeds"] = "Embed size exceeds maximum size of 6000"
    for embed in embeds:
        fields = embed.get("fields") or []
        problems |= {name: "too long" for name, limit in LIMITS.items() if len(embed.get(name) or "") > limit}
        if len(fields) > FIELDS_MAX:
            problems["fields"] = f"Must be {FIELDS_MAX} or fewer in length."
        for field in fields:
            sizes = {name: len((field.get(name) or "").strip()) for name in FIELD_LIMITS}
            problems |= {f"fields.{name}": "wrong size" for name, n in sizes.items() if not 0 < n <= FIELD_LIMITS[name]}
    return problems


def _size(embed: dict[str, Any]) -> int:
    fields = embed.get("fields") or []
    texts = [embed.get("title"), embed.get("description"), *(field[name] for field in fields for name in FIELD_LIMITS)]
    return sum(len(text or "") for text in texts)


def plain(body: dict[str, Any]) -> str:
    """The message as a person would see it: escapes resolved."""
    lines = [body.get("content") or ""]
    for embed in body.get("embeds") or []:
        lines += [embed.get("title") or "", embed.get("description") or ""]
        lines += [f"{field['name']}: {field['value']}" for field in embed.get("fields") or []]
    return unescaped("\n".join(line for line in lines if line))


def unescaped(text: str) -> str:
    """Text as Discord shows it."""
    result, position = "", 0
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text) and not text[position + 1].isalnum():
            position += 1
        result += text[position]
        position += 1
    return result

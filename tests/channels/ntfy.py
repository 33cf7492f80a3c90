"""An ntfy server of one's own: `POST /` with a message as JSON, for who has the token."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass

from aiohttp import web
from tests.channels.http_server import Inbox


@dataclass
class NtfyServer(Inbox):
    """`url` is its address as Apprise writes it. Messages are kept as title and message."""

    token: str = "tk_LOCALntfytoken"
    topic: str = "alerts"

    @property
    def url(self) -> str:
        return f"ntfy://{self.token}@{self.host}:{self.port}/{self.topic}"

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/", self.received)

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
        body = {"code": status * 100 + 1, "http": status, "error": f"refused with {status}"}
        return web.json_response(body, status=status, headers=headers)

    def text(self, body: bytes) -> str:
        event = json.loads(body)
        return f"{event['title']}\n{event['message']}"

    async def take(self, request: web.Request, body: bytes) -> web.Response:
        if not hmac.compare_digest(request.headers.get("Authorization", ""), f"Bearer {self.token}"):
            return self.error(401, None)
        event = json.loads(body)
        await self.accept(
            text=self.text(body), address=event["topic"], key="", ref="", raw=event, headers=dict(request.headers)
        )
        return web.json_response({"id": f"m{len(self.accepted)}", "event": "message", **event})

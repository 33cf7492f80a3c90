"""A receiver of Standard Webhooks: verifies signature and time, and recognises a second copy by its id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from tests.channels.http_server import Inbox

TOLERANCE_S = 300


@dataclass
class WebhookServer(Inbox):
    """`url` is where to post. Without a `secret` signatures are not asked for. `ids` holds every webhook-id once.

    `challenged` is what it says to whoever asks whether it wants alerts: yes, unless told otherwise.
    """

    secret: str = ""
    path: str = "/hook"
    ids: dict[str, int] = field(default_factory=dict)
    challenged: Callable[[dict[str, Any]], Any] = lambda event: {"challenge": event["data"]["challenge"]}

    @property
    def url(self) -> str:
        return self.origin + self.path

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post(self.path, self.received)

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
        return web.Response(status=status, text="refused", headers=headers)

    def text(self, body: bytes) -> str:
        data = json.loads(body)["data"]
        if "title" not in data:  # it is asked whether it wants alerts
            return ""
        return "\n".join([data["title"], data["text"], *(f"{name}: {value}" for name, value in data["fields"].items())])

    async def take(self, request: web.Request, body: bytes) -> web.Response:
        if problem := self._problem(request, body):
            return web.Response(status=401, text=problem)
        event = json.loads(body)
        if event["type"] == "verification":
            answer = self.challenged(event)
            return web.Response(body=answer) if isinstance(answer, bytes) else web.json_response(answer)
        key = request.headers["webhook-id"]
        self.ids[key] = self.ids.get(key, 0) + 1
        await self.accept(
            text=self.text(body), address=self.path, key=key, ref="", raw=event, headers=dict(request.headers)
        )
        return web.Response(status=204)

    def _problem(self, request: web.Request, body: bytes) -> str:
        """Why the request is not authentic; "" when it is."""
        webhook_id, sent_at = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
        if not webhook_id or not sent_at.isdigit():
            return "no id or timestamp"
        if abs(time.time() - int(sent_at)) > TOLERANCE_S:
            return "too old"
        if not self.secret:
            return ""
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        wanted = hmac.new(key, f"{webhook_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
        for signature in request.headers.get("webhook-signature", "").split():
            version, _, value = signature.partition(",")
            if version == "v1" and hmac.compare_digest(base64.b64decode(value), wanted):
                return ""
        return "wrong signature"

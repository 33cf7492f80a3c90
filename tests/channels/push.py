"""A push service with one browser behind it: verifies the signature, decrypts as the browser does, keeps what it was
pushed."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any

import http_ece
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from tests.channels.http_server import Inbox

MESSAGE_MAX = 4_096
"""Bytes a push service has to take, and this one takes no more."""


@dataclass
class PushServer(Inbox):
    """`vapid_public`: the key the subscription was made with (`applicationServerKey`). `topics`: how often each
    came."""

    vapid_public: str = ""
    path: str = "/push/browser"
    auth: bytes = b"sixteen bytes ok"
    topics: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.browser = ec.generate_private_key(ec.SECP256R1())

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def keys(self) -> str:
        """What the browser tells of itself: p256dh and auth."""
        public = self.browser.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return f"{_text(public)} {_text(self.auth)}"

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post(self.path, self.received)

    def error(self, status: int, retry_after_s: float | None) -> web.Response:
        headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
        return web.json_response({"code": status, "errno": 999}, status=status, headers=headers)

    def text(self, body: bytes) -> str:
        event = self._read(body)
        lines = [event["title"], event["body"], *(f"{name}: {value}" for name, value in event["fields"].items())]
        return "\n".join(lines)

    async def take(self, request: web.Request, body: bytes) -> web.Response:
        if (problem := self._problem(request, body)) is not None:
            return problem
        event = self._read(body)
        topic = request.headers["Topic"]
        self.topics[topic] = self.topics.get(topic, 0) + 1
        await self.accept(
            text=self.text(body), address=self.path, key=topic, ref="", raw=event, headers=dict(request.headers)
        )
        return web.Response(status=201, headers={"Location": f"{self.origin}/message/{len(self.accepted)}"})

    def _read(self, body: bytes) -> Any:
        return json.loads(http_ece.decrypt(body, private_key=self.browser, auth_secret=self.auth))

    def _problem(self, request: web.Request, body: bytes) -> web.Response | None:
        """The refusal of what no push service takes."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        parts = dict(part.split("=", 1) for part in rest.split(",")) if scheme == "vapid" else {}
        if parts.get("k") != self.vapid_public or not Vapid02.verify(f"vapid {rest}"):
            return self.error(401, None)
        claims = json.loads(base64.urlsafe_b64decode(parts["t"].split(".")[1] + "=="))
        if claims["aud"] != self.origin or not time.time() < claims["exp"] <= time.time() + 24 * 3600:
            return self.error(403, None)
        if request.headers.get("Content-Encoding") != "aes128gcm" or not request.headers.get("TTL", "").isdigit():
            return self.error(400, None)
        return self.error(413, None) if len(body) > MESSAGE_MAX else None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

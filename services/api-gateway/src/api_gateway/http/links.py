"""The pages that links in messages lead to: `/confirm/<code>` and `/unsubscribe/<token>`.

No key is asked for: who has the link may do what it is for. A GET only shows a button, because mail scanners follow
every link; a POST does it, also the one that mail programs send for their own button (RFC 8058). What is shown comes
from alerting, in the reader's language.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from http import HTTPStatus
from string import Template

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from api_gateway.http.allowance import Allowance
from tocsin_common.bus.protocol import Bus
from tocsin_common.errors import Malformed, Rejected, Retryable, Unreachable
from tocsin_common.requests.verification import (
    CONFIRM,
    TOKEN_MAX,
    UNSUBSCRIBE,
    ConfirmRequest,
    LinkReply,
    UnsubscribeRequest,
)

PATHS = ("/confirm/", "/unsubscribe/")
TOKEN = re.compile(rf"[A-Za-z0-9_-]{{1,{TOKEN_MAX}}}")
PER_S, BURST = 50.0, 200
"""Requests to these pages, all together: enough for what a mail to everybody brings, and little for alerting."""

_STYLE = (
    "body{margin:0;padding:12vh 16px;background:#f2f3f5;color:#14181f;font:16px/25px system-ui,sans-serif}"
    "main{max-width:460px;margin:auto;padding:28px 32px 32px;background:#fff;border:1px solid #e3e6ea;"
    "border-radius:14px}"
    "b{color:#c47f17;font-size:12px;letter-spacing:2px}h1{margin:10px 0 8px;font-size:23px;line-height:30px}"
    "p{margin:0 0 8px}button{margin-top:14px;padding:11px 22px;border:0;border-radius:8px;background:#c47f17;"
    "color:#fff;font:600 15px system-ui,sans-serif;cursor:pointer}"
    "@media(prefers-color-scheme:dark){body{background:#0e1116;color:#e8ebf0}main{background:#171b22;border-color:#2a313c}}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Robots-Tag": "noindex",
}
_PAGE = Template("""<!doctype html>
<html lang="$language">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tocsin</title>
<style>$style</style>
<main><b>TOCSIN</b><h1>$title</h1><p>$text</p>$form</main>
</html>
""")
_FORM = Template('<form method="post"><button>$button</button></form>')


def is_link(path: str) -> bool:
    """Whether a path is one of these pages."""
    return path.startswith(PATHS)


def add_routes(router: APIRouter, bus: Bus) -> None:
    allowance = Allowance(per_s=PER_S, burst=BURST)

    @router.get("/confirm/{token}", include_in_schema=False)
    async def shown_to_confirm(token: str) -> HTMLResponse:
        return await answer(bus, allowance, "confirm", token, act=False)

    @router.post("/confirm/{token}", include_in_schema=False)
    async def confirmed(token: str) -> HTMLResponse:
        return await answer(bus, allowance, "confirm", token, act=True)

    @router.get("/unsubscribe/{token}", include_in_schema=False)
    async def shown_to_unsubscribe(token: str) -> HTMLResponse:
        return await answer(bus, allowance, "unsubscribe", token, act=False)

    @router.post("/unsubscribe/{token}", include_in_schema=False)
    async def unsubscribed(token: str) -> HTMLResponse:
        return await answer(bus, allowance, "unsubscribe", token, act=True)


async def answer(bus: Bus, allowance: Allowance, what: str, token: str, *, act: bool) -> HTMLResponse:
    """The page for a link; alerting is asked only for what may be one of ours."""
    if wait_s := allowance.wait_s():
        return _later(HTTPStatus.TOO_MANY_REQUESTS, wait_s)
    if not TOKEN.fullmatch(token):
        return _void()
    try:
        if what == "confirm":
            reply = await bus.request(CONFIRM, ConfirmRequest(token=token, act=act))
        else:
            reply = await bus.request(UNSUBSCRIBE, UnsubscribeRequest(token=token, act=act))
    except (Rejected, Malformed):
        return _void()
    except (Retryable, Unreachable):
        return _later(HTTPStatus.SERVICE_UNAVAILABLE, 2)
    return page(reply)


def page(reply: LinkReply, status: HTTPStatus = HTTPStatus.OK) -> HTMLResponse:
    """A card with a title, a text and perhaps a button that posts to where the page is."""
    form = _FORM.substitute(button=html.escape(reply.button)) if reply.button else ""
    text = _PAGE.substitute(
        language=reply.language,
        style=_STYLE,
        title=html.escape(reply.title),
        text=html.escape(reply.text),
        form=form,
    )
    return HTMLResponse(text, status.value, _HEADERS)


def _void() -> HTMLResponse:
    """In every language: of a link that is none of ours we know no reader."""
    text = "It was used, it is too old, or it is not complete. / Sudah dipakai, sudah lama, atau tidak lengkap."
    title = "This link is not valid / Tautan ini tidak berlaku"
    return page(LinkReply(language="en", title=title, text=text, button=""), HTTPStatus.NOT_FOUND)


def _later(status: HTTPStatus, wait_s: float) -> HTMLResponse:
    reply = LinkReply(language="en", title="Try again in a moment / Coba lagi sebentar lagi", text="", button="")
    answer = page(reply, status)
    answer.headers["Retry-After"] = str(math.ceil(wait_s))
    return answer

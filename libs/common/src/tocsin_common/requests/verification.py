"""Questions about who wants to be reached where, answered by alerting. No answer holds an address."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tocsin_common.documents import Name
from tocsin_common.events import ChannelName, Language
from tocsin_common.requests.endpoint import Endpoint, Request
from tocsin_common.requests.management import Actor

TOKEN_MAX = 400
"""Characters of a code or token: more than we ever make."""


class VerifyRequest(Request, frozen=True, kw_only=True):
    """Ask a destination, the one at `place` among those of its channel (from 0), whether it wants alerts."""

    actor: Actor
    subscriber_id: Name
    channel: ChannelName
    place: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0


class VerifyReply(msgspec.Struct, frozen=True, kw_only=True):
    """`sent`: it got a code. `confirmed`: it said yes, now or before. `open`: our bot is to be sent `/start <code>`."""

    state: Literal["sent", "confirmed", "open"]
    code: str = ""
    expires_ms: int | None = None


class LinkRequest(Request, frozen=True, kw_only=True):
    """What a link, or a person, gave for a code or token. `act` false: only say what it would do."""

    token: Annotated[str, msgspec.Meta(max_length=TOKEN_MAX)]
    act: bool = True


class ConfirmRequest(LinkRequest, frozen=True, kw_only=True):
    """Confirm the destination that a code was sent to. Codes for Telegram are taken by our bot only."""


class UnsubscribeRequest(LinkRequest, frozen=True, kw_only=True):
    """Unsubscribe the destination whose mails hold a token."""


class LinkReply(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be shown to whoever followed it; `button` is empty where there is nothing left to do."""

    language: Language
    title: str
    text: str
    button: str


VERIFY = Endpoint("alerting.verify", "alerting", VerifyRequest, VerifyReply)
CONFIRM = Endpoint("alerting.confirm", "alerting", ConfirmRequest, LinkReply)
UNSUBSCRIBE = Endpoint("alerting.unsubscribe", "alerting", UnsubscribeRequest, LinkReply)

"""E-mail, by SMTP. The Message-ID is made of the delivery id: a second copy is recognised as the same mail.

Where we have a public address, every mail can be unsubscribed with one click and without a login (RFC 8058).
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as MAIL_POLICY
from email.policy import Policy
from email.utils import parseaddr
from typing import Literal

import aiosmtplib

from alerting.channels import Ambiguous, Message, Sent
from alerting.channels.letter import PICTURE_ID, page, plain
from alerting.channels.text import cut, one_line
from alerting.links import Links
from alerting.reasons import Undelivered
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable, TocsinError

SUBJECT_MAX, REPLY_MAX = 200, 200
IDLE_S = 10.0
"""Connections idle for longer are not used again: the server may just be closing them."""

LOGIN_FAILED = frozenset({530, 534, 535, 538})
"""RFC 4954: authentication required, too weak, invalid, or needs encryption."""


@dataclass(frozen=True, slots=True)
class Server:
    """The SMTP server and how to talk to it. `tls`: encrypted from the start, upgraded (and never without), or not."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    timeout_s: float
    user: str | None = None
    password: str | None = field(default=None, repr=False)


class Email:
    """Sends mails from one address. One connection carries one mail at a time, so idle ones are kept for the next."""

    dedupes = True

    def __init__(self, server: Server, *, sender: str, links: Links | None = None) -> None:
        self._server = server
        self._sender = sender
        self._links = links
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []

    async def send(self, message: Message, destination: Destination) -> Sent:
        unsubscribe = self._links.unsubscribe(message.subscriber_id, destination) if self._links else ""
        mail = compose(message, sender=self._sender, recipient=destination.address, unsubscribe=unsubscribe)
        try:
            client = await self._connected()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise meaning(error, sending=False) from None
        try:
            _, reply = await client.send_message(mail)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            client.close()
            raise meaning(error, sending=True) from None
        self._idle.append((client, time.monotonic()))
        return Sent(one_line(reply)[:REPLY_MAX])

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        while self._idle:
            client, _ = self._idle.pop()
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=1)

    async def _connected(self) -> aiosmtplib.SMTP:
        while self._idle:
            client, since_s = self._idle.pop()
            if client.is_connected and time.monotonic() - since_s < IDLE_S:
                return client
            client.close()
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            timeout=server.timeout_s,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            local_hostname=socket.gethostname(),
        )
        await client.connect()
        return client


class _Url(str):
    """A URL as a header of its own: in one line, whatever its length. Folded by the library it would become encoded
    words, which no mail program reads as a URL (RFC 2369, section 2)."""

    name = "List-Unsubscribe"

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: <{self}>{policy.linesep}"


class _Encoded(str):
    """A subject in encoded words (RFC 2047), all of it. The library would first decode what looks like an encoded word
    and may hold line breaks, and so further headers."""

    name = "Subject"

    def fold(self, *, policy: Policy) -> str:
        words = Header(self, "utf-8", header_name=self.name).encode(linesep=policy.linesep)
        return f"{self.name}: {words}{policy.linesep}"


def subject(title: str) -> str:
    """One line as a header that mail programs show as it is."""
    return title if title.isascii() and "=?" not in title else _Encoded(title)


def compose(message: Message, *, sender: str, recipient: str, unsubscribe: str = "") -> EmailMessage:
    """The mail, as text and as HTML; `unsubscribe` is the URL that ends them. Raises Rejected (see `addressed`)."""
    name, address = parseaddr(sender)
    mail = EmailMessage(policy=MAIL_POLICY)
    mail["To"] = addressed(recipient)
    mail["From"] = Address(name, addr_spec=address)
    mail["Subject"] = subject(cut(message.title, SUBJECT_MAX))
    mail["Date"] = datetime.now(UTC)
    domain = address.rpartition("@")[2]
    mail["Message-ID"] = f"<{message.delivery_id}@{domain}>"
    if message.answers is not None:
        mail["In-Reply-To"] = mail["References"] = f"<{message.answers.delivery_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    if unsubscribe:
        mail["List-Unsubscribe"] = _Url(unsubscribe)
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(plain(message, unsubscribe))
    mail.add_alternative(page(message, unsubscribe), subtype="html")
    if message.picture is not None:
        illustrate(mail, message.picture)
    return mail


def addressed(recipient: str) -> Address:
    """The recipient of a mail. Raises Rejected for what is not one plain address at a domain: `[127.0.0.1]` would send
    the server there."""
    try:
        address = Address(addr_spec=recipient)
    except (MessageError, ValueError, IndexError):
        raise Rejected(Undelivered.BAD_ADDRESS, "not an e-mail address") from None
    if not address.username or not address.domain or address.domain.startswith("["):
        raise Rejected(Undelivered.BAD_ADDRESS, "not an e-mail address at a domain")
    return address


def illustrate(mail: EmailMessage, picture: bytes) -> None:
    """Put a PNG beside the HTML part, which shows it by its Content-ID (RFC 2392)."""
    shown = mail.get_body(("html",))
    assert shown is not None
    shown.add_related(picture, "image", "png", cid=f"<{PICTURE_ID}>", disposition="inline", filename="signal.png")


def meaning(error: Exception, *, sending: bool) -> TocsinError:
    """What an error of the library means for the delivery. Before `sending` began nothing can have been delivered."""
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[first, *_]):
            return meaning(first, sending=sending)
        case aiosmtplib.SMTPResponseException(code=code) if code in LOGIN_FAILED:
            return Rejected(Undelivered.UNAUTHORIZED, f"SMTP {code}")
        case aiosmtplib.SMTPResponseException(code=code) if 500 <= code < 600:
            return Rejected(Undelivered.REFUSED, f"SMTP {code}")
        case aiosmtplib.SMTPResponseException(code=code) if 400 <= code < 500:
            return Retryable(Undelivered.SERVER_ERROR, f"SMTP {code}")
        case aiosmtplib.SMTPException() if type(error) is aiosmtplib.SMTPException and not sending:
            return Rejected(Undelivered.TLS_UNAVAILABLE, "the server offers no STARTTLS or no login")
        case aiosmtplib.SMTPTimeoutError() | TimeoutError() if sending:
            return Ambiguous(Undelivered.TIMEOUT, "no answer in time")
        case ssl.SSLError() | aiosmtplib.SMTPException() | OSError() if not sending:
            return Retryable(Undelivered.CONNECTION_FAILED, type(error).__name__)
        case ValueError():
            return Rejected(Undelivered.BAD_ADDRESS, "the mail cannot be written for this address")
        case aiosmtplib.SMTPResponseException():
            return Ambiguous(Undelivered.BAD_REPLY, "not the answer of a mail server")
    return Ambiguous(Undelivered.CONNECTION_LOST, type(error).__name__)

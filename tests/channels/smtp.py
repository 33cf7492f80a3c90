"""An SMTP server: accepts mails for anybody, optionally after STARTTLS and a login."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as mail_policy
from pathlib import Path
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.channels.record import Fault, Recorder

logging.getLogger("mail.log").setLevel(logging.ERROR)

MAIL_BYTES_MAX = 10 * 1024 * 1024
_UNWANTED = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")
"""What servers refuse, or read as they like (RFC 5321, section 2.3.8 and 4.5.3.1.6)."""


class _Closable(SMTP):
    """One connection that can be cut; `gone` is set once it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gone = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(error)

    def cut(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()


@dataclass
class SmtpServer(Recorder):
    """`user` and `password`: a login is required. `tls`: a server context; STARTTLS is then required,
    or TLS from the start if `implicit_tls`. `wire`: every accepted mail, byte for byte."""

    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    port: int = 0
    host: str = "127.0.0.1"
    wire: list[bytes] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _connections: list[_Closable] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """How many connections were ever made."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        implicit = self.tls if self.implicit_tls else None
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, self.host, self.port, ssl=implicit
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_hanging()
        for connection in self._connections:
            connection.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def drop_connections(self) -> None:
        """Cut every connection, as a server does that is tired of waiting, and let the other side notice."""
        for connection in self._connections:
            connection.cut()
        await asyncio.gather(*(connection.gone.wait() for connection in self._connections))
        for _ in range(5):
            await asyncio.sleep(0)  # the other side is on this loop

    def _connection(self) -> SMTP:
        handler = _Handler(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a login without TLS is what some tests are about
            connection = _Closable(
                handler,
                hostname="localhost",
                data_size_limit=MAIL_BYTES_MAX,
                tls_context=None if self.implicit_tls else self.tls,
                require_starttls=self.tls is not None and not self.implicit_tls,
                auth_required=bool(self.user),
                auth_require_tls=False,
                authenticator=self._authenticate,
                enable_SMTPUTF8=True,
                loop=asyncio.get_running_loop(),
            )
        handler.connection = connection
        self._connections.append(connection)
        return connection

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _method: str, data: Any
    ) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else ("", "")
        return AuthResult(success=given == (self.user, self.password), handled=False)


@dataclass
class _Handler:
    """Receives the mails of one connection."""

    server: SmtpServer
    connection: _Closable | None = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        await self.server.asked()
        fault = self.server.next_fault()
        assert isinstance(envelope.content, bytes)
        if _UNWANTED.search(envelope.content):
            return "554 5.6.0 Bare line endings, NUL or a line beyond 998 bytes"
        mail = message_from_bytes(envelope.content, policy=mail_policy)
        assert isinstance(mail, EmailMessage)
        if fault is not None and not fault.after_accept:
            return await self._commit(fault, f"{mail['Subject']}\n{plain(mail)}")
        self.server.wire.append(envelope.content)
        ref = f"q{len(self.server.accepted) + 1}"
        await self.server.accept(
            text=f"{mail['Subject']}\n{plain(mail)}",
            address=", ".join(envelope.rcpt_tos),
            key=str(mail["Message-ID"]),
            ref=ref,
            raw=mail,
            headers={name: str(value) for name, value in mail.items()},
        )
        if fault is not None and self.connection is not None:
            self.connection.cut()
        return f"250 2.0.0 Ok: queued as {ref}"

    async def _commit(self, fault: Fault, text: str) -> str:
        if fault.hang:
            await self.server.until_closing()
        if (fault.hang or fault.reset) and self.connection is not None:
            self.connection.cut()
            return ""
        self.server.refuse(fault.status or (200 if fault.page else 500), text)
        if fault.page:
            return fault.page.decode("ascii", "ignore")
        return {429: "451 4.7.1 Try again later", 401: "535 5.7.8 Authentication credentials invalid"}.get(
            fault.status or 500, "550 5.1.1 No such user" if (fault.status or 500) < 500 else "451 4.3.0 Local error"
        )


def plain(mail: EmailMessage) -> str:
    body = mail.get_body(preferencelist=("plain",))
    return str(body.get_content()) if body is not None else ""


def self_signed(folder: Path, *hosts: str) -> tuple[ssl.SSLContext, Path]:
    """A server context for 127.0.0.1, localhost and `hosts`, and the file of the certificate a client must trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [*map(x509.DNSName, ("localhost", *hosts)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "certificate.pem", folder / "key.pem"
    trusted.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted

"""HTTP requests to addresses that subscribers gave: bounded, never redirected, never into our own network.

The host is resolved once and the connection goes to the very address that was checked, so an answer of the name
server that changes between check and use changes nothing. A name server that hangs holds up nobody else: the threads
that wait for it are not those on which the rest of the process looks names up.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from alerting.channels import Ambiguous
from alerting.reasons import Undelivered
from tocsin_common.errors import Rejected, Retryable

ANSWER_BYTES_MAX = 64 * 1024
RETRY_AFTER_MAX_S = 24 * 3600.0
PUBLIC_PORTS = frozenset({443, 8443})
IDLE_S = 10.0
"""Connections idle for longer are not used again: the other side may just be closing them."""

Entry = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""One of what `socket.getaddrinfo` returns."""

LOOKUPS = 16
"""Names that are looked up at a time. The C library gives a name server that does not answer tens of seconds."""

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, which is the one to judge."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that is given to anybody (RFC 4291, section 2.4). The library takes more for global: `::127.0.0.1`, `fec0::1`."""

SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))
"""What else the library takes for global, and is not (https://www.iana.org/assignments/iana-ipv4-special-registry)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `body` holds at most ANSWER_BYTES_MAX bytes."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Outbound:
    """Asks strangers. `allow_private` lifts the restrictions on scheme, port and address (development only).

    Half of the time is for the way there, from the name on: who is not connected by then has been sent nothing.
    """

    def __init__(self, *, timeout_s: float, allow_private: bool, connections: int) -> None:
        self._allow_private = allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s / 2)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, judge: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Send `body`; returns the answer if it is a success. Raises Rejected, Retryable or Ambiguous otherwise.

        `judge` raises what an answer means that is no success, where the receiver says it otherwise than others do.
        """
        answer = await self._ask("POST", url, body, headers)
        (judge or judged)(answer)
        return answer

    async def get(self, url: str) -> Answer:
        """What there is at a URL; raises the same."""
        answer = await self._ask("GET", url, None, {})
        judged(answer)
        return answer

    async def _ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        target = self._checked(url)
        try:
            request = self._open().request(
                method, target, data=body, headers=headers, allow_redirects=False, timeout=self._timeout
            )
            async with request as response:
                answer = await response.content.read(ANSWER_BYTES_MAX)
                return Answer(response.status, answer, response.headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Retryable(Undelivered.CONNECTION_FAILED, type(error).__name__) from None
        except aiohttp.InvalidURL:
            raise Rejected(Undelivered.BAD_ADDRESS, "not a URL") from None
        except TimeoutError:
            raise Ambiguous(Undelivered.TIMEOUT, f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Ambiguous(Undelivered.CONNECTION_LOST, type(error).__name__) from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """The session, made on first use; it reads no proxy from the environment and keeps no cookies."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=PublicResolver(allow_private=self._allow_private),
                use_dns_cache=False,
                limit=self._connections,
                keepalive_timeout=IDLE_S,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
            )
        return self._session

    def _checked(self, text: str) -> URL:
        """Parse a URL and refuse what needs no name server to be refused."""
        try:
            url = URL(text)
            host, port = url.host, url.port
        except ValueError:
            raise Rejected(Undelivered.BAD_ADDRESS, "not a URL") from None
        if url.scheme not in ("http", "https") or not host:
            raise Rejected(Undelivered.BAD_ADDRESS, "not an http(s) URL")
        if self._allow_private:
            return url
        if url.scheme != "https" or port not in PUBLIC_PORTS:
            raise Rejected(Undelivered.FORBIDDEN_ADDRESS, "only https on port 443 or 8443")
        try:
            literal = ip_address(host)
        except ValueError:
            return url  # a name: judged when it is resolved
        if not is_public(literal):
            raise Rejected(Undelivered.FORBIDDEN_ADDRESS, "not a public address")
        return url


class PublicResolver(AbstractResolver):
    """Resolves a host to its public addresses only, on threads of its own."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises Rejected when the host is no name or has no public address, OSError when it does not resolve."""
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        try:
            entries = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except UnicodeError:
            raise Rejected(Undelivered.BAD_ADDRESS, "not the name of a host") from None
        found = [
            _resolved(host, port, entry) for entry in entries if self._allow_private or is_public(_address_of(entry))
        ]
        if not found:
            raise Rejected(Undelivered.FORBIDDEN_ADDRESS, "the host has no public address")
        return found

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _address_of(entry: Entry) -> IPv4Address | IPv6Address:
    return ip_address(str(entry[4][0]).partition("%")[0])


def _resolved(host: str, port: int, entry: Entry) -> ResolveResult:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    kind, _, protocol, _, address = entry
    return ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=numeric)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is somewhere in the public internet, looking through the forms that embed an IPv4 address."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if embedded:
            return is_public(embedded)
        if address not in GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL)


def judged(answer: Answer) -> None:
    """Return for a success; raise what any other answer means."""
    judge(answer.status, answer.headers)


def judge(status: int, headers: Mapping[str, str]) -> None:
    """Return for a success; raise what any other HTTP status means."""
    if 200 <= status < 300:
        return
    detail = f"HTTP {status}"
    if status == 429:
        raise Retryable(Undelivered.RATE_LIMITED, detail, retry_after_s=retry_after_s(headers))
    if status in (408, 425) or status >= 500:
        raise Retryable(Undelivered.SERVER_ERROR, detail, retry_after_s=retry_after_s(headers))
    if status < 400:
        raise Rejected(Undelivered.REDIRECTED, detail)
    reasons = {401: Undelivered.UNAUTHORIZED, 403: Undelivered.FORBIDDEN, 404: Undelivered.GONE, 410: Undelivered.GONE}
    raise Rejected(reasons.get(status, Undelivered.REFUSED), detail)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header as seconds from now, whether given as seconds or as a date; None: absent or senseless."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_MAX_S)

"""Names that end in `.test` (RFC 6761), as a name server of our own knows them, well or badly.

The server speaks DNS over UDP (RFC 1035). `getaddrinfo` asks it in the place of `socket.getaddrinfo`, with which every
connection of the client libraries begins; a service's event loop has one of its own, which `Loop` replaces.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, Self

import uvloop

system_getaddrinfo = socket.getaddrinfo

SUFFIX = ".test"
PORT_VARIABLE = "TOCSIN_TEST_NAMES"
"""Where a process finds the port of its name server."""

OK, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
"""Response codes."""

NO_ANSWER = -1
"""No answer before the server ends."""

PATIENCE_S = 5.0
"""How long a stub resolver waits: https://man7.org/linux/man-pages/man5/resolv.conf.5.html (timeout)."""

HEADER = struct.Struct("!6H")
QUERY, RESPONSE = 0x0100, 0x8180
"""Flags: recursion is desired; and it is available, in an answer."""

ANSWER = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton("127.0.0.1")
"""An answer: the name asked for is here, and not to be remembered."""

FAILURES = {
    SERVER_FAILURE: (socket.EAI_AGAIN, "Temporary failure in name resolution"),
    NO_SUCH_NAME: (socket.EAI_NONAME, "Name or service not known"),
}
"""What the C library makes of a response code."""


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Every name leads to 127.0.0.1, once its `faults` are used up. `asked`: how often each was asked for."""

    faults: defaultdict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    asked: Counter[str] = field(default_factory=Counter)
    port: int = 0
    _transport: asyncio.DatagramTransport | None = None
    _unanswered: list[tuple[bytes, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        for data, addr in self._unanswered:
            self._answer(data, addr, SERVER_FAILURE)
        self._transport.close()

    async def wait_for(self, name: str, count: int, *, timeout_s: float = 10.0) -> None:
        """Wait until a name was asked for so often. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self.asked[name] < count:
                self._news.clear()
                await self._news.wait()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        name = name_in(data[HEADER.size :])
        self.asked[name] += 1
        self._news.set()
        code = self.faults[name].popleft() if self.faults[name] else OK
        if code == NO_ANSWER:
            self._unanswered.append((data, addr))
        else:
            self._answer(data, addr, code)

    def _answer(self, data: bytes, addr: Any, code: int) -> None:
        assert self._transport is not None
        answers = 1 if code == OK else 0
        header = HEADER.pack(HEADER.unpack_from(data)[0], RESPONSE | code, 1, answers, 0, 0)
        self._transport.sendto(header + data[HEADER.size :] + ANSWER * answers, addr)


class Loop(uvloop.Loop):
    """Asks the name server for our names, and the operating system for all others. A question takes a thread."""

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        return await super().getaddrinfo(await self.run_in_executor(None, found, host), port, **how)

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **how: Any) -> Any:
        address = await self.run_in_executor(None, found, host)
        return await super().create_connection(factory, address, port, **how)


def getaddrinfo(host: Any, *given: Any, **how: Any) -> Any:
    """`socket.getaddrinfo`, which knows our names."""
    return system_getaddrinfo(found(host), *given, **how)


def found(host: Any) -> Any:
    """The address of one of our names, anything else as it is. Raises socket.gaierror as the C library would."""
    name = host.decode() if isinstance(host, bytes) else host
    if not isinstance(name, str) or not name.endswith(SUFFIX):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stub:
        stub.settimeout(PATIENCE_S)
        stub.connect(("127.0.0.1", int(os.environ[PORT_VARIABLE])))
        stub.send(HEADER.pack(1, QUERY, 1, 0, 0, 0) + question_for(name))
        try:
            answer = stub.recv(512)
        except OSError:
            raise socket.gaierror(*FAILURES[SERVER_FAILURE]) from None
    code = HEADER.unpack_from(answer)[1] & 0xF
    if code != OK:
        raise socket.gaierror(*FAILURES[code])
    return socket.inet_ntoa(answer[-4:])


def question_for(name: str) -> bytes:
    """The question for a name's IPv4 address."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return labels + b"\0" + struct.pack("!HH", 1, 1)


def name_in(question: bytes) -> str:
    """The name that a question is about."""
    labels, place = [], 0
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels)

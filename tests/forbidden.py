"""Addresses by which an outsider might reach a network that is not the public internet, and a wall that sees it.

Each is the host of a URL. Some are names of `.test` (RFC 6761); where they lead stands in `NAMES`.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

PUBLIC = "93.184.215.14"
PUBLIC_NAME, REBOUND_NAME, BOTH_NAME = "public.test", "rebound.test", "both.test"

NAMES: Mapping[str, Sequence[Sequence[str]]] = {
    PUBLIC_NAME: [[PUBLIC]],
    REBOUND_NAME: [[PUBLIC], ["127.0.0.1"]],
    BOTH_NAME: [["10.0.0.1", PUBLIC, "::1"]],
    "loopback.test": [["127.0.0.1"]],
    "private.test": [["192.168.0.1", "fd00::1"]],
    "metadata.test": [["169.254.169.254", "fd00:ec2::254"]],
    "mapped.test": [["::ffff:10.0.0.1"]],
    "wrapped.test": [["64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1"]],
    "linked.test": [["fe80::1"]],
    "localhost": [["127.0.0.1", "::1"]],
    "localhost.": [["127.0.0.1", "::1"]],
}
"""What each question for a name is answered with, one after another; the last answer stays."""

HOSTS = (
    *("127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),
    *("0.0.0.0", "0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.0.8", "198.18.0.1"),
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1", "\u0661\u0662\u0667.0.0.1"),
    *("[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]"),
    *("[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[100::1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::]"),
    *("[2001:0:5db8:d70e::80ff:fffe]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]"),
    *("localhost", "LocalHost", "localhost.", "loopback.test", "private.test", "metadata.test", "mapped.test"),
    *("wrapped.test", "linked.test"),
)
"""Hosts that all lead where nobody from outside may get."""

DISGUISED = (
    "https://public.test@127.0.0.1/",
    "https://public.test:443@[::1]:8443/",
    "https://public.test%2F@127.0.0.1/",
    "https://127.0.0.1#@public.test/",
    "https://127.0.0.1?@public.test/",
    "https://127.0.0.1\\@public.test/",
    "https://public.test\\@127.0.0.1/",
    "https://127.0.0.1%00.public.test/",
    "https://127.0.0.1\n.public.test/",
    "https:127.0.0.1/",
    "https:///127.0.0.1/",
    "https://[::ffff:127.0.0.1",
    "//127.0.0.1/",
    "http://public.test/",
    "http://public.test:443/",
    "https://public.test:22/",
    "https://public.test:80/",
    "https://public.test:0/",
    "https://public.test:65536/",
    "ftp://public.test/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_flushall",
    "unix:///var/run/docker.sock",
    "ws://127.0.0.1/",
    "data:text/plain,x",
    "javascript:alert(1)",
)
"""Whole addresses; none of them may be asked."""


@dataclass
class Wall:
    """What this process asked of the network from when it was put up: names, and addresses it would connect to.

    Nothing gets out: every connection but to those in `open_to` is unreachable.
    """

    connections: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    open_to: set[tuple[Any, ...]] = field(default_factory=set)
    _answers: dict[str, deque[Sequence[str]]] = field(
        default_factory=lambda: {name: deque(answers) for name, answers in NAMES.items()}
    )

    def resolve(self, host: Any, port: Any, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0) -> Any:
        """As `socket.getaddrinfo`; numbers are read as the C library reads them, however they are written."""
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        answers = self._answers.get(name.lower())
        if answers is None:
            return _getaddrinfo(host, port, family, kind, proto, flags | socket.AI_NUMERICHOST)
        found = answers.popleft() if len(answers) > 1 else answers[0]
        numeric = [one for one in found if family in (0, socket.AF_INET6 if ":" in one else socket.AF_INET)]
        return [info for one in numeric for info in _getaddrinfo(one, port, 0, socket.SOCK_STREAM, proto)]

    def reach(self, address: tuple[Any, ...]) -> None:
        """Raises OSError."""
        if tuple(address[:2]) not in self.open_to:
            self.connections.append(str(address[0]))
            raise OSError(errno.ENETUNREACH, "the wall")


_getaddrinfo, _connect = socket.getaddrinfo, socket.socket.connect


@contextmanager
def a_wall() -> Iterator[Wall]:
    """Every connection of this process's sockets, and every name it asks for, comes to the wall."""
    wall = Wall()

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            wall.reach(address)
        _connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", wall.resolve)
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect)
        yield wall

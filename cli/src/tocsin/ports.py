"""Ports for the servers and services a `tocsin up` starts."""

import random
import socket
from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
# Systems give outgoing connections a port from 32768 (Linux) or 49152 up: one chosen there can be taken between
# the look and the start of the server that is to listen on it.
CHOICE = range(15_000, 32_000)
TRIES = 100

_given: set[int] = set()
"""Ports that were given out: whoever is to listen on one may not have started yet."""


def free_port(preferred: int = 0, host: str = LOOPBACK) -> int:
    """A TCP port nobody listens on at the moment: `preferred` if it is one, otherwise any of `CHOICE`, each once.

    Raises:
        OSError: no such port was found.
    """
    for port in _candidates(preferred):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError(f"no free port on {host} after {TRIES} tries")


def _candidates(preferred: int) -> Iterator[int]:
    if preferred:
        yield preferred
    chance = random.SystemRandom()
    for _ in range(TRIES):
        port = chance.choice(CHOICE)
        if port not in _given:
            yield port

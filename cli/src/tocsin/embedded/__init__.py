"""Real servers without an installation: NATS and PostgreSQL from wheels, as child processes on loopback."""

from tocsin.embedded.nats import NatsServer
from tocsin.embedded.postgres import PostgresServer

__all__ = ["NatsServer", "PostgresServer"]

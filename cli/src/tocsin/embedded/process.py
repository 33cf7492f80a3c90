"""One server as a child process: alone on its data, ended with its parent, its last words in our errors."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from tocsin.embedded.account import Account
from tocsin.embedded.leash import leashed
from tocsin_common.errors import Unreachable

STOP_S = 8.0
"""How long a server may take to stop by itself before it is killed (its log makes that safe)."""

START_S = 60.0
"""How long a server may take to recover its data; an empty one is ready in a fraction of a second."""

POLL_S = 0.01
LAST_WORDS = 10


class ServerProcess(ABC):
    """Starts, watches and stops one server that keeps everything it owns in `folder`; for `async with`.

    Start it from a thread that lives as long as the server may: the kernel ends it with that thread.
    """

    def __init__(self, name: str, folder: Path, *, stop_signal: signal.Signals) -> None:
        self.name, self.folder = name, folder.absolute()
        self._stop_signal = stop_signal
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid(self) -> int:
        """Process id. Raises Unreachable when the server was not started."""
        if self._process is None:
            raise Unreachable(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @abstractmethod
    async def start(self) -> None:
        """Start and wait until clients can connect. Raises Unreachable with the server's last words."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def claim(self) -> None:
        """Take the folder for ourselves. Raises Unreachable when it is another user's, or another process holds it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("ab")
        except OSError as error:
            raise Unreachable(
                f"{self.name} cannot use {self.folder} ({error.strerror}); it may belong to another user:"
                " remove it, or choose another --data-dir"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise Unreachable(
                f"{self.name}: another process uses {self.folder}; stop it, or choose another --data-dir"
            ) from error
        self._lock = lock

    async def end_stale(self, pid_file: Path) -> None:
        """End the server that a killed parent left behind on this folder, if it still runs."""
        stale = self._found(pid_file)
        if stale is not None:
            await asyncio.to_thread(_end, stale, self._stop_signal)

    def _found(self, pid_file: Path) -> psutil.Process | None:
        """The process a pid file names, if it still is a server on our folder."""
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            ours = any(str(self.folder) in argument for argument in process.cmdline())
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return process if ours else None

    def spawn(self, *command: str | Path, account: Account | None = None, niceness: int = 0) -> None:
        """Start the server in a session of its own, so that Ctrl-C reaches our services first."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(command, self._stop_signal, account=account, niceness=niceness),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    async def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait for the server. Raises Unreachable with its last words when it ends or takes too long."""
        deadline = time.monotonic() + START_S
        while not await asyncio.to_thread(ready):
            if not self.running or time.monotonic() > deadline:
                problem = f"not ready after {START_S:g} s" if self.running else "ended while starting"
                await self.stop()
                raise Unreachable(f"{self.name} {problem}; {self.log} ends with:\n{self._last_words()}")
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Stop the server and let go of its folder. Harmless when it does not run."""
        if self._process is not None:
            await asyncio.to_thread(_end, self._process, self._stop_signal)
        self._release()

    async def kill(self) -> None:
        """End the server without a chance to tidy up, as a crash does."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._release()

    def _release(self) -> None:
        self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LAST_WORDS:])


def _end(process: subprocess.Popen[bytes] | psutil.Process, stop_signal: signal.Signals) -> None:
    """Ask a process to stop, kill it when it does not, and wait until it is gone."""
    try:
        process.send_signal(stop_signal)
        process.wait(STOP_S)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        process.kill()
        process.wait()
    except psutil.NoSuchProcess:
        return

"""The data directory: where things are in it, who holds it, and what runs on it.

One command at a time may run servers on a data directory. It holds an exclusive lock on `lock` (the kernel lets go
of it however the holder dies) and describes what it runs in `run.json`, so that other commands can join in.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tocsin.console import UsageError
from tocsin.processes import ProcessRef, end_all, this_process
from tocsin_common.errors import TocsinError

PRIVATE_FILE, PRIVATE_DIRECTORY = 0o600, 0o711
"""Server URLs carry credentials. The directory stays enterable: PostgreSQL refuses root and runs as another user."""


class Running(msgspec.Struct, kw_only=True):
    """What a command runs on the data directory. Health URLs and processes are by name."""

    command: str
    holder: ProcessRef
    started_ms: int
    nats_url: str = ""
    postgres_url: str = ""
    api_url: str = ""
    health: dict[str, str] = {}
    processes: dict[str, ProcessRef] = {}


class HeldByAnother(UsageError):
    """Somebody else runs on this data directory."""


@dataclass(frozen=True)
class DataDir:
    """Paths inside one data directory."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def running(self) -> Running | None:
        """What runs here now, or None. A description whose holder died does not count."""
        described = self._read()
        return described if described is not None and described.holder.alive() else None

    def describe(self, running: Running) -> None:
        """Write `run.json` as a whole or not at all."""
        draft = self.path / "run.json.new"
        draft.touch(PRIVATE_FILE)
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(running)))
        draft.replace(self.path / "run.json")

    @contextmanager
    def hold(self, command: str) -> Iterator[Running]:
        """Hold the directory, and describe it; ends what a holder that was killed left behind. Raises HeldByAnother."""
        self._create()
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise HeldByAnother(self._held_by()) from None
            if left := self._read():
                end_all(left.processes.values())
            running = Running(command=command, holder=this_process(), started_ms=time.time_ns() // 1_000_000)
            self.describe(running)
            try:
                yield running
            finally:
                (self.path / "run.json").unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _create(self) -> None:
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.path.chmod(PRIVATE_DIRECTORY)
        except OSError as error:
            raise TocsinError(
                f"The data directory {self.path} cannot be used ({error.strerror}); give another with --data-dir."
            ) from error

    def _read(self) -> Running | None:
        try:
            return msgspec.json.decode((self.path / "run.json").read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None

    def _held_by(self) -> str:
        held = self._read()
        if held is None:
            return f"{self.path} is being used by another tocsin command; wait for it, or give another --data-dir."
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held.started_ms / 1000))
        api = f", its API is at {held.api_url}" if held.api_url else ""
        return (
            f"{self.path} is held by `tocsin {held.command}` (process {held.holder.pid}, since {since}{api}); "
            "stop it first, or give another --data-dir."
        )

"""Keeps the services running: starts them, restarts what dies with backoff, stops all within a bound."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from tocsin.embedded.leash import leashed
from tocsin.processes import ProcessRef, reference
from tocsin.services import Launch
from tocsin_common.bus.consume import pause
from tocsin_common.errors import TocsinError

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.5, 15.0
STABLE_S = 30.0
"""A service that ran this long has recovered: its next restart waits the first backoff again."""

STOP_S = 8.2
"""How long services may drain: just above their own bound (8 s), so that the whole stop stays below 10 s."""

EXIT_CONFIG = 2
"""A service that calls its configuration wrong will not be talked out of it by restarting."""

MAX_LOG_BYTES = 20_000_000
LAST_WORDS_CHARS = 400

ChildState = Literal["starting", "running", "restarting", "failed", "stopped"]


@dataclass
class Child:
    """One supervised service. `restarts` counts since the start, `in_a_row` since it last was stable."""

    launch: Launch
    log: Path
    state: ChildState = "starting"
    process: asyncio.subprocess.Process | None = None
    since_s: float = field(default_factory=time.monotonic)
    restarts: int = 0
    in_a_row: int = 0
    last_exit: str = ""

    @property
    def name(self) -> str:
        return self.launch.service.name

    @property
    def pid(self) -> int | None:
        alive = self.process is not None and self.process.returncode is None
        return self.process.pid if self.process and alive else None

    def last_words(self) -> str:
        """The end of its log, for an error that says why it fails."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return _in_words(lines[-1])[:LAST_WORDS_CHARS] if lines else ""
        return ""


class Supervisor:
    """Runs the launches as child processes until `stop`. `on_change` is called after every start and exit."""

    def __init__(self, launches: Sequence[Launch], logs: Path, on_change: Callable[[], None] = lambda: None) -> None:
        self.children = [Child(launch, logs / f"{launch.service.name}.log") for launch in launches]
        self.on_change = on_change
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every service and keep it running from now on."""
        for child in self.children:
            await self._spawn(child)
            self._tasks.append(asyncio.create_task(self._keep(child), name=child.name))

    async def stop(self, bound_s: float = STOP_S) -> None:
        """Ask all to stop, the end of the flow first; kill what still runs after the bound."""
        self._stopping.set()
        for child in reversed(self.children):
            _send(child, signal.SIGTERM)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=bound_s)
        for child in self.children:
            _send(child, signal.SIGKILL)
        await asyncio.gather(*self._tasks)
        for child in self.children:
            child.state = "stopped"
        self.on_change()

    def processes(self) -> dict[str, ProcessRef]:
        """References to the processes that run now, by service name."""
        found = {child.name: reference(child.pid) for child in self.children if child.pid}
        return {name: ref for name, ref in found.items() if ref}

    def raise_if_hopeless(self, exits_in_a_row: int | None = None) -> None:
        """Raises TocsinError for a service that refuses its configuration, or exited that often without recovering."""
        for child in self.children:
            dying = exits_in_a_row is not None and child.in_a_row >= exits_in_a_row
            if child.state == "failed" or dying:
                raise TocsinError(f"{child.name} does not run ({child.last_exit}): {child.last_words()} [{child.log}]")

    async def _spawn(self, child: Child) -> None:
        with _open_log(child.log) as log:
            child.process = await asyncio.create_subprocess_exec(
                # It ends with us, however we end.
                *leashed(child.launch.service.command, signal.SIGTERM, niceness=child.launch.service.niceness),
                env=dict(child.launch.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is ours to pass on, in order
            )
        child.state, child.since_s = "running", time.monotonic()
        if self._stopping.is_set():
            _send(child, signal.SIGTERM)
        self.on_change()

    async def _keep(self, child: Child) -> None:
        while child.process:
            code = await child.process.wait()
            if self._stopping.is_set():
                return
            self._note_exit(child, code)
            if child.state == "failed":
                return
            if await pause(self._stopping, min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (child.in_a_row - 1))):
                return
            child.restarts += 1
            await self._spawn(child)

    def _note_exit(self, child: Child, code: int) -> None:
        stable = time.monotonic() - child.since_s > STABLE_S
        child.in_a_row = 1 if stable else child.in_a_row + 1
        child.since_s = time.monotonic()
        child.last_exit = describe_exit(code)
        child.state = "failed" if code == EXIT_CONFIG else "restarting"
        self.on_change()


def describe_exit(code: int) -> str:
    """An exit code as a person says it: `exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def _in_words(line: str) -> str:
    """A structured log line as a person says it: its event, and the error or the last line of the traceback."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return line
    traceback = str(fields.get("exception", "")).strip().splitlines() or [""]
    return ": ".join(part for part in (fields.get("event", ""), fields.get("error", ""), traceback[-1]) if part)


def _send(child: Child, number: signal.Signals) -> None:
    if child.pid:
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)


def _open_log(path: Path) -> IO[bytes]:
    """Append to the log; start a new one, keeping the last, when it has grown large."""
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")

"""Processes named so that a reused process id is never mistaken for the one we started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

import msgspec
import psutil

CLOCK_TOLERANCE_S = 2.0
"""Start times are read from a tick counter; two readings of the same process may differ by a little."""

INTERRUPT_S, KILL_S = 5.0, 2.0


class ProcessRef(msgspec.Struct, frozen=True):
    """A process id together with when that process started (Unix seconds)."""

    pid: int
    started_s: float

    def alive(self) -> bool:
        return self.find() is not None

    def find(self) -> psutil.Process | None:
        """The process, unless it is gone, a zombie, or its id now belongs to another."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_s) < CLOCK_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


def reference(pid: int) -> ProcessRef | None:
    """A reference to a running process, or None when there is no such process."""
    try:
        return ProcessRef(pid, psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def this_process() -> ProcessRef:
    return ProcessRef(os.getpid(), psutil.Process().create_time())


def end_all(references: Iterable[ProcessRef]) -> None:
    """Interrupt what still runs, then kill what did not listen.

    SIGINT is what they all understand as *stop now, in order*; SIGTERM makes PostgreSQL wait for its clients.
    """
    found = [process for ref in references if (process := ref.find())]
    _send(found, signal.SIGINT)
    _, deaf = psutil.wait_procs(found, INTERRUPT_S)
    _send(deaf, signal.SIGKILL)
    psutil.wait_procs(deaf, KILL_S)


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)

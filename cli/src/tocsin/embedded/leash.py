"""What a child of ours does before it becomes its program: step back, become its account, and die with its parent.

It does so in an interpreter of its own and not between fork and exec: what runs there in a process with other threads
may wait for ever for a lock that one of them held (`subprocess.Popen` on `preexec_fn`). So this file imports nothing of
ours, and is run by its path.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin.embedded.account import Account

NOT_FOUND = 127
"""The exit code of a program that cannot be run, as in a shell."""

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def leashed(
    command: Sequence[str | Path], end_signal: signal.Signals, *, account: Account | None = None, niceness: int = 0
) -> list[str]:
    """The command that runs `command` as `account`, and ends it by `end_signal` when the thread that started it ends.

    `niceness` is how far it steps back when there are not enough processors for all.
    """
    becomes = [account.uid, account.gid, int(account.enter_all)] if account and os.geteuid() == 0 else ["", "", ""]
    words = [sys.executable, "-I", "-S", __file__, os.getpid(), int(end_signal), niceness, *becomes, *command]
    return [str(word) for word in words]


def main(parent: str, end_signal: str, niceness: str, uid: str, gid: str, enter_all: str, *command: str) -> None:
    """Become the command. Ends with 1 when the parent is gone already."""
    if int(niceness):
        _step_back(int(niceness))
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid:
        _become(libc, int(uid), int(gid), enter_all=bool(int(enter_all)))
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, int(end_signal), 0, 0, 0)  # after the change of account, which undoes it
        if os.getppid() != int(parent):
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}\n")
        sys.exit(NOT_FOUND)


def _step_back(niceness: int) -> None:
    """Linux weighs whole sessions against each other (sched(7), autogroups), and each child is one."""
    os.nice(niceness)
    with contextlib.suppress(OSError):  # a kernel without autogroups has no such file
        Path("/proc/self/autogroup").write_text(str(niceness))


def _become(libc: ctypes.CDLL | None, uid: int, gid: int, *, enter_all: bool) -> None:
    if libc and enter_all:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc and enter_all:
        mask = 1 << _CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        effective_permitted_inheritable = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
        libc.capset(header, effective_permitted_inheritable)
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])

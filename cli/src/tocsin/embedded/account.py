"""Whom a server runs as: PostgreSQL refuses root, so root lends it to an ordinary account."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group. `enter_all`: keeps root's right to enter folders (and nothing else of root).

    That right is needed when a folder on the way, such as /root, is closed to others: nothing of the machine's
    permissions is changed for us.
    """

    uid: int
    gid: int
    enter_all: bool = False

    def own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


def unprivileged(owner_of: Path, reaches: Iterable[Path]) -> Account:
    """The account for a server that refuses root: ourselves, or for root the owner of a folder, or `nobody`.

    `reaches` are the files and folders the server must be able to open.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    owner = owner_of.stat()
    if owner.st_uid:
        uid, gid = owner.st_uid, owner.st_gid
    else:
        nobody = pwd.getpwnam("nobody")
        uid, gid = nobody.pw_uid, nobody.pw_gid
    closed = any(not folder.stat().st_mode & 0o001 for path in reaches for folder in (path, *path.parents))
    return Account(uid, gid, enter_all=closed)


def before_exec(account: Account | None, end_signal: signal.Signals, *, niceness: int = 0) -> Callable[[], None]:
    """What a child does between fork and exec: become `account`, and ask to be ended when its parent dies.

    `niceness` is how far it steps back when there are not enough processors for all.
    """
    parent = os.getpid()

    def prepare() -> None:
        if niceness:
            _step_back(niceness)
        if account and os.geteuid() == 0:
            _become(account)
        if sys.platform == "linux":
            _libc.prctl(_PR_SET_PDEATHSIG, end_signal, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _step_back(niceness: int) -> None:
    """Linux weighs whole sessions against each other (sched(7), autogroups), and each child is one."""
    os.nice(niceness)
    with contextlib.suppress(OSError):  # a kernel without autogroups has no such file
        Path("/proc/self/autogroup").write_text(str(niceness))


def _become(account: Account) -> None:
    if account.enter_all and sys.platform == "linux":
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if account.enter_all and sys.platform == "linux":
        mask = 1 << _CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        effective_permitted_inheritable = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
        _libc.capset(header, effective_permitted_inheritable)
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)

"""Whom a server runs as: PostgreSQL refuses root, so root lends it to an ordinary account."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


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

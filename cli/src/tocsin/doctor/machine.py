"""Checks of the machine: free disk space, and our clock against the servers'."""

from __future__ import annotations

import shutil
from pathlib import Path

from tocsin.doctor.finding import Finding

GIB = 1024**3
FREE_BYTES_MIN = 2 * GIB
"""JetStream freezes a stream when a write fails for lack of space; a day of ten busy markets is about 1 GiB."""

SKEW_MS_MAX = 1_000
"""Deadlines of deliveries and the freshness of feeds are judged by this clock."""


def check_disk(data_dir: Path) -> Finding:
    """Is there room where the embedded servers write?"""
    place = next(folder for folder in (data_dir.absolute(), *data_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    seen = f"{free / GIB:,.1f} GiB free at {place}"
    if free >= FREE_BYTES_MIN:
        return Finding("disk", seen)
    remedy = f"free at least {FREE_BYTES_MIN / GIB:g} GiB there, or move the data with --data-dir"
    return Finding("disk", problem=f"only {seen}", remedy=remedy)


def check_clock(server: str, ours_before_ms: float, theirs_ms: float, ours_after_ms: float) -> Finding:
    """Is a server's time, read between two readings of ours, our time?"""
    skew_ms = theirs_ms - (ours_before_ms + ours_after_ms) / 2
    uncertain_ms = (ours_after_ms - ours_before_ms) / 2
    seen = f"{server} is {abs(skew_ms):,.0f} ms {'ahead of' if skew_ms > 0 else 'behind'} this clock"
    if abs(skew_ms) - uncertain_ms <= SKEW_MS_MAX:
        return Finding("clock", seen)
    return Finding("clock", problem=seen, remedy="let NTP (chrony, systemd-timesyncd) set the clocks of both machines")

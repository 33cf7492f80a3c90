"""Who should hold which partition. Pure, and the same for everybody who knows the same.

What a live member holds it keeps, up to its fair share; what is free goes to whoever has least. Partitions therefore
move only when somebody comes or goes, and only as many as evenness needs. Members may see things at different times:
a lease has one holder whatever they think, and every even distribution is stable, so they come to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tocsin_common.ids import derive
from tocsin_common.subjects import PARTITIONS

ALL = frozenset(range(PARTITIONS))


@dataclass(frozen=True, slots=True)
class Step:
    """What one member does next; `acquire` are free ones."""

    acquire: tuple[int, ...] = ()
    release: tuple[int, ...] = ()


def share(members: Mapping[str, frozenset[int]], holders: Mapping[int, str]) -> dict[int, str]:
    """The member that should hold each partition. `members`: what each may hold; `holders`: who holds what now.

    With equal rights nobody holds two more than another. A partition that no member may hold is in no share.
    """
    shares = {p: name for p, name in sorted(holders.items()) if p in members.get(name, ())}
    loads = Counter(dict.fromkeys(members, 0))
    loads.update(shares.values())
    for partition in sorted(frozenset().union(*members.values()) - shares.keys()):
        able = (name for name, allowed in members.items() if partition in allowed)
        shares[partition] = min(able, key=lambda name: (loads[name], _liking(name, partition)))
        loads[shares[partition]] += 1
    while (move := _move(members, shares, loads)) is not None:
        partition, taker = move
        loads[shares[partition]] -= 1
        loads[taker] += 1
        shares[partition] = taker
    return shares


def next_step(name: str, members: Mapping[str, frozenset[int]], holders: Mapping[int, str]) -> Step:
    """What the member `name` does about its share. `holders` also names those who hold and are no members (any more):
    their partitions are not free yet."""
    shares = share(members, holders)
    return Step(
        acquire=tuple(p for p, whose in sorted(shares.items()) if whose == name and p not in holders),
        release=tuple(p for p, whose in sorted(holders.items()) if whose == name and shares.get(p) != name),
    )


def parse_ranges(text: str) -> frozenset[int]:
    """Partitions from text like `0-31`, `0-15,48-63` or `all`. Raises ValueError."""
    if text == "all":
        return ALL
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{part.strip()!r} is not a range of partitions such as 0-31")
        span = range(int(first), int(last or first) + 1)
        if not span or span[-1] >= PARTITIONS:
            raise ValueError(f"{part.strip()!r} is not within the partitions 0-{PARTITIONS - 1}")
        found.update(span)
    return frozenset(found)


def format_ranges(partitions: Iterable[int]) -> str:
    """The text `parse_ranges` reads, shortest form; empty for none."""
    runs: list[list[int]] = []
    for partition in sorted(partitions):
        if runs and runs[-1][1] == partition - 1:
            runs[-1][1] = partition
        else:
            runs.append([partition, partition])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@lru_cache(maxsize=64 * PARTITIONS)
def _liking(name: str, partition: int) -> str:
    """Decides between equals, so that all who must choose choose the same."""
    return derive(name, partition)


def _move(
    members: Mapping[str, frozenset[int]], shares: Mapping[int, str], loads: Mapping[str, int]
) -> tuple[int, str] | None:
    """One partition that should change hands, and to whom: from the one who has most to the one who has least."""
    ordered = sorted(members, key=lambda name: (loads[name], name))
    for giver in reversed(ordered):
        for taker in ordered:
            if loads[giver] - loads[taker] < 2:
                break
            able = [p for p, whose in shares.items() if whose == giver and p in members[taker]]
            if able:
                return min(able, key=lambda partition: _liking(taker, partition)), taker
    return None

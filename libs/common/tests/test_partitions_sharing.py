"""Who should hold which partition: always somebody, evenly, and nothing moves without need."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_common.partitions.sharing import ALL, format_ranges, next_step, parse_ranges, share

NAMES = st.text("abcdefgh", min_size=1, max_size=3)
EQUALS = st.dictionaries(NAMES, st.just(ALL), min_size=1, max_size=7)
ANY_RIGHTS = st.dictionaries(NAMES, st.frozensets(st.integers(0, 63)), min_size=1, max_size=5)
HOLDERS = st.dictionaries(st.integers(0, 63), NAMES)


@given(EQUALS, HOLDERS)
def test_equals_hold_everything_evenly(members: dict[str, frozenset[int]], holders: dict[int, str]) -> None:
    shares = share(members, holders)
    assert shares.keys() == ALL
    loads = [Counter(shares.values())[name] for name in members]
    assert max(loads) - min(loads) <= 1


@given(ANY_RIGHTS, HOLDERS)
def test_everybody_holds_only_what_it_may_and_nothing_is_left_that_somebody_may_hold(
    members: dict[str, frozenset[int]], holders: dict[int, str]
) -> None:
    shares = share(members, holders)
    assert shares.keys() == frozenset().union(*members.values())
    assert all(partition in members[name] for partition, name in shares.items())


@given(ANY_RIGHTS, HOLDERS)
def test_a_share_is_stable(members: dict[str, frozenset[int]], holders: dict[int, str]) -> None:
    shares = share(members, holders)
    assert share(members, shares) == shares


@given(EQUALS, HOLDERS)
def test_nobody_gives_and_gets_at_the_same_time(members: dict[str, frozenset[int]], holders: dict[int, str]) -> None:
    shares = share(members, holders)
    for name in members:
        gives = {p for p, whose in holders.items() if whose == name and shares[p] != name}
        gets = {p for p, whose in shares.items() if whose == name and holders.get(p) != name}
        assert not (gives and gets)


def test_one_more_takes_only_its_own_share() -> None:
    before = share({"a": ALL, "b": ALL, "c": ALL}, {})
    after = share({"a": ALL, "b": ALL, "c": ALL, "d": ALL}, before)
    assert sum(before[p] != after[p] for p in ALL) == 16
    assert {after[p] for p in ALL if before[p] != after[p]} == {"d"}


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_members_that_come_go_and_look_late_come_to_rest_with_every_partition_held_once(seed: int) -> None:
    chance = random.Random(seed)
    cluster = Cluster(chance)
    for _ in range(chance.randrange(1, 6)):
        cluster.change()
        for _ in range(chance.randrange(0, 12)):
            cluster.step()
    moves = cluster.moves
    for _ in range(15 * len(cluster.members)):
        cluster.step()
    assert cluster.moves - moves <= 2 * 64, f"seed {seed}: partitions go to and fro"
    moves = cluster.moves
    assert cluster.holders.keys() == ALL, f"seed {seed}"
    assert set(cluster.holders.values()) <= cluster.members.keys()
    for _ in range(20):
        cluster.step()
    assert cluster.moves == moves, f"seed {seed}: no rest"


class Cluster:
    """Members that act on what they saw a few steps ago; a lease has one holder all the same."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.members: dict[str, frozenset[int]] = {"first": ALL}
        self.holders: dict[int, str] = {}
        self.seen = [(dict(self.members), dict(self.holders))]
        self.moves = 0

    def change(self) -> None:
        if len(self.members) > 1 and self.chance.random() < 0.5:
            dead = self.chance.choice(sorted(self.members))
            del self.members[dead]
            self.holders = {p: name for p, name in self.holders.items() if name != dead}
        else:
            self.members[f"m{len(self.seen)}"] = ALL

    def step(self) -> None:
        self.seen.append((dict(self.members), dict(self.holders)))
        name = self.chance.choice(sorted(self.members))
        members, holders = self.chance.choice(self.seen[-4:])
        step = next_step(name, {**members, name: ALL}, holders)
        for partition in step.release:
            if self.holders.get(partition) == name:
                del self.holders[partition]
                self.moves += 1
        for partition in step.acquire:
            self.holders.setdefault(partition, name)


def test_a_partition_somebody_unknown_still_holds_is_not_free() -> None:
    step = next_step("a", {"a": ALL}, {0: "gone"})
    assert step.acquire == tuple(range(1, 64))
    assert step.release == ()


def test_what_one_may_not_hold_any_more_is_released() -> None:
    assert next_step("a", {"a": frozenset({1})}, {0: "a", 1: "a"}).release == (0,)


@pytest.mark.parametrize(
    ("text", "partitions"),
    [("all", ALL), ("0-31", range(32)), ("7", [7]), ("0-1, 5,62-63", [0, 1, 5, 62, 63])],
)
def test_ranges_are_read(text: str, partitions: list[int]) -> None:
    assert parse_ranges(text) == frozenset(partitions)


@pytest.mark.parametrize("text", ["", "x", "3-1", "0-64", "64", "-1", "1-", "1-2-3", "1.5"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="partitions"):
        parse_ranges(text)


@given(st.frozensets(st.integers(0, 63), min_size=1))
def test_ranges_written_are_read_back(partitions: frozenset[int]) -> None:
    assert parse_ranges(format_ranges(partitions)) == partitions

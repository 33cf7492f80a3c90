"""The simulation against a slow row-by-row reading of its rules, and against itself under any slicing."""

from __future__ import annotations

import random
from typing import Any

import pytest

SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_gives_what_a_slow_row_by_row_reading_of_the_rules_gives(kit: Any, seed: int) -> None:
    scene = kit.scene(seed)
    assert [kit.plain(event) for event in scene.play()] == scene.slow()


@pytest.mark.parametrize("seed", SEEDS)
def test_gives_the_same_events_however_time_is_cut_into_slices(kit: Any, seed: int) -> None:
    scene = kit.scene(seed)
    whole = scene.play()
    rng = random.Random(seed)
    for count in (1, 10, 400):
        marks = sorted(rng.randrange(kit.start_ms - 1000, scene.end_ms) for _ in range(count))
        assert scene.play(marks) == whole

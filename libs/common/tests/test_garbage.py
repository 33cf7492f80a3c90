"""What stays does not burden the garbage collection."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from tocsin_common import garbage
from tocsin_common.garbage import collect_rarely

PATIENCE_S = 60.0


async def test_what_is_there_is_set_aside_from_garbage_collection_until_the_service_stops() -> None:
    async def set_aside() -> None:
        while not gc.get_freeze_count():  # noqa: ASYNC110 - the interpreter tells nobody
            await asyncio.sleep(0)

    stop = asyncio.Event()
    collecting = asyncio.create_task(collect_rarely(stop))
    await asyncio.wait_for(set_aside(), PATIENCE_S)
    stop.set()
    await collecting
    assert not gc.get_freeze_count()


class Ring:
    """Garbage that only a full pass finds."""

    def __init__(self) -> None:
        self.itself = self


async def test_now_and_then_a_full_pass_finds_what_became_garbage_after_it_was_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "RARELY_S", 0.01)
    ring = Ring()
    gone = asyncio.Event()
    watching = weakref.ref(ring, lambda _: gone.set())
    gc.disable()  # only what is under test collects
    try:
        gc.freeze()
        del ring
        gc.collect()
        assert watching() is not None
        stop = asyncio.Event()
        collecting = asyncio.create_task(collect_rarely(stop, first_s=0.01))
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        stop.set()
        await collecting
    finally:
        gc.enable()

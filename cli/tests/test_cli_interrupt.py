"""An interrupted command closes what it opened, once, and in peace."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tocsin.interrupt import until_interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_what_was_opened_is_closed_however_often_the_signal_comes(number: signal.Signals) -> None:
    steps: list[str] = []

    async def work() -> str:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
            return "never"
        finally:
            steps.append("closing")
            os.kill(os.getpid(), number)
            await asyncio.to_thread(steps.append, "closed")

    assert await until_interrupted(work()) is None
    assert steps == ["closing", "closed"]


async def test_work_that_ends_by_itself_gives_its_result() -> None:
    assert await until_interrupted(asyncio.sleep(0, "done")) == "done"


async def test_a_cancellation_of_another_kind_is_not_swallowed() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await until_interrupted(work())

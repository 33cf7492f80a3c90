"""The supervisor with real child processes: restarts what dies, and stops everything within its bound."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tocsin.embedded.leash import NOT_FOUND, leashed
from tocsin.processes import end_all, reference
from tocsin.services import SERVICES, Launch, Service
from tocsin.supervisor import Child, Supervisor, describe_exit
from tocsin_common.errors import TocsinError

PATIENCE_S = 10.0

LISTENS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(READY, "w").close()
while True: signal.pause()
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(READY, "w").close()
while True: signal.pause()
"""
WRONG_CONFIG = "import sys; print('alerting.email.port: 0 is wrong', flush=True); sys.exit(2)"
DIES = """import sys; print('{"event": "service failed", "error": "no luck"}', flush=True); sys.exit(1)"""


class Changes:
    """Wakes whoever waits when the supervisor says that something changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self._changed.wait()
                self._changed.clear()


@asynccontextmanager
async def supervised(folder: Path, *programs: str) -> AsyncIterator[tuple[Supervisor, Changes]]:
    """A supervisor over modules with the given source code."""
    launches = []
    for number, source in enumerate(programs):
        os.mkfifo(folder / f"service-{number}.ready")
        ready = repr(str(folder / f"service-{number}.ready"))
        (folder / f"service_{number}.py").write_text(source.replace("READY", ready))
        launches.append(Launch(Service(f"service-{number}", f"service_{number}"), {"PYTHONPATH": str(folder)}, ""))
    changes = Changes()
    supervisor = Supervisor(launches, folder, changes)
    await supervisor.start()
    try:
        yield supervisor, changes
    finally:
        await supervisor.stop(bound_s=0.2)


async def until_ready(child: Child) -> None:
    """Wait until the program has set its signal handlers: then it opens its pipe, writes and closes it."""
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.to_thread(child.log.with_suffix(".ready").read_text)


async def test_a_killed_service_is_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path, LISTENS) as (supervisor, changes):
        child = supervisor.children[0]
        await until_ready(child)
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await changes.until(lambda: child.restarts == 1 and child.state == "running")
        assert child.pid not in (None, first)
        assert child.last_exit == "killed by SIGKILL"


async def test_a_deaf_service_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    async with supervised(tmp_path, LISTENS, DEAF) as (supervisor, _):
        for child in supervisor.children:
            await until_ready(child)
        pids = [child.pid for child in supervisor.children]
        started = time.monotonic()
        await supervisor.stop(bound_s=0.5)
        assert time.monotonic() - started < 2
        assert [reference(pid) for pid in pids if pid] == [None, None]
        assert {child.state for child in supervisor.children} == {"stopped"}


async def test_a_stop_during_the_backoff_does_not_start_the_service_again(tmp_path: Path) -> None:
    async with supervised(tmp_path, DIES) as (supervisor, changes):
        child = supervisor.children[0]
        await changes.until(lambda: child.state == "restarting")
        await supervisor.stop()
        assert child.state == "stopped"
        assert child.pid is None


async def test_a_service_that_refuses_its_configuration_is_not_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path, WRONG_CONFIG) as (supervisor, changes):
        child = supervisor.children[0]
        await changes.until(lambda: child.state == "failed")
        with pytest.raises(
            TocsinError, match=r"service-0 does not run \(exit code 2\): alerting.email.port: 0 is wrong"
        ):
            supervisor.raise_if_hopeless()


async def test_a_service_that_keeps_dying_is_reported_with_its_last_words(tmp_path: Path) -> None:
    async with supervised(tmp_path, DIES) as (supervisor, changes):
        child = supervisor.children[0]
        await changes.until(lambda: child.in_a_row >= 2)
        supervisor.raise_if_hopeless()  # `up` goes on restarting it
        with pytest.raises(TocsinError, match="service failed: no luck"):
            supervisor.raise_if_hopeless(exits_in_a_row=2)


async def test_what_a_killed_supervisor_left_is_found_and_ended(tmp_path: Path) -> None:
    async with supervised(tmp_path, LISTENS) as (supervisor, _):
        await until_ready(supervisor.children[0])
        left = supervisor.processes()["service-0"]
        assert left.alive()
        await asyncio.to_thread(end_all, [left])
        assert not left.alive()


def test_a_reused_process_id_is_not_the_process_we_started() -> None:
    ours = reference(os.getpid())
    assert ours is not None
    assert ours.alive()
    assert not type(ours)(ours.pid, ours.started_s - 100).alive()


@pytest.mark.parametrize(
    ("code", "words"), [(1, "exit code 1"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_exit_codes_are_told_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


async def test_what_is_only_written_down_steps_back() -> None:
    command = (sys.executable, "-c", "import os; print(os.nice(0))")
    seen = []
    for niceness in (0, 10):
        stepping_back = leashed(command, signal.SIGTERM, niceness=niceness)
        child = await asyncio.create_subprocess_exec(*stepping_back, stdout=asyncio.subprocess.PIPE)
        output, _ = await child.communicate()
        seen.append(int(output))
    assert seen[1] == min(seen[0] + 10, 19)
    assert {service.name for service in SERVICES if service.niceness} == {"paper-trader", "api-gateway"}


async def test_a_program_that_is_not_there_is_named() -> None:
    nowhere = leashed(["/nowhere/program"], signal.SIGTERM)
    child = await asyncio.create_subprocess_exec(*nowhere, stderr=asyncio.subprocess.PIPE)
    _, words = await child.communicate()
    assert (child.returncode, words) == (NOT_FOUND, b"/nowhere/program cannot be run: No such file or directory\n")

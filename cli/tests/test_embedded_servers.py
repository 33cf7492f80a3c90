"""The embedded servers: real, alone on their data, and gone when their parent is."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from tocsin.embedded import NatsServer, PostgresServer
from tocsin.embedded.account import Account
from tocsin.embedded.leash import leashed
from tocsin_common.errors import Unreachable

Server = NatsServer | PostgresServer
both = pytest.mark.parametrize("kind", [NatsServer, PostgresServer], ids=["nats", "postgres"])
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

PARENT = """
import asyncio, sys
from pathlib import Path
from tocsin import embedded

async def main():
    server = getattr(embedded, sys.argv[1])(Path(sys.argv[2]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def parent_of(
    kind: type[Server], data_dir: Path, account: Account | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, psutil.Process]]:
    """Another process that started a server: (parent, server)."""
    parent = await asyncio.create_subprocess_exec(
        *leashed([sys.executable, "-c", PARENT, kind.__name__, data_dir], signal.SIGKILL, account=account),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert parent.stdout
        async with asyncio.timeout(20):
            yield parent, psutil.Process(int(await parent.stdout.readline()))
    finally:
        with suppress(ProcessLookupError):
            parent.kill()
        await parent.wait()


async def works(server: Server) -> bool:
    """Whether a client can use the server."""
    if isinstance(server, NatsServer):
        client = await nats.connect(server.url)
        await client.jetstream().account_info()
        await client.close()
    else:
        connection = await asyncpg.connect(server.url)
        assert str(await connection.fetchval("select version()")).startswith("PostgreSQL 18")
        await connection.close()
    return True


def pid_file_below(data_dir: Path) -> Path:
    return next(data_dir.rglob("*.pid"))


@both
async def test_starts_serves_stops_and_starts_again_at_the_same_place(kind: type[Server], tmp_path: Path) -> None:
    server = kind(tmp_path)
    async with server:
        url = server.url
        assert await works(server)
    with pytest.raises(Unreachable, match="not running"):
        _ = server.pid
    async with server:
        assert server.url == url
        assert await works(server)


async def test_what_nats_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(name="S", subjects=["s"])
        await stream.publish("s", b"kept")
        await client.close()
        await server.kill()
        await server.start()
        client = await nats.connect(server.url)
        assert (await client.jetstream().get_last_msg("S", "s")).data == b"kept"
        await client.close()


async def test_what_postgres_committed_survives_a_kill(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path) as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("create table kept as select 42 as answer")
        await server.kill()
        await server.start()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("select answer from kept") == 42
        await connection.close()


@both
async def test_a_second_server_on_the_same_data_is_refused(kind: type[Server], tmp_path: Path) -> None:
    async with kind(tmp_path) as server:
        with pytest.raises(Unreachable, match="another process uses"):
            await kind(tmp_path).start()
        assert await works(server)


@both
async def test_a_server_dies_with_its_parent(kind: type[Server], tmp_path: Path) -> None:
    async with parent_of(kind, tmp_path) as (parent, server):
        parent.kill()
        await asyncio.to_thread(server.wait, 10)


@both
async def test_a_start_right_after_the_parent_was_killed_takes_over_its_data(
    kind: type[Server], tmp_path: Path
) -> None:
    async with parent_of(kind, tmp_path) as (parent, old):
        parent.kill()
        await parent.wait()
        async with kind(tmp_path) as server:
            assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
            assert server.pid != old.pid
            assert await works(server)


@both
async def test_a_server_that_survived_its_parent_is_ended_first(kind: type[Server], tmp_path: Path) -> None:
    """As on a system where the kernel does not end it: a server whose lock is free."""
    survivor = kind(tmp_path)
    await survivor.start()
    old = psutil.Process(survivor.pid)
    survivor._lock.close()  # type: ignore[union-attr]  # as the kernel does for a parent that died
    async with kind(tmp_path) as server:
        assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE
        assert await works(server)
    await survivor.stop()


@both
async def test_a_foreign_process_with_the_number_in_the_pid_file_is_left_alone(
    kind: type[Server], tmp_path: Path
) -> None:
    server = kind(tmp_path)
    async with server:
        pid_file = pid_file_below(tmp_path)
    pid_file.write_text(f"{os.getpid()}\n")
    with suppress(Unreachable):
        await server.start()
    await server.stop()
    assert psutil.Process().is_running()


@both
async def test_a_server_that_cannot_start_says_its_last_words(kind: type[Server], tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "other") as other:
        taken = int(other.url.rpartition(":")[2])
        with pytest.raises(Unreachable, match=r"(?is)ended while starting.*address already in use"):
            await kind(tmp_path, port=taken).start()
    async with kind(tmp_path) as server:
        assert await works(server)


async def test_postgres_asks_for_the_password_only_its_owner_can_read(tmp_path: Path) -> None:
    async with PostgresServer(tmp_path) as server:
        port = int(server.url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://postgres:guess@127.0.0.1:{port}/postgres")
        assert stat.S_IMODE((tmp_path / "postgres" / "password").stat().st_mode) == 0o600


async def test_an_interrupted_first_start_leaves_nothing_half_made(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with PostgresServer(tmp_path) as server:
        assert await works(server)
    assert not unfinished.exists()


@as_root
async def test_started_by_root_postgres_is_nobody_even_where_the_way_is_closed_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with PostgresServer(closed / "data") as server:
        assert await works(server)
        assert psutil.Process(server.pid).uids().effective == pwd.getpwnam("nobody").pw_uid
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
@both
async def test_an_ordinary_user_can_start_it(kind: type[Server], tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid, enter_all=True)
    data_dir = tmp_path / "own"
    data_dir.mkdir()
    account.own(data_dir)
    async with parent_of(kind, data_dir, account) as (_, server):
        assert server.uids().effective == nobody.pw_uid


@as_root
async def test_data_of_another_user_is_not_touched(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    (tmp_path / "nats").mkdir(mode=0o700)
    os.seteuid(nobody.pw_uid)
    try:
        with pytest.raises(Unreachable, match="another user"):
            await NatsServer(tmp_path).start()
    finally:
        os.seteuid(0)

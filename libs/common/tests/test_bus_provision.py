"""Streams, buckets and durables on the server: made as declared, changed with the declaration, never by chance."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from tocsin.embedded import nats as embedded
from tocsin_common.bus import jetstream, provision
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.config import NatsSection
from tocsin_common.errors import Unreachable
from tocsin_common.streams import BUCKETS, CLOCK, DURABLES, PAPER_TRADER, SIGNALS, STREAMS, Durable


async def test_everything_declared_is_made_once_and_then_left_alone(jetstream_bus: JetStreamBus) -> None:
    connection, everything = jetstream_bus.connection, provision.declared()
    await provision.wipe(connection, everything)
    assert not any(thing.exists for thing in await provision.show(connection, everything))
    made = await provision.apply(connection, everything)
    assert Counter((done.kind, done.action) for done in made) == {
        ("stream", "created"): len(STREAMS),
        ("bucket", "created"): len(BUCKETS),
        ("durable", "created"): len(DURABLES),
    }
    assert {done.action for done in await provision.apply(connection, everything)} == {"unchanged"}
    assert all(thing.exists and not thing.differs for thing in await provision.show(connection, everything))


async def test_a_changed_declaration_is_seen_and_applied_without_losing_data(jetstream_bus: JetStreamBus) -> None:
    connection = jetstream_bus.connection
    await jetstream_bus.bucket(BUCKETS[0]).put("a", b"1")
    changed = provision.declared(
        streams=[replace(CLOCK, max_per_subject=7)],
        buckets=[replace(BUCKETS[0], history=3)],
        durables=[replace(PAPER_TRADER, ack_wait_s=9)],
    )
    assert [(thing.name, thing.differs) for thing in await provision.show(connection, changed)] == [
        ("CLOCK", ("max_msgs_per_subject",)),
        (BUCKETS[0].name, ("max_msgs_per_subject",)),
        ("paper-trader", ("ack_wait",)),
    ]
    done = await provision.apply(connection, changed)
    assert [(thing.action, thing.changed) for thing in done] == [
        ("changed", ("max_msgs_per_subject",)),
        ("changed", ("max_msgs_per_subject",)),
        ("changed", ("ack_wait",)),
    ]
    assert {thing.action for thing in await provision.apply(connection, changed)} == {"unchanged"}
    assert (await jetstream_bus.bucket(BUCKETS[0]).all())["a"].value == b"1"


async def test_what_a_server_cannot_change_is_named(jetstream_bus: JetStreamBus) -> None:
    with pytest.raises(Unreachable, match="refuses the declared stream SIGNALS"):
        await provision.apply(
            jetstream_bus.connection,
            provision.declared(streams=[replace(SIGNALS, work_queue=True)], buckets=(), durables=()),
        )


async def test_a_durable_that_is_not_declared_on_the_server_says_what_to_do(jetstream_bus: JetStreamBus) -> None:
    with pytest.raises(Unreachable, match=r"durable nobody on CLOCK does not exist.*tocsin streams apply"):
        await jetstream_bus.consumer(Durable("nobody", CLOCK)).fetch(1, 1)


async def test_a_service_waits_for_its_streams(
    jetstream_bus: JetStreamBus, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = provision.declared()
    await provision.wipe(jetstream_bus.connection, everything)
    assert "tocsin streams apply" in (await jetstream_bus.problem() or "")
    monkeypatch.setattr(jetstream, "STREAMS_LOOK_S", 0.01)
    connecting = asyncio.create_task(JetStreamBus.connect(NatsSection(url=nats_url), name="late"))
    await provision.apply(jetstream_bus.connection, everything)
    bus = await connecting
    assert await bus.problem() is None
    await bus.close()


async def test_without_streams_a_service_gives_up_after_a_while_and_says_what_to_do(
    jetstream_bus: JetStreamBus, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provision.wipe(jetstream_bus.connection, provision.declared())
    monkeypatch.setattr(jetstream, "STREAMS_WAIT_S", 0.0)
    with pytest.raises(Unreachable, match=r"has no TRADES, CANDLES.*run `tocsin streams apply`"):
        await JetStreamBus.connect(NatsSection(url=nats_url), name="early")


async def test_a_server_that_is_away_is_named_without_its_password(unused_port: int) -> None:
    section = NatsSection(url=f"nats://me:hunter2@127.0.0.1:{unused_port}")
    with pytest.raises(Unreachable) as caught:
        await Connection.open(section, name="test", within_s=0.3)
    text = str(caught.value)
    assert f"nats://127.0.0.1:{unused_port} cannot be reached" in text
    assert "last error: " in text
    assert "hunter2" not in text


async def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "CONFIG", embedded.CONFIG + "authorization {{ user: me, password: right }}\n")
    async with embedded.NatsServer(tmp_path) as server:
        right = NatsSection(url=server.url, user="me", password=SecretStr("right"))
        wrong = NatsSection(url=server.url, user="me", password=SecretStr("hunter2"))
        await (await Connection.open(right, name="test")).close()
        with pytest.raises(Unreachable, match=r"(?i)authorization violation") as caught:
            await Connection.open(wrong, name="test", within_s=1)
    assert "hunter2" not in str(caught.value)

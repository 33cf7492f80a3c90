"""Making the server match `tocsin_common.streams`, and showing how it does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tocsin_common.bus.answers import Refused
from tocsin_common.bus.buckets import stream_name
from tocsin_common.bus.connection import Connection
from tocsin_common.errors import Unreachable
from tocsin_common.streams import BUCKETS, DUPLICATE_WINDOW_S, DURABLES, STREAMS, Bucket, Durable, Stream

NANOSECONDS = 1_000_000_000
BUCKET_DUPLICATE_WINDOW_S = 120
"""Writes to a bucket carry an id of their own call, so only their own retries need to be recognised."""

NO_STREAM, NO_DURABLE = 10059, 10014
NAMES_PAGE = 1024

Kind = Literal["stream", "bucket", "durable"]
Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Declared:
    """One thing the server should have, as the server's API calls it."""

    kind: Kind
    name: str
    path: str
    config: Config


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did to one thing; `changed` lists the keys of its configuration that were different."""

    kind: Kind
    name: str
    action: Literal["created", "changed", "unchanged"]
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """One declared thing on the server; `pending` and `ack_pending` are a durable's, the rest a stream's."""

    kind: Kind
    name: str
    exists: bool
    differs: tuple[str, ...] = ()
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    pending: int = 0
    ack_pending: int = 0


def declared(
    replicas: int = 1,
    *,
    streams: Sequence[Stream] = STREAMS,
    buckets: Sequence[Bucket] = BUCKETS,
    durables: Sequence[Durable] = DURABLES,
) -> list[Declared]:
    """Everything that is declared, streams before the durables on them."""
    return [
        *(Declared("stream", stream.name, stream.name, stream_config(stream, replicas)) for stream in streams),
        *(Declared("bucket", b.name, stream_name(b), bucket_config(b, replicas)) for b in buckets),
        *(Declared("durable", d.name, f"{d.stream.name}.{d.name}", durable_config(d)) for d in durables),
    ]


async def apply(connection: Connection, things: Sequence[Declared]) -> list[Applied]:
    """Create what is missing and change what differs. May be repeated.

    Raises Unreachable, naming the thing, when the server refuses a change (storage and retention are for ever).
    """
    holders = [thing for thing in things if thing.kind != "durable"]
    durables = [thing for thing in things if thing.kind == "durable"]
    done = list(await asyncio.gather(*(_apply(connection, thing) for thing in holders)))
    return done + list(await asyncio.gather(*(_apply(connection, thing) for thing in durables)))


async def show(connection: Connection, things: Sequence[Declared]) -> list[Shown]:
    """How each declared thing stands on the server."""
    return list(await asyncio.gather(*(_show(connection, thing) for thing in things)))


async def wipe(connection: Connection, things: Sequence[Declared]) -> None:
    """Delete declared streams and buckets with everything in them (and their durables with them)."""

    async def delete(thing: Declared) -> None:
        try:
            await connection.api(f"STREAM.DELETE.{thing.path}")
        except Refused as error:
            if error.code != NO_STREAM:
                raise Unreachable(f"{thing.kind} {thing.name} cannot be deleted: {error}") from error

    await asyncio.gather(*(delete(thing) for thing in things if thing.kind != "durable"))


async def missing_streams(connection: Connection) -> list[str]:
    """The declared streams and buckets the server does not have."""
    there: set[str] = set()
    while True:
        page = await connection.api("STREAM.NAMES", {"offset": len(there)})
        there.update(page.get("streams") or ())
        if len(there) >= page["total"] or not page.get("streams"):
            break
    wanted = [*(stream.name for stream in STREAMS), *(stream_name(bucket) for bucket in BUCKETS)]
    return [name for name in wanted if name not in there]


def stream_config(stream: Stream, replicas: int) -> Config:
    config: Config = {
        "name": stream.name,
        "subjects": list(stream.subjects),
        "storage": "file",
        "retention": "workqueue" if stream.work_queue else "limits",
        "discard": "old",
        "max_age": stream.max_age_s * NANOSECONDS,
        "max_bytes": stream.max_bytes,
        "max_msgs_per_subject": stream.max_per_subject,
        "max_msg_size": stream.max_message_bytes,
        "duplicate_window": DUPLICATE_WINDOW_S * NANOSECONDS,
        "allow_direct": True,
        "num_replicas": replicas,
    }
    if stream.durability == "sync":
        config["allow_atomic"] = True
    elif replicas == 1:  # the server refuses it on replicated streams: there every write is synced
        config["persist_mode"] = "async"
    if stream.transform:
        source, destination = stream.transform
        config["subject_transform"] = {"src": source, "dest": destination}
    return config


def bucket_config(bucket: Bucket, replicas: int) -> Config:
    config: Config = {
        "name": stream_name(bucket),
        "subjects": [f"$KV.{bucket.name}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": bucket.history,
        "duplicate_window": BUCKET_DUPLICATE_WINDOW_S * NANOSECONDS,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "num_replicas": replicas,
    }
    if bucket.durability == "async" and replicas == 1:
        config["persist_mode"] = "async"
    if bucket.expires:
        config["allow_msg_ttl"] = True
    return config


def durable_config(durable: Durable) -> Config:
    return {
        "durable_name": durable.name,
        "name": durable.name,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": durable.ack_wait_s * NANOSECONDS,
        "max_ack_pending": durable.max_ack_pending,
        "max_deliver": -1,
        "filter_subject": durable.filter,
    }


async def _apply(connection: Connection, thing: Declared) -> Applied:
    info = await _info(connection, thing)
    try:
        if info is None:
            await _write(connection, thing, thing.config, new=True)
            return Applied(thing.kind, thing.name, "created")
        differs = _differences(thing.config, info["config"])
        if not differs:
            return Applied(thing.kind, thing.name, "unchanged")
        await _write(connection, thing, {**info["config"], **thing.config}, new=False)
    except Refused as error:
        raise Unreachable(f"the server refuses the declared {thing.kind} {thing.name}: {error}") from error
    return Applied(thing.kind, thing.name, "changed", differs)


async def _write(connection: Connection, thing: Declared, config: Config, *, new: bool) -> None:
    if thing.kind == "durable":
        stream = thing.path.split(".")[0]
        body = {"stream_name": stream, "config": config, "action": "create" if new else "update"}
        await connection.api(f"CONSUMER.CREATE.{thing.path}", body)
    else:
        await connection.api(f"STREAM.{'CREATE' if new else 'UPDATE'}.{thing.path}", config)


async def _show(connection: Connection, thing: Declared) -> Shown:
    info = await _info(connection, thing)
    if info is None:
        return Shown(thing.kind, thing.name, exists=False)
    differs = _differences(thing.config, info["config"])
    if thing.kind == "durable":
        pending, ack_pending = info["num_pending"], info["num_ack_pending"]
        return Shown(thing.kind, thing.name, True, differs, pending=pending, ack_pending=ack_pending)
    state = info["state"]
    numbers = (state["messages"], state["bytes"], state["first_seq"], state["last_seq"])
    return Shown(thing.kind, thing.name, True, differs, *numbers)


async def _info(connection: Connection, thing: Declared) -> dict[str, Any] | None:
    family = "CONSUMER" if thing.kind == "durable" else "STREAM"
    try:
        return await connection.api(f"{family}.INFO.{thing.path}")
    except Refused as error:
        if error.code in (NO_STREAM, NO_DURABLE):
            return None
        raise Unreachable(f"{thing.kind} {thing.name}: {error}") from error


def _differences(wanted: Config, found: Config) -> tuple[str, ...]:
    return tuple(key for key, value in wanted.items() if (found.get(key) or None) != (value or None))

"""Key-value buckets. Every bus passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from tocsin_common.bus.protocol import Bus, Entry
from tocsin_common.errors import Conflict
from tocsin_common.streams import ALERT_RULES, SNAPSHOTS, SUBSCRIBERS


async def test_a_value_put_is_found_with_its_revision(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    first = await bucket.put("a", b"1")
    second = await bucket.put("a", b"2")
    assert second > first
    assert await bucket.get("a") == Entry("a", b"2", second)
    assert await bucket.get("b") is None


async def test_the_same_value_can_be_put_again(bus: Bus) -> None:
    bucket = bus.bucket(SNAPSHOTS)
    revisions = [await bucket.put("a", value) for value in (b"1", b"2", b"1", b"1")]
    assert revisions == sorted(set(revisions))
    assert await bucket.get("a") == Entry("a", b"1", revisions[-1])


async def test_create_refuses_a_key_that_exists(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    await bucket.create("a", b"1")
    with pytest.raises(Conflict):
        await bucket.create("a", b"2")
    assert (await bucket.all())["a"].value == b"1"


async def test_a_deleted_key_is_gone_and_can_be_created_again(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    await bucket.put("a", b"1")
    await bucket.delete("a")
    assert await bucket.get("a") is None
    assert await bucket.all() == {}
    revision = await bucket.create("a", b"")
    assert await bucket.get("a") == Entry("a", b"", revision)


async def test_update_needs_the_last_revision(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    first = await bucket.put("a", b"1")
    await bucket.put("other", b"x")
    second = await bucket.update("a", b"2", first)
    with pytest.raises(Conflict):
        await bucket.update("a", b"3", first)
    assert await bucket.get("a") == Entry("a", b"2", second)


async def test_all_gives_every_key_once_with_its_newest_value(bus: Bus) -> None:
    bucket = bus.bucket(SUBSCRIBERS)
    for n in range(20):
        await bucket.put(f"k{n % 5}", str(n).encode())
    await bucket.delete("k0")
    assert {key: entry.value for key, entry in (await bucket.all()).items()} == {
        f"k{n}": str(n + 15).encode() for n in range(1, 5)
    }
    assert await bus.bucket(ALERT_RULES).all() == {}


async def test_the_history_of_a_bucket_has_every_writing_with_its_note(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    assert await bucket.history(after=0) == []
    first = await bucket.create("a", b"1", note='{"by": "ann \\u00e9"}')
    second = await bucket.update("a", b"2", first, note="n")
    third = await bucket.put("b", b"3")
    fourth = await bucket.delete("a", revision=second, note="gone")
    written = [
        Entry("a", b"1", first, '{"by": "ann \\u00e9"}'),
        Entry("a", b"2", second, "n"),
        Entry("b", b"3", third),
        Entry("a", None, fourth, "gone"),
    ]
    found = await bucket.history(after=0)
    assert found == written
    assert all(entry.stored_ms > 1_600_000_000_000 for entry in found)
    assert await bucket.history(after=second) == written[2:]
    for n in range(9):
        await bucket.put("b", str(n).encode())
    kept = [entry.value for entry in await bucket.history(after=0) if entry.key == "b"]
    assert kept == [str(n).encode() for n in range(1, 9)]  # its last eight


async def test_a_watch_gives_what_is_there_and_then_every_change(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    await bucket.put("gone", b"1")
    await bucket.delete("gone")
    await bucket.put("a", b"1")
    await bucket.put("b", b"1")
    await bucket.put("a", b"2")
    async with aclosing(watch_of(bucket.watch())) as watch:
        assert [(entry.key, entry.value) for entry in await take(watch, 2)] == [("b", b"1"), ("a", b"2")]
        await bucket.put("c", b"1")
        await bucket.delete("a")
        await bucket.put("a", b"3")
        assert [(entry.key, entry.value) for entry in await take(watch, 3)] == [
            ("c", b"1"),
            ("a", None),
            ("a", b"3"),
        ]


async def test_a_watch_of_an_empty_bucket_sees_the_first_write(bus: Bus) -> None:
    bucket = bus.bucket(ALERT_RULES)
    async with aclosing(watch_of(bucket.watch())) as watch:
        first = asyncio.ensure_future(take(watch, 1))
        await bucket.put("a", b"1")
        assert [entry.key for entry in await first] == ["a"]


async def watch_of(watch: AsyncIterator[Entry]) -> AsyncIterator[Entry]:
    async for entry in watch:
        yield entry


async def take(watch: AsyncIterator[Entry], count: int) -> list[Entry]:
    async with asyncio.timeout(5):
        return [await anext(watch) for _ in range(count)]

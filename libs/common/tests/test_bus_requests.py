"""Questions and answers over the bus. Every bus passes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tocsin.embedded import NatsServer
from tocsin_common.bus import serving
from tocsin_common.bus.connection import Connection
from tocsin_common.bus.jetstream import JetStreamBus
from tocsin_common.bus.protocol import Bus
from tocsin_common.config import NatsSection
from tocsin_common.errors import Malformed, Rejected, Retryable, TocsinError, Unreachable
from tocsin_common.requests import ENDPOINTS, Endpoint
from tocsin_common.streams import stream_of


class Sum(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    numbers: list[int]


class Total(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    text: str = ""


SUMS = Endpoint("test.sums", "calculator", Sum, Total)


async def add(question: Sum) -> Total:
    return Total(total=sum(question.numbers))


async def test_a_question_gets_its_answer(bus: Bus) -> None:
    async with bus.serve(SUMS, add):
        assert await bus.request(SUMS, Sum(numbers=[1, 2])) == Total(total=3)


async def test_many_questions_at_once_get_their_own_answers(bus: Bus) -> None:
    async with bus.serve(SUMS, add):
        totals = await asyncio.gather(*(bus.request(SUMS, Sum(numbers=[n])) for n in range(50)))
    assert [found.total for found in totals] == list(range(50))


async def test_where_nobody_answers_the_asker_hears_so(bus: Bus) -> None:
    with pytest.raises(Unreachable, match=r"nobody answers test.sums; check that calculator runs"):
        await bus.request(SUMS, Sum(numbers=[1]))
    async with bus.serve(SUMS, add):
        await bus.request(SUMS, Sum(numbers=[1]))
    with pytest.raises(Unreachable, match="nobody answers"):
        await bus.request(SUMS, Sum(numbers=[1]))


async def test_a_question_goes_to_one_replica_only(bus: Bus) -> None:
    asked: list[str] = []

    def replica(name: str) -> Callable[[Sum], asyncio.Future[Total]]:
        async def handle(question: Sum) -> Total:
            asked.append(name)
            return await add(question)

        return handle  # type: ignore[return-value]  # a coroutine function

    async with bus.serve(SUMS, replica("a")), bus.serve(SUMS, replica("b")):
        for n in range(40):
            await bus.request(SUMS, Sum(numbers=[n]))
    assert len(asked) == 40
    assert set(asked) == {"a", "b"}


@pytest.mark.parametrize(
    ("raised", "heard", "says"),
    [
        (Rejected("unknown_market", "no DOGE/EUR"), Rejected, "unknown_market: no DOGE/EUR"),
        (Malformed("numbers are letters"), Malformed, "numbers are letters"),
        (Unreachable("the exchange is away"), Retryable, "unreachable: the exchange is away"),
        (RuntimeError("hush, a secret"), Rejected, "internal: a mistake in calculator"),
    ],
)
async def test_what_went_wrong_travels_with_its_code(
    bus: Bus, raised: Exception, heard: type[TocsinError], says: str
) -> None:
    async def fail(_: Sum) -> Total:
        raise raised

    async with bus.serve(SUMS, fail):
        with pytest.raises(heard) as error:
            await bus.request(SUMS, Sum(numbers=[]))
    assert says in str(error.value)
    assert "hush" not in str(error.value)


async def test_when_to_ask_again_travels_too(bus: Bus) -> None:
    async def later(_: Sum) -> Total:
        raise Retryable("rate_limited", "too many", retry_after_s=7.0)

    async with bus.serve(SUMS, later):
        with pytest.raises(Retryable, match="rate_limited: too many") as error:
            await bus.request(SUMS, Sum(numbers=[]))
    assert error.value.retry_after_s == 7.0


async def test_a_question_of_another_shape_is_told_what_is_wrong(bus: Bus) -> None:
    class Wrong(msgspec.Struct):
        numbers: list[str]

    async with bus.serve(SUMS, add):
        with pytest.raises(Malformed, match=r"not a valid Sum: Expected `int`, got `str` - at `\$.numbers\[0\]`"):
            await bus.request(Endpoint(SUMS.subject, SUMS.group, Wrong, Total), Wrong(numbers=["one"]))


async def test_questions_and_replies_have_a_size(bus: Bus) -> None:
    async def much(_: Sum) -> Total:
        return Total(total=0, text="x" * (serving.MAX_REPLY_BYTES + 1))

    async with bus.serve(SUMS, much):
        with pytest.raises(Rejected, match="too_large: a reply of"):
            await bus.request(SUMS, Sum(numbers=[]))
        with pytest.raises(Rejected, match=r"too_large: .* to ask test\.sums"):
            await bus.request(SUMS, Sum(numbers=[1] * serving.MAX_REQUEST_BYTES))


async def test_only_so_many_are_answered_at_once_and_so_many_wait(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "WAITING_MAX", 5)
    running, most, release = 0, 0, asyncio.Event()

    async def slow(question: Sum) -> Total:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return await add(question)

    async with bus.serve(SUMS, slow, at_once=2):
        asked = [asyncio.create_task(bus.request(SUMS, Sum(numbers=[n]))) for n in range(8)]
        done, waiting = await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            more, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        for refused in done:
            with pytest.raises(Retryable, match="busy"):
                await refused
        release.set()
        assert len(await asyncio.gather(*waiting)) == 5
    assert most == 2


async def test_an_asker_does_not_wait_for_ever(bus: Bus) -> None:
    release = asyncio.Event()

    async def slow(question: Sum) -> Total:
        await release.wait()
        return await add(question)

    async with bus.serve(SUMS, slow):
        with pytest.raises(Unreachable, match=r"no answer on test\.sums within 0\.05 s"):
            await bus.request(SUMS, Sum(numbers=[]), timeout_s=0.05)
        release.set()


async def test_the_answerer_tells_the_asker_when_it_takes_too_long(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "ANSWER_S", 0.02)

    async def never(_: Sum) -> Total:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async with bus.serve(SUMS, never):
        with pytest.raises(Retryable, match="too_slow"):
            await bus.request(SUMS, Sum(numbers=[]))


async def test_any_nats_client_can_ask_and_tell_a_problem_from_a_reply(jetstream_bus: JetStreamBus) -> None:
    async with jetstream_bus.serve(SUMS, add):
        reply = await jetstream_bus.connection.request("test.sums", b'{"numbers": [2, 2]}')
        problem = await jetstream_bus.connection.request("test.sums", b"2 + 2")
    assert json.loads(reply.data) == {"total": 4, "text": ""}
    assert not reply.headers
    assert problem.headers == {"Nats-Service-Error-Code": "malformed"}
    assert set(json.loads(problem.data)) == {"code", "message"}


async def test_after_a_restart_of_the_server_questions_are_answered_again(tmp_path: Path, given: Any) -> None:
    server = NatsServer(tmp_path)
    await server.start()
    connection = await Connection.open(NatsSection(url=server.url), name="test")
    bus = JetStreamBus(connection)
    try:
        async with bus.serve(SUMS, add):
            await server.stop()
            await server.start()
            await given.eventually(lambda: answered(bus), wait_s=15)
    finally:
        await bus.close()
        await server.stop()


async def answered(bus: Bus) -> bool:
    try:
        return await bus.request(SUMS, Sum(numbers=[4])) == Total(total=4)
    except Unreachable:
        return False


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.subject)
def test_no_stream_stores_questions(endpoint: Endpoint[msgspec.Struct, msgspec.Struct]) -> None:
    with pytest.raises(LookupError):
        stream_of(endpoint.subject)

"""A link in a mail ends the mails to that address, and whoever has another link, or none, ends nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.managed import usual_quotas

from alerting.directory import Directory
from alerting.links import SEAL_BYTES, Links, Token, read, written
from alerting.management.core import Management
from alerting.metrics import Metrics
from alerting.verification.leaving import Leaving
from alerting.verification.metrics import AddressMetrics
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, Subscriber, encode
from tocsin_common.errors import Rejected
from tocsin_common.events import DestinationChanged, DocumentChanged
from tocsin_common.streams import MANAGEMENT, SUBSCRIBERS
from tocsin_common.subjects import encode_token

LINKS = Links("https://alerts.example.org", "k" * 32)
MAIL = Destination(channel="email", address="ann@example.org")
OTHER = Destination(channel="email", address="ann@example.net")
PHONE = Destination(channel="telegram", address="4242")


class Desk:
    """Leaving, and the subscribers it is about."""

    def __init__(self, bus: MemoryBus, links: Links | None = LINKS) -> None:
        self.bus = bus
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        self.directory = Directory(bus, metrics)
        management = Management(bus, self.directory, metrics, usual_quotas(self.directory), clock_ms=lambda: 77)
        self.leaving = Leaving(management, links, AddressMetrics(registry))

    async def subscribe(self, name: str, *destinations: Destination) -> None:
        document = Subscriber(subscriber_id=name, name=name, destinations=list(destinations))
        await self.bus.bucket(SUBSCRIBERS).put(encode_token(name), encode(document))
        await self.directory.load()

    def enabled(self, name: str = "ann") -> list[bool]:
        return [one.enabled for one in self.directory.subscribers[name].destinations]

    async def refused(self, token: str) -> bool:
        for act in (self.leaving.look, self.leaving.leave):
            with pytest.raises(Rejected) as caught:
                await act(token)
            assert caught.value.reason == "unknown_link"
        return True


@pytest.fixture
async def desk(memory_bus: MemoryBus) -> Desk:
    desk = Desk(memory_bus)
    await desk.subscribe("ann", PHONE, OTHER, MAIL)
    return desk


def token_of(subscriber_id: str, destination: Destination, links: Links = LINKS) -> str:
    return links.unsubscribe(subscriber_id, destination).rpartition("/")[2]


async def test_a_link_ends_what_goes_to_its_address_and_nothing_else(desk: Desk) -> None:
    await desk.leaving.look(token_of("ann", MAIL))
    assert desk.enabled() == [True, True, True]
    await desk.leaving.leave(token_of("ann", MAIL))
    assert desk.enabled() == [True, True, False]


async def test_it_is_stated_once_without_the_address_however_often_it_is_pressed(desk: Desk) -> None:
    for _ in range(3):
        await desk.leaving.leave(token_of("ann", MAIL))
    messages = await desk.bus.page(MANAGEMENT, ">")
    change, left = (message.event() for message in messages)
    assert isinstance(change, DocumentChanged)
    assert (change.id, change.via, change.at_ms) == ("ann", "unsubscribed email 1", 77)
    assert isinstance(left, DestinationChanged)
    assert (left.channel, left.place, left.state, left.via) == ("email", 1, "unsubscribed", "link")
    assert "example.org" not in "".join(str(message.data) for message in messages)


async def test_an_address_that_stands_twice_leaves_twice(desk: Desk) -> None:
    await desk.subscribe("ann", MAIL, PHONE, MAIL)
    await desk.leaving.leave(token_of("ann", MAIL))
    assert desk.enabled() == [False, True, False]


async def test_who_came_back_may_leave_again_by_the_same_link(desk: Desk) -> None:
    await desk.leaving.leave(token_of("ann", MAIL))
    await desk.subscribe("ann", MAIL)
    await desk.leaving.leave(token_of("ann", MAIL))
    assert desk.enabled() == [False]


async def test_a_link_to_a_former_address_ends_nothing(desk: Desk) -> None:
    assert await desk.refused(token_of("ann", replace(MAIL, address="former@example.org")))


async def test_a_link_made_with_another_key_or_for_somebody_else_ends_nothing(desk: Desk) -> None:
    await desk.subscribe("bob", MAIL)
    assert await desk.refused(token_of("ann", MAIL, Links("https://alerts.example.org", "x" * 32)))
    anns = read(token_of("ann", MAIL))
    assert anns is not None
    assert await desk.refused(written(anns._replace(subscriber_id="bob")))
    assert desk.enabled("bob") == [True]


async def test_nobody_learns_who_is_subscribed(desk: Desk) -> None:
    assert await desk.refused(token_of("nobody", MAIL))
    assert await desk.refused(written(Token("\x00\n*.>", b"\x00" * SEAL_BYTES)))


async def test_an_altered_link_ends_nothing(desk: Desk) -> None:
    token = token_of("ann", MAIL)
    for at in range(len(token)):
        assert await desk.refused(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :])


async def test_without_a_key_no_link_is_ours(memory_bus: MemoryBus) -> None:
    desk = Desk(memory_bus, None)
    await desk.subscribe("ann", MAIL)
    assert await desk.refused(token_of("ann", MAIL))


def test_a_link_is_the_same_in_every_mail() -> None:
    assert token_of("ann", MAIL) == token_of("ann", replace(MAIL, secret="s", verified=False))


@given(st.text(min_size=1, max_size=60), st.binary(min_size=SEAL_BYTES, max_size=SEAL_BYTES))
def test_a_token_is_read_as_it_was_written(name: str, seal: bytes) -> None:
    token = Token(name, seal)
    assert read(written(token)) == token


@given(st.text(max_size=200))
def test_whatever_else_is_given_is_none_or_one_writing_of_a_token(text: str) -> None:
    token = read(text)
    assert token is None or written(token) == text


@pytest.mark.parametrize("huge", ["A" * 401, "A" * 1_000_000, "\N{BELL}" * 100])
def test_what_is_too_long_or_not_ascii_is_none(huge: str) -> None:
    assert read(huge) is None

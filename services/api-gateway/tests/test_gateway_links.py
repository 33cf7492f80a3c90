"""What a link in a mail does, from the mail that arrives to the document: a GET shows it, a POST does it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from tests.channels import SmtpServer
from tests.managed import usual_quotas

from alerting.channels import Message
from alerting.channels.challenge import Challenge
from alerting.channels.email import Email, Server
from alerting.channels.http import Outbound
from alerting.config import AlertingSection
from alerting.directory import Directory
from alerting.links import Links
from alerting.management.core import Management
from alerting.metrics import Metrics
from alerting.sending.gates import Gates
from alerting.verification.core import Verification
from alerting.verification.leaving import Leaving
from alerting.verification.metrics import AddressMetrics
from alerting.verification.opened import Opened
from alerting.verification.serving import serve
from api_gateway.http.allowance import Allowance
from api_gateway.http.links import answer
from api_gateway.keys import new_key
from tocsin_common.bus.memory import MemoryBus
from tocsin_common.documents import Destination, Subscriber, encode
from tocsin_common.requests.management import Actor
from tocsin_common.requests.verification import VERIFY, VerifyRequest
from tocsin_common.streams import API_KEYS, SUBSCRIBERS

PUBLIC = "https://alerts.example.org"
LINKS = Links(PUBLIC, "k" * 32)
ANN = Actor(role="subscriber", subscriber_id="ann", via="test")


class Post:
    """A gateway that is asked by mail readers, and the subscriber `ann` with one address behind it."""

    def __init__(self, gateway: Any, smtp: SmtpServer, directory: Directory, email: Email) -> None:
        self.gateway, self.smtp, self.directory, self.email = gateway, smtp, directory, email

    @property
    def ann(self) -> Destination:
        return self.directory.subscribers["ann"].destinations[0]

    async def subscribe(self, *, verified: bool, language: Any = "en") -> None:
        mail = Destination(channel="email", address="ann@example.org", verified=verified)
        document = Subscriber(subscriber_id="ann", name="Ann", destinations=[mail], language=language)
        await self.gateway.bus.bucket(SUBSCRIBERS).put("ann", encode(document))
        await self.directory.load()

    async def request(self, method: str, link: str, **given: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        url = link.replace(PUBLIC, self.gateway.url)
        async with self.gateway.http.request(method, url, allow_redirects=False, **given) as response:
            return response.status, await response.text(), response

    async def lock(self, until: Any, **given: Any) -> str:
        """From now on the API wants keys; one of them."""
        token, key = new_key("somebody", **given)
        await self.gateway.bus.bucket(API_KEYS).put(key.key_id, encode(key))
        await until(lambda: self.gateway.keyring.owner(token, now_ms=0))
        return token

    async def alert(self) -> str:
        """Mail an alert; the link that its header holds."""
        message = Message("d", "a", "Up", "", {}, 0, subscriber_id="ann")
        await self.email.send(message, self.ann)
        [link] = re.findall(rb"\r\nList-Unsubscribe: <([^>]+)>\r\n", self.smtp.wire[-1])
        return str(link.decode())


@pytest.fixture
async def post(reading: Any) -> AsyncIterator[Post]:
    async with SmtpServer() as smtp, AsyncExitStack() as stack:
        registry = CollectorRegistry()
        metrics, counted = Metrics(registry), AddressMetrics(registry)
        directory = Directory(reading.bus, metrics)
        management = Management(reading.bus, directory, metrics, usual_quotas(directory))
        email = Email(Server("127.0.0.1", smtp.port, "none", 2.0), sender="alerts@example.org", links=LINKS)
        stack.push_async_callback(email.close)
        challenge = Challenge(Outbound(timeout_s=1.0, allow_private=False, connections=1))
        gates = Gates(reading.bus, AlertingSection(), metrics)
        verification = Verification(
            management, Opened(reading.bus), {"email": email}, challenge, LINKS, metrics, gates, counted
        )
        await serve(stack, reading.bus, verification, Leaving(management, LINKS, counted))
        yield Post(reading, smtp, directory, email)


async def test_a_mailed_link_shows_a_button_and_pressing_it_confirms_once(post: Post) -> None:
    await post.subscribe(verified=False)
    question = VerifyRequest(actor=ANN, subscriber_id="ann", channel="email", place=0)
    assert (await post.gateway.bus.request(VERIFY, question)).state == "sent"
    [link] = re.findall(rf"{PUBLIC}/confirm/\S+", post.smtp.accepted[0].text)
    for _ in range(2):  # a scanner, then a person
        status, shown, _ = await post.request("GET", link)
        assert (status, "<button>Confirm</button>" in shown) == (200, True)
        assert not post.ann.verified
    status, shown, _ = await post.request("POST", link)
    assert (status, "<h1>Confirmed</h1>" in shown, "<button>" in shown) == (200, True, False)
    assert post.ann.verified
    assert [(await post.request(method, link))[0] for method in ("GET", "POST")] == [404, 404]


async def test_a_mail_programs_own_button_unsubscribes_without_a_key_or_a_question(post: Post, until: Any) -> None:
    await post.subscribe(verified=True, language="id")
    await post.lock(until)
    link = await post.alert()
    status, shown, _ = await post.request("GET", link)
    assert (status, "Berhenti berlangganan?" in shown, '<html lang="id">' in shown) == (200, True, True)
    assert post.ann.enabled
    for _ in range(2):
        status, shown, _ = await post.request("POST", link, data={"List-Unsubscribe": "One-Click"})
        assert (status, "Berhasil berhenti berlangganan" in shown) == (200, True)
        assert not post.ann.enabled


async def test_a_key_asks_for_its_own_address_and_for_no_other(post: Post, until: Any) -> None:
    await post.subscribe(verified=False)
    anns, bobs = [await post.lock(until, scopes=["manage"], subscriber_id=name) for name in ("ann", "bob")]
    path = f"{PUBLIC}/api/v1/subscribers/ann/verify"

    async def asked(token: str, query: str) -> int:
        status, _, _ = await post.request("POST", path + query, headers={"Authorization": f"Bearer {token}"})
        return status

    assert await asked(bobs, "?channel=email") == 404
    assert await asked(anns, "?channel=email&place=7") == 404
    assert await asked(anns, "?channel=pigeon") == await asked(anns, "") == 422
    assert [await asked(anns, "?channel=email") for _ in range(4)] == [202, 202, 202, 429]
    assert [mail.address for mail in post.smtp.accepted] == ["ann@example.org"] * 3


@pytest.mark.parametrize("path", ["/confirm/", "/unsubscribe/"])
@pytest.mark.parametrize(
    "token",
    [
        "A" * 16,
        "A" * 401,
        "A" * 8_000,
        "%00",
        "%2e%2e%2f",
        "https:%2F%2Fevil.example",
        "a.b",
        "\N{BELL}",
        "%ff%fe",
        "a b",
    ],
)
async def test_garbage_is_told_that_it_is_none_of_ours(post: Post, path: str, token: str) -> None:
    await post.subscribe(verified=True)
    for method in ("GET", "POST"):
        status, shown, _ = await post.request(method, f"{PUBLIC}{path}{token}")
        assert status == 404
        assert token not in shown


async def test_pages_lead_nowhere_run_nothing_and_are_not_framed(post: Post) -> None:
    await post.subscribe(verified=True)
    status, shown, response = await post.request("GET", f"{await post.alert()}?next=https://evil.example")
    assert status == 200
    assert not re.search(r"https?:|href|action=|<script|evil", shown)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Location" not in response.headers


async def test_only_get_and_post_are_answered_and_large_bodies_refused(post: Post) -> None:
    await post.subscribe(verified=True)
    link = await post.alert()
    assert [(await post.request(method, link))[0] for method in ("PUT", "DELETE", "PATCH")] == [405] * 3
    assert (await post.request("POST", link, data=b"x" * 20_000))[0] == 413
    assert post.ann.enabled


async def test_the_rest_of_the_api_still_wants_a_key(post: Post, until: Any) -> None:
    await post.lock(until)
    for path in ("/api/v1/signals", "/api/v1/confirm/x", "/confirmed/x", "/confirm/../api/v1/signals"):
        assert (await post.request("GET", PUBLIC + path))[0] == 401


async def test_while_alerting_is_away_a_link_says_to_come_back(reading: Any) -> None:
    async with reading.http.get(f"{reading.url}/confirm/{'A' * 16}") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "2")


async def test_more_than_is_good_for_alerting_is_turned_away(memory_bus: MemoryBus) -> None:
    few = Allowance(per_s=0.1, burst=2)
    pages = [await answer(memory_bus, few, "confirm", "?", act=True) for _ in range(3)]
    assert [page.status_code for page in pages] == [404, 404, 429]
    assert pages[2].headers["Retry-After"] == "10"


def test_an_allowance_fills_up_again() -> None:
    now_s = [0.0]
    allowance = Allowance(per_s=2.0, burst=3, clock_s=lambda: now_s[0])
    assert [allowance.wait_s() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    now_s[0] = 0.5
    assert [allowance.wait_s() for _ in range(2)] == [0.0, 0.5]
    now_s[0] = 100.0
    assert [allowance.wait_s() > 0 for _ in range(4)] == [False, False, False, True]

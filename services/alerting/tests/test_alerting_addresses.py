"""No address that an outsider gives leads into a network that is not the public internet, on any channel that goes to
such addresses, however it is written and whatever its name leads to.

The wall of `tests.forbidden` is where sockets connect: what it saw is all that went out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from aiohttp import web
from tests.channels import PushServer, SmtpServer
from tests.forbidden import BOTH_NAME, DISGUISED, HOSTS, PUBLIC, PUBLIC_NAME, REBOUND_NAME, Wall, a_wall

from alerting.channels import Channel, Message, Original
from alerting.channels.apprise.channel import Apprise
from alerting.channels.apprise.services import SERVICES
from alerting.channels.challenge import Challenge
from alerting.channels.discord import Discord
from alerting.channels.email import Email, Server
from alerting.channels.http import Outbound
from alerting.channels.vapid import new_keys, signing_key
from alerting.channels.webhook import Webhook
from alerting.channels.webpush import WebPush
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable
from tocsin_common.events import ChannelName

MESSAGE = Message("d" * 26, "a" * 26, "Long", "It crossed.", {"Entry": "1"}, 0, answers=Original("o" * 26, "7"))
VAPID = new_keys()
APPRISE = "apprise"


def outbound(allow_private: bool) -> Outbound:
    return Outbound(timeout_s=5.0, allow_private=allow_private, connections=2)


def webpush(private: bool) -> WebPush:
    return WebPush(outbound(private), signing_key(VAPID.private), "mailto:ops@example.org")


CHANNELS: dict[str, Callable[[bool], Channel]] = {
    "webhook": lambda private: Webhook(outbound(private)),
    "verification": lambda private: Challenge(outbound(private)),
    "discord": lambda private: Discord(outbound(private)),
    "webpush": webpush,
    APPRISE: lambda private: Apprise(services=SERVICES, timeout_s=5.0, workers=1, allow_private=private),
}
"""All that asks addresses of outsiders; what is sent to try one, and to confirm it, goes the same ways."""

SERVERS = ("ntfys://token@{}/topic", "gotifys://{}/token")
"""Services of Apprise on a server of one's own."""


@pytest.fixture
def wall() -> Iterator[Wall]:
    with a_wall() as wall:
        yield wall


@pytest.fixture(params=CHANNELS)
async def asked(request: pytest.FixtureRequest, wall: Wall) -> AsyncIterator[tuple[str, Channel]]:
    channel = CHANNELS[request.param](False)
    yield request.param, channel
    await channel.close()


def destinations(name: str, host: str) -> list[Destination]:
    if name == APPRISE:
        urls = [one.format(host) for one in SERVERS]
    else:
        urls = [f"https://{host}/hook", f"https://{host}:8443/hook"]
    return [destination(name, url) for url in urls]


def destination(name: str, url: str) -> Destination:
    channel: ChannelName = "webhook" if name == "verification" else name  # type: ignore[assignment]
    return Destination(channel=channel, address=url, secret=PushServer().keys if name == "webpush" else "")


async def refusal(channel: Channel, to: Destination) -> str:
    with pytest.raises((Rejected, Retryable)) as caught:
        await channel.send(MESSAGE, to)
    assert isinstance(caught.value, Rejected | Retryable)
    return caught.value.reason


async def test_no_way_of_writing_an_address_leads_home(asked: tuple[str, Channel], wall: Wall) -> None:
    name, channel = asked
    for host in HOSTS:
        for to in destinations(name, host):
            reason = await refusal(channel, to)
            assert not wall.connections, f"{to.address} {reason}"
            assert reason in ("forbidden_address", "bad_address", "connection_failed")


async def test_no_disguise_is_taken_for_a_public_address(asked: tuple[str, Channel], wall: Wall) -> None:
    name, channel = asked
    for url in DISGUISED:
        await refusal(channel, destination(name, url.replace("https:", "ntfys:") if name == APPRISE else url))
        assert not [one for one in wall.connections if one != PUBLIC], url
        assert name != APPRISE or not wall.connections
        assert not wall.connections or PUBLIC_NAME in wall.asked


@pytest.mark.parametrize("host", [REBOUND_NAME, BOTH_NAME, PUBLIC_NAME])
async def test_the_connection_goes_to_the_address_that_was_checked_and_past_every_proxy(
    asked: tuple[str, Channel], wall: Wall, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    name, channel = asked
    assert await refusal(channel, destinations(name, host)[0]) in ("connection_failed", "forbidden_address")
    assert set(wall.connections) <= {PUBLIC}
    assert wall.connections or host == BOTH_NAME


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:{}/inside", "//127.0.0.1:{}/inside", "/inside", "file:///"])
async def test_nobody_is_sent_elsewhere(name: str, elsewhere: str, wall: Wall) -> None:
    paths: list[str] = []

    async def away(request: web.Request) -> web.Response:
        paths.append(request.path)
        port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
        return web.Response(status=307, headers={"Location": elsewhere.format(port)})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", away)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    wall.open_to.add(("127.0.0.1", port))
    channel = CHANNELS[name](True)
    url = f"ntfy://127.0.0.1:{port}/topic" if name == APPRISE else f"http://127.0.0.1:{port}/hook"
    assert await refusal(channel, destination(name, url)) == "redirected"
    assert paths
    assert "/inside" not in paths
    assert not wall.connections
    await channel.close()
    await runner.cleanup()


async def test_a_listener_at_home_hears_nothing(asked: tuple[str, Channel], wall: Wall) -> None:
    """Without the wall: a real listener, where hosts lead that are forbidden."""
    name, channel = asked
    heard = asyncio.Event()
    server = await asyncio.start_server(lambda *_: heard.set(), "127.66.6.6", 0)
    port = server.sockets[0].getsockname()[1]
    wall.open_to.add(("127.66.6.6", port))
    for host in (f"127.66.6.6:{port}", f"0x7f.0x420606:{port}", f"[::ffff:127.66.6.6]:{port}"):
        for to in destinations(name, host)[:1]:
            await refusal(channel, to)
    assert not heard.is_set()
    server.close()


@pytest.mark.parametrize(
    "recipient",
    [
        "ann@[127.0.0.1]",
        "ann@[IPv6:::1]",
        "ann@127.0.0.1\r\nRCPT TO:<eve@example.org>",
        "ann@example.org, eve@example.org",
        "ann@example.org>\r\nDATA",
        "<ann@example.org>",
        "ann",
        "",
    ],
)
async def test_mails_go_to_one_named_domain_by_the_configured_server_and_no_other(wall: Wall, recipient: str) -> None:
    async with SmtpServer() as server:
        wall.open_to.add(("127.0.0.1", server.port))
        channel = Email(Server("127.0.0.1", server.port, "none", 5.0), sender="alerts@example.org")
        address = Destination(channel="email", address=recipient)
        assert await refusal(channel, address) == "bad_address"
        assert not server.connections
        assert not wall.connections

"""What is particular to Apprise: its services are held to what we may rely on, and its answers read rightly."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import types
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web
from apprise.manager_plugins import NotificationManager
from tests.channels import Fault, NtfyServer, WebhookServer
from tests.hostile import TEXTS

from alerting.channels import Ambiguous, Message
from alerting.channels.apprise.asking import METHODS, PASSED_ON, Requests
from alerting.channels.apprise.channel import Apprise
from alerting.channels.apprise.exchange import REQUESTS_MAX, Exchange
from alerting.channels.apprise.library import REQUESTS, service_at
from alerting.channels.apprise.services import SERVICES
from alerting.config import AlertingSection
from alerting.sending.rates import Rates
from tocsin_common.documents import Destination
from tocsin_common.errors import Rejected, Retryable

MESSAGE = Message(
    delivery_id="d", alert_id="a", title="Long BTC/USDT", text="It crossed.", fields={"Entry": "1"}, ts_ms=0
)

HARMLESS = frozenset(
    [
        "base64",
        "contextlib",
        "cryptography",
        "gzip",
        "hashlib",
        "hmac",
        "io",
        "itertools",
        "json",
        "logging",
        "math",
        "os",
        "random",
        "re",
        "secrets",
        "threading",
        "time",
        "uuid",
    ]
)
"""Modules that services may use beside our requests."""


FORBIDDEN = frozenset(
    [
        "Session",
        "session",
        "sessions",
        "socket",
        "create_connection",
        "urlopen",
        "Popen",
        "popen",
        "system",
        "environ",
        "getenv",
        "subprocess",
    ]
)
"""Names that would mean something else."""


def address(url: str) -> Destination:
    return Destination(channel="apprise", address=url)


@pytest.fixture
async def channel() -> AsyncIterator[Apprise]:
    made = Apprise(services=SERVICES, timeout_s=5, workers=2, allow_private=True)
    yield made
    await made.close()


@pytest.fixture
async def careful() -> AsyncIterator[Apprise]:
    made = Apprise(services=SERVICES, timeout_s=5, workers=2, allow_private=False)
    yield made
    await made.close()


async def failure(channel: Apprise, url: str, message: Message = MESSAGE) -> Rejected | Retryable:
    with pytest.raises((Rejected, Retryable)) as caught:
        await channel.send(message, address(url))
    assert isinstance(caught.value, Rejected | Retryable)
    return caught.value


def module_of(service: str) -> types.ModuleType:
    plugin = NotificationManager()[service]
    return sys.modules[plugin.__module__]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_asks_by_requests_and_uses_nothing_else_that_leaves_the_process(service: str) -> None:
    module = module_of(service)
    modules = [value for value in vars(module).values() if isinstance(value, types.ModuleType)]
    own = [one for one in modules if one.__name__.startswith("apprise.")]
    assert "requests" in vars(module)
    assert {one.__name__.partition(".")[0] for one in modules if one not in own} - {"requests"} <= HARMLESS
    assert not [one.__name__ for one in own if "requests" in vars(one)]
    names = {name for code in codes(module) for name in code.co_names}
    assert not names & FORBIDDEN


def codes(module: types.ModuleType) -> list[types.CodeType]:
    found = [compile(inspect.getsource(module), "", "exec")]
    for code in found:
        found += [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return found


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "json://example.org",
        "mailto://a:b@example.org",
        "syslog://",
        "dbus://",
        "macosx://",
        "exec://",
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "no address at all",
        "",
    ],
)
async def test_services_that_are_not_listed_are_refused_without_a_look(careful: Apprise, url: str) -> None:
    error = await failure(careful, url or ":")
    assert (type(error), error.reason) == (Rejected, "forbidden_address")


async def test_only_configured_services_are_used() -> None:
    channel = Apprise(services=["slack"], timeout_s=5, workers=1, allow_private=True)
    assert (await failure(channel, "ntfy://topic")).reason == "forbidden_address"
    await channel.close()


@pytest.mark.parametrize(
    "url",
    [
        "ntfy://tk_abc@127.0.0.1/topic",
        "ntfys://tk_abc@127.0.0.1/topic",
        "ntfys://tk_abc@localhost/topic",
        "gotifys://10.0.0.1/token",
        "gotifys://[::1]/token",
        "gotifys://[::ffff:169.254.169.254]/token",
        "gotifys://169.254.169.254:8443/token",
        "mmosts://user@127.0.0.1:8443/" + "a" * 26,
        "matrixs://user:pass@127.0.0.1/#room",
        "rockets://user:pass@127.0.0.1:22/#room",
    ],
)
async def test_no_address_leads_into_our_own_network(careful: Apprise, url: str) -> None:
    error = await failure(careful, url)
    assert (type(error), error.reason) == (Rejected, "forbidden_address")


async def test_an_address_that_names_a_file_is_refused(careful: Apprise) -> None:
    slack = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template=/etc/passwd"
    assert (await failure(careful, slack)).reason == "forbidden_address"
    assert (await failure(careful, slack.replace("template", "%74emplate"))).reason == "forbidden_address"


@pytest.mark.parametrize("url", ["slack://", "slack://nonsense", "twilio://a", "ntfy://?to=", "slack://\ud800"])
async def test_an_address_that_makes_no_sense_is_rejected(careful: Apprise, url: str) -> None:
    error = await failure(careful, url)
    assert isinstance(error, Rejected)


async def test_redirects_are_not_followed(channel: Apprise) -> None:
    async with WebhookServer() as inside, NtfyServer() as server:

        async def elsewhere(request: web.Request, body: bytes) -> web.Response:
            return web.Response(status=302, headers={"Location": inside.url})

        server.take = elsewhere  # type: ignore[method-assign]
        assert (await failure(channel, server.url)).reason == "redirected"
        assert not inside.requests


@pytest.mark.parametrize("url", ["mmost://127.0.0.1:{}/" + "a" * 26, "nctalk://user:pass@127.0.0.1:{}/room"])
async def test_nothing_that_anybody_wrote_mentions_everybody_or_is_a_masked_link_in_a_chat(
    channel: Apprise, url: str
) -> None:
    """Chats read any text as markup. Taken out what nobody sees, it is the text."""
    bodies: list[str] = []

    async def take(request: web.Request) -> web.Response:
        sent = await request.json()
        bodies.append(sent.get("text") or sent["message"])
        return web.json_response({}, status=201 if "nctalk" in url else 200)

    app = web.Application()
    app.router.add_post("/{tail:.*}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for text in TEXTS:
        message = replace(MESSAGE, title="Long", text=text, fields={})
        await channel.send(message, address(url.format(runner.addresses[0][1])))
        assert not re.search(r"@[\w*]|\]\(|<users/", bodies[-1])
        assert text in bodies[-1].replace("\N{WORD JOINER}", "")
    await runner.cleanup()


async def test_of_several_receivers_of_which_one_took_it_nobody_knows(channel: Apprise) -> None:
    async with NtfyServer() as server:
        server.faults.append(Fault(status=503))
        error = await failure(channel, f"{server.url}/second")
        assert isinstance(error, Ambiguous)
        assert len(server.accepted) == 1


async def test_a_service_asks_so_many_times_and_no_more(channel: Apprise) -> None:
    async with NtfyServer() as server:
        topics = "/".join(f"topic{number}" for number in range(REQUESTS_MAX + 5))
        assert isinstance(await failure(channel, f"{server.url}/{topics}"), Ambiguous)
        assert len(server.accepted) == REQUESTS_MAX


async def test_retries_are_not_apprises(channel: Apprise) -> None:
    async with NtfyServer() as server:
        server.always = Fault(status=503)
        assert (await failure(channel, f"{server.url}?retry=5&rto=60&redirect=yes")).reason == "server_error"
        assert server.requests == 1


async def test_a_message_that_found_no_thread_was_not_sent() -> None:
    channel = Apprise(services=SERVICES, timeout_s=0.3, workers=1, allow_private=True)
    async with NtfyServer() as server:
        server.faults.append(Fault(hang=True))
        errors = await asyncio.gather(failure(channel, server.url), failure(channel, server.url))
        assert [type(error) for error in errors] == [Ambiguous, Retryable]
        assert errors[1].reason == "connection_failed"
    await channel.close()


async def test_the_environment_sends_nothing_through_a_proxy(channel: Apprise, monkeypatch: pytest.MonkeyPatch) -> None:
    async with NtfyServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        await channel.send(MESSAGE, address(server.url))
        assert len(server.accepted) == 1


def test_what_services_do_not_need_of_the_library_they_do_not_get() -> None:
    for name in ("Session", "session", "sessions", "adapters", "api", "packages"):
        with pytest.raises(AttributeError):
            getattr(Requests(), name)
    assert not METHODS & PASSED_ON


def test_one_dead_server_is_no_reason_to_leave_others_alone() -> None:
    rates = Rates(AlertingSection())
    routes = [rates.route("apprise", f"ntfys://{host}/topic") for host in ("one.example.org", "two.example.org")]
    assert len({route.host for route in routes}) == 2


def test_a_service_has_our_requests() -> None:
    service_at("ntfy://topic", frozenset({"ntfy"}))
    assert vars(module_of("ntfy"))["requests"] is REQUESTS


def test_once_given_up_no_request_begins() -> None:
    exchange = Exchange(deadline_s=float("inf"), private=False)
    assert exchange.left_s()
    assert not exchange.give_up()
    assert not exchange.left_s()

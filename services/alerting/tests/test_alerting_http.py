"""Requests to strangers' addresses: signed, never redirected, never into our own network."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address

import pytest
from aiohttp import web
from tests.channels import WebhookServer
from tests.names import NO_ANSWER, PORT_VARIABLE, NameServer, getaddrinfo

from alerting.channels.http import (
    ANSWER_BYTES_MAX,
    LOOKUPS,
    Outbound,
    PublicResolver,
    is_public,
    judge,
    retry_after_s,
)
from alerting.channels.webhook import signed_headers
from tocsin_common.errors import Rejected, Retryable


@pytest.fixture
async def strict() -> Outbound:
    return Outbound(timeout_s=1.0, allow_private=False, connections=2)


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.215.14/hook",
        "https://93.184.215.14:22/hook",
        "https://127.0.0.1/hook",
        "https://10.1.2.3/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[::ffff:127.0.0.1]/hook",
        "https://[fe80::1]/hook",
        "https://[64:ff9b::7f00:1]/hook",
        "https://[2002:7f00:1::]/hook",
        "https://localhost/hook",
    ],
)
async def test_our_own_network_is_refused_before_anything_is_sent(strict: Outbound, url: str) -> None:
    with pytest.raises(Rejected) as caught:
        await strict.post(url, b"{}", {})
    assert caught.value.reason == "forbidden_address"
    await strict.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "ftp://example.org/x",
        "https:///x",
        "http://[::1",
        "javascript:alert(1)",
        "https://two..dots/x",
        f"https://{'x' * 64}.example/x",
    ],
)
async def test_what_is_no_web_address_is_rejected(strict: Outbound, url: str) -> None:
    with pytest.raises(Rejected) as caught:
        await strict.post(url, b"{}", {})
    assert caught.value.reason == "bad_address"
    await strict.close()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
async def test_an_address_in_disguise_is_refused_too(strict: Outbound, host: str) -> None:
    with pytest.raises((Rejected, Retryable)):
        await strict.post(f"https://{host}/hook", b"{}", {})
    await strict.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),
        ("::ffff:93.184.215.14", True),
        ("100.64.0.1", False),
        ("192.168.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("fd00::1", False),
        ("::", False),
        ("ff02::1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_public_addresses_are_told_from_all_others(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


async def test_a_name_that_leads_home_has_no_public_address() -> None:
    with pytest.raises(Rejected):
        await PublicResolver(allow_private=False).resolve("localhost", 443, socket.AF_UNSPEC)


async def test_names_that_hang_hold_up_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = PublicResolver(allow_private=False)
    async with NameServer() as names:
        monkeypatch.setenv(PORT_VARIABLE, str(names.port))
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        names.faults["hangs.test"].extend([NO_ANSWER] * 64)
        hanging = [asyncio.create_task(strangers.resolve("hangs.test", 443)) for _ in range(64)]
        await names.wait_for("hangs.test", LOOKUPS)
        [found, *_] = await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("fine.test", 443), 2.0)
        assert found[4] == ("127.0.0.1", 443)
        for task in hanging:
            task.cancel()
        await strangers.close()


async def test_a_redirect_is_not_followed() -> None:
    reached = asyncio.Event()

    async def inner(_request: web.Request) -> web.Response:
        reached.set()
        return web.Response()

    async def outer(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/inner"})

    app = web.Application()
    app.router.add_post("/outer", outer)
    app.router.add_route("*", "/inner", inner)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    outbound = Outbound(timeout_s=1.0, allow_private=True, connections=2)
    with pytest.raises(Rejected) as caught:
        await outbound.post(f"http://127.0.0.1:{runner.addresses[0][1]}/outer", b"{}", {})
    assert caught.value.reason == "redirected"
    assert not reached.is_set()
    await outbound.close()
    await runner.cleanup()


async def test_an_endless_answer_is_read_to_a_limit_only() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    outbound = Outbound(timeout_s=2.0, allow_private=True, connections=2)
    answer = await outbound.post(f"http://127.0.0.1:{runner.addresses[0][1]}/", b"{}", {})
    assert 0 < len(answer.body) <= ANSWER_BYTES_MAX
    await outbound.close()
    await runner.cleanup()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with WebhookServer() as server:
        outbound = Outbound(timeout_s=1.0, allow_private=True, connections=2)
        headers = signed_headers("id", int(datetime.now(UTC).timestamp()), b"", "")
        body = b'{"type": "alert", "data": {"title": "t", "text": "x", "fields": {}}}'
        await outbound.post(server.url, body, headers)
        assert len(server.accepted) == 1
        await outbound.close()


def test_a_time_to_wait_is_read_as_seconds_or_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after_s({"Retry-After": "12"}) == 12
    assert 85 < (retry_after_s({"Retry-After": soon}) or 0) <= 90
    assert retry_after_s({"Retry-After": "-5"}) == 0
    assert retry_after_s({"Retry-After": "99999999"}) == 24 * 3600
    for senseless in ("", "soon", "nan"):
        assert retry_after_s({"Retry-After": senseless}) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (302, "redirected"),
        (400, "refused"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "gone"),
        (408, "server_error"),
        (410, "gone"),
        (425, "server_error"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_every_status_has_one_meaning(status: int, reason: str) -> None:
    with pytest.raises((Rejected, Retryable)) as caught:
        judge(status, {})
    assert caught.value.reason == reason  # type: ignore[attr-defined]


def test_signatures_are_those_of_the_specification() -> None:
    """The example of https://www.standardwebhooks.com (libraries' test vector)."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_rotated_both_sign() -> None:
    one = signed_headers("id", 1, b"x", "whsec_b25l")["webhook-signature"]
    both = signed_headers("id", 1, b"x", "whsec_b25l whsec_dHdv")["webhook-signature"]
    assert both.split()[0] == one
    assert len(both.split()) == 2


@pytest.mark.parametrize("secret", ["whsec_", "whsec_?", "b25l", "whsec_b25l plain"])
def test_a_secret_of_another_form_is_rejected_without_being_shown(secret: str) -> None:
    with pytest.raises(Rejected) as caught:
        signed_headers("id", 1, b"x", secret)
    assert caught.value.reason == "bad_secret"
    assert "b25l" not in str(caught.value)
